//! Frame pointers: each function keeps its caller's in the word that its own
//! points to, the return address after it.
//!
//! Entry code marks where it saved registers by a frame pointer that is none:
//! the address of the registers with bit 0 set (64-bit), or with the top bit
//! clear (32-bit). Source: `arch/x86/include/asm/frame.h`,
//! `ENCODE_FRAME_POINTER`. Before 4.10 it marked nothing.

use vmss2core_machine::x86::Gpr;

use super::calls;
use super::context::Stack;
use super::start::{kernel_registers, saved_registers, user_registers};
use super::{Frame, FrameKind, Registers, Step, entry, flow, frameless};
use crate::linux::Kernel;

/// Entry code of interrupts that saved only the registers which functions do not
/// preserve (2.6.32 of RHEL 6, measured) saved the frame pointer before these: five
/// words from where all registers would begin.
const BELOW_SAVED_FRAME_POINTER: u64 = 5 * 8;

/// One step up.
pub(super) fn step(stack: &Stack<'_>, registers: &Registers, frame: &Frame) -> Step {
    let sp = registers.sp().unwrap_or_default();
    let unmarked = || unmarked_registers(stack, registers.get(Gpr::Rbp)?, sp);
    // Where old kernels save a part of the registers, a function's own words can lie there.
    let is_at_entry = || flow::caller(stack, registers, frame).is_none();
    if let Some(step) = entry::at_registers(stack, sp).filter(|_| is_at_entry()).or_else(unmarked) {
        return step;
    }
    if frame.kind != FrameKind::Return
        && let Some(caller) = frameless::caller(stack, registers)
    {
        return Step::Caller(caller);
    }
    match follow(stack, registers.get(Gpr::Rbp), sp) {
        Step::Lost(_) if stack.is_at_top(sp) => at_top(stack, registers, frame),
        Step::Lost(why) if frame.kind == FrameKind::Registers => {
            entry::just_entered(stack, sp).unwrap_or(Step::Lost(why))
        }
        step => step,
    }
}

/// Where no frame pointer leads on near the top of a stack: entry code called from there,
/// which may have more on the stack than the registers, or nothing did.
fn at_top(stack: &Stack<'_>, registers: &Registers, frame: &Frame) -> Step {
    let sp = registers.sp().unwrap_or_default();
    if let Some(caller) = flow::caller(stack, registers, frame) {
        return Step::Caller(caller);
    }
    let user = entry::in_registers(stack, sp).or_else(|| entry::below_registers(stack, sp));
    user.unwrap_or(Step::Bottom)
}

/// One step up from code that unwind tables do not know, if it keeps frame
/// pointers: programs of BPF do.
pub(super) fn step_of_unknown_code(stack: &Stack<'_>, registers: &Registers) -> Option<Step> {
    let (bp, sp) = (registers.get(Gpr::Rbp)?, registers.sp()?);
    let is_aligned = bp.is_multiple_of(stack.kernel.word_len());
    let is_frame = is_aligned && (sp..stack.top(sp)).contains(&bp);
    match caller(stack, bp).filter(|_| is_frame)? {
        Step::Caller(caller) => {
            let is_call = stack.code.holds(caller.ip) && calls::end_at(&stack.code, caller.ip);
            is_call.then_some(Step::Caller(caller))
        }
        _ => None,
    }
}

/// Registers that entry code of 64-bit kernels saved without a mark: where it called
/// from, while the frame pointer is still that of what was interrupted; or around the
/// place where that was saved, if the frame pointer leads there.
fn unmarked_registers(stack: &Stack<'_>, bp: u64, sp: u64) -> Option<Step> {
    if !stack.kernel.linux().is_64_bit {
        return None;
    }
    let interrupted = |at| {
        let registers = kernel_registers(stack.kernel, at);
        registers.filter(|registers| stack.code.holds(registers.ip))
    };
    if let Some(registers) = interrupted(sp).filter(|saved| saved.get(Gpr::Rbp) == Some(bp)) {
        return Some(Step::Interrupted(registers));
    }
    let back = stack.word(bp.checked_add(stack.kernel.word_len())?)?;
    if calls::end_at(&stack.code, back) {
        return None;
    }
    let at = bp.checked_sub(BELOW_SAVED_FRAME_POINTER)?;
    let Some(mut registers) = interrupted(at) else { return user_registers(stack, at) };
    registers.set(Gpr::Rbp, stack.word(bp));
    Some(Step::Interrupted(registers))
}

fn follow(stack: &Stack<'_>, bp: Option<u64>, sp: u64) -> Step {
    let Some(bp) = bp else { return Step::Lost("no frame pointer") };
    if let Some(saved) = encoded(stack.kernel, bp) {
        return saved_registers(stack.kernel, saved);
    }
    if !stack.leads_up(sp, bp) || !bp.is_multiple_of(stack.kernel.word_len()) {
        return Step::Lost("a frame pointer that is not in the stack");
    }
    caller(stack, bp).unwrap_or(Step::Lost("a frame pointer that leads nowhere"))
}

fn caller(stack: &Stack<'_>, bp: u64) -> Option<Step> {
    let word_len = stack.kernel.word_len();
    let (next, ip) = (stack.word(bp)?, stack.word(bp.checked_add(word_len)?)?);
    if ip == 0 {
        return Some(Step::Bottom);
    }
    let mut caller = Registers { ip, ..Registers::default() };
    caller.set(Gpr::Rbp, Some(next));
    caller.set(Gpr::Rsp, Some(bp.checked_add(word_len.checked_mul(2)?)?));
    Some(Step::Caller(caller))
}

/// Where registers were saved, if a frame pointer says that.
fn encoded(kernel: &Kernel, bp: u64) -> Option<u64> {
    if kernel.linux().is_64_bit {
        return bp.checked_sub(1).filter(|saved| saved.is_multiple_of(8));
    }
    let top = 1 << 31;
    (bp != 0 && bp & top == 0).then_some(bp | top)
}
