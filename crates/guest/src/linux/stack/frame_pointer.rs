//! Frame pointers: each function keeps its caller's in the word that its own
//! points to, the return address behind it.
//!
//! Entry code marks where it saved registers by a frame pointer that is none:
//! the address of the registers with bit 0 set (64-bit), or with the top bit
//! clear (32-bit). Source: `arch/x86/include/asm/frame.h`,
//! `ENCODE_FRAME_POINTER`.

use vmss2core_mem::{Gpr, Gva};

use super::start::{saved_registers, stack_top};
use super::{FrameKind, Registers, Step};
use crate::linux::Kernel;

/// The first function of a thread of the kernel is this near to the top of its
/// stack: above is only room for the registers of user mode that it never had.
const MARGIN: u64 = 128;

/// One step up.
pub(super) fn step(kernel: &Kernel<'_>, registers: &Registers, _kind: FrameKind) -> Step {
    let sp = registers.sp().unwrap_or_default();
    match follow(kernel, registers.get(Gpr::Rbp), sp) {
        Step::Lost(_) if stack_top(kernel, sp) - sp <= MARGIN => Step::Bottom,
        step => step,
    }
}

fn follow(kernel: &Kernel<'_>, bp: Option<u64>, sp: u64) -> Step {
    let Some(bp) = bp else { return Step::Lost("no frame pointer") };
    if let Some(saved) = encoded(kernel, bp) {
        return saved_registers(kernel, saved);
    }
    if bp < sp || bp % kernel.word_len() != 0 {
        return Step::Lost("a frame pointer that is not in the stack");
    }
    caller(kernel, bp).unwrap_or(Step::Lost("a frame pointer that leads nowhere"))
}

fn caller(kernel: &Kernel<'_>, bp: u64) -> Option<Step> {
    let word_len = kernel.word_len();
    let word = |index: u64| {
        let at = Gva(bp.checked_add(index * word_len)?);
        Some(kernel.read_pointer(at, "stack").ok()?.0)
    };
    let (next, ip) = (word(0)?, word(1)?);
    if ip == 0 {
        return Some(Step::Bottom);
    }
    let mut caller = Registers { ip, ..Registers::default() };
    caller.set(Gpr::Rbp, Some(next));
    caller.set(Gpr::Rsp, Some(bp.checked_add(2 * word_len)?));
    Some(Step::Caller(caller))
}

/// Where registers were saved, if a frame pointer says that.
fn encoded(kernel: &Kernel<'_>, bp: u64) -> Option<u64> {
    if kernel.linux().is_64_bit {
        return (bp & 7 == 1).then_some(bp - 1);
    }
    let top = 1 << 31;
    (bp != 0 && bp & top == 0).then_some(bp | top)
}
