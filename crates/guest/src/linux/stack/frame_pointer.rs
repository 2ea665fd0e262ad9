//! Frame pointers: each function keeps its caller's in the word that its own
//! points to, the return address behind it.
//!
//! Entry code marks where it saved registers by a frame pointer that is none:
//! the address of the registers with bit 0 set (64-bit), or with the top bit
//! clear (32-bit). Source: `arch/x86/include/asm/frame.h`,
//! `ENCODE_FRAME_POINTER`.

use vmss2core_mem::{Gpr, Gva};

use super::start::{is_code_selector, saved_registers, stack_top};
use super::{FrameKind, Registers, Step};
use crate::linux::Kernel;

/// The first function of a thread is this near to the top of its stack: above is
/// only room for the registers of user mode, which a thread of the kernel has not.
const MARGIN: u64 = 128;

/// One step up.
pub(super) fn step(kernel: &Kernel<'_>, registers: &Registers, kind: FrameKind) -> Step {
    let sp = registers.sp().unwrap_or_default();
    let top = stack_top(kernel, sp);
    let is_first = top.saturating_sub(sp) <= MARGIN;
    if is_first && let Some(step) = from_user_mode(kernel, sp, top) {
        return step;
    }
    match follow(kernel, registers.get(Gpr::Rbp), sp) {
        Step::Lost(_) if is_first => Step::Bottom,
        Step::Lost(why) if kind == FrameKind::Registers => {
            just_entered(kernel, sp).unwrap_or(Step::Lost(why))
        }
        step => step,
    }
}

/// Entry code of system calls saves registers without saying so in the frame
/// pointer. They are the last on the stack but for some padding.
fn from_user_mode(kernel: &Kernel<'_>, sp: u64, top: u64) -> Option<Step> {
    let places = (sp..top).step_by(usize::try_from(kernel.word_len()).ok()?);
    let mut found = places.map(|at| saved_registers(kernel, at));
    found.find(|step| matches!(step, Step::User { .. }))
}

/// At the first instruction of the kernel there is only what the processor itself
/// has saved: an error code perhaps, then ip, cs, flags, sp and ss.
fn just_entered(kernel: &Kernel<'_>, sp: u64) -> Option<Step> {
    const ALWAYS_SET: u64 = 2;
    let word_len = kernel.word_len();
    let word = |at: u64| Some(kernel.read_pointer(Gva(at), "stack").ok()?.0);
    [sp, sp.checked_add(word_len)?].into_iter().find_map(|at| {
        let field = |index: u64| word(at.checked_add(index.checked_mul(word_len)?)?);
        let (ip, cs, flags) = (field(0)?, field(1)?, field(2)?);
        let is_user = is_code_selector(cs) && cs & 3 == 3 && flags & ALWAYS_SET != 0;
        is_user.then_some(Step::User { ip, sp: field(3)? })
    })
}

fn follow(kernel: &Kernel<'_>, bp: Option<u64>, sp: u64) -> Step {
    let Some(bp) = bp else { return Step::Lost("no frame pointer") };
    if let Some(saved) = encoded(kernel, bp) {
        return saved_registers(kernel, saved);
    }
    if bp < sp || !bp.is_multiple_of(kernel.word_len()) {
        return Step::Lost("a frame pointer that is not in the stack");
    }
    caller(kernel, bp).unwrap_or(Step::Lost("a frame pointer that leads nowhere"))
}

fn caller(kernel: &Kernel<'_>, bp: u64) -> Option<Step> {
    let word_len = kernel.word_len();
    let word = |index: u64| {
        let at = Gva(bp.checked_add(index.checked_mul(word_len)?)?);
        Some(kernel.read_pointer(at, "stack").ok()?.0)
    };
    let (next, ip) = (word(0)?, word(1)?);
    if ip == 0 {
        return Some(Step::Bottom);
    }
    let mut caller = Registers { ip, ..Registers::default() };
    caller.set(Gpr::Rbp, Some(next));
    caller.set(Gpr::Rsp, Some(bp.checked_add(word_len.checked_mul(2)?)?));
    Some(Step::Caller(caller))
}

/// Where registers were saved, if a frame pointer says that.
fn encoded(kernel: &Kernel<'_>, bp: u64) -> Option<u64> {
    if kernel.linux().is_64_bit {
        return bp.checked_sub(1).filter(|saved| saved.is_multiple_of(8));
    }
    let top = 1 << 31;
    (bp != 0 && bp & top == 0).then_some(bp | top)
}
