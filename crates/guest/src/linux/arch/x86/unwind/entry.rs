//! Entry code: where it saved registers, and where its own part of a stack begins.
//!
//! 64-bit kernels before 4.16 saved only the first part of the registers for a system call
//! (`SAVE_ARGS`, `arch/x86/include/asm/calling.h`): the stack goes on after the others,
//! whose room is used for other things.

use super::context::Stack;
use super::start::{
    is_code_selector, kernel_registers, layouts, registers_layout, user_registers,
    user_registers_as,
};
use super::{Registers, Step};

/// Free bytes above the registers at the top of a stack: with FRED, and in
/// 32-bit kernels (`TOP_OF_KERNEL_STACK_PADDING`).
const MOST_PADDING: u64 = 16;
/// Bytes of the registers that functions preserve, at the start of `struct pt_regs`.
const PRESERVED_LEN: u64 = 6 * 8;
/// Code of the function that a thread of the kernel begins with, up to its call.
const LONGEST_START: u64 = 64;
/// Words that entry code puts below the registers before it calls a function.
const MOST_BELOW: u64 = 2 * 8;

/// A function that entry code calls returns to where the registers of user mode lie: system
/// calls do not say so in the frame pointer, which is still the program's.
pub(super) fn at_registers(stack: &Stack<'_>, sp: u64) -> Option<Step> {
    layouts(stack.kernel).iter().find_map(|layout| {
        let count = layout.count as u64;
        let end = sp.checked_add(count.checked_mul(stack.kernel.word_len())?)?;
        is_top(stack, sp, end).then(|| user_registers_as(stack, sp, layout)).flatten()
    })
}

/// Whether nothing but padding follows on a stack.
fn is_top(stack: &Stack<'_>, sp: u64, end: u64) -> bool {
    let is_last = |top: u64| top.checked_sub(end).is_some_and(|above| above <= MOST_PADDING);
    stack.tops(sp).into_iter().any(is_last)
}

/// The same of a 64-bit kernel that saved a part of the registers.
pub(super) fn in_registers(stack: &Stack<'_>, sp: u64) -> Option<Step> {
    if !stack.kernel.linux().is_64_bit {
        return None;
    }
    let len = (registers_layout(stack.kernel).count as u64).checked_mul(8)?;
    let starts = stack.tops(sp).into_iter().flat_map(|top| {
        let start = move |padding: u64| top.checked_sub(padding)?.checked_sub(len);
        (0..=MOST_PADDING).step_by(8).filter_map(start)
    });
    let is_in = |start: &u64| stored(stack, sp, *start).is_some();
    starts.filter(is_in).find_map(|start| user_registers(stack, start))
}

/// How much of the registers entry code has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    All,
    /// All but those that functions preserve.
    Part,
}

/// How much entry code of a 64-bit kernel has stored at `start`, as far as a function that it
/// called tells by where it returns to; `None` if it was no entry code that called.
pub(super) fn stored(stack: &Stack<'_>, sp: u64, start: u64) -> Option<Stored> {
    let into = sp.checked_sub(start.checked_sub(MOST_BELOW)?)?;
    let part = MOST_BELOW.saturating_add(PRESERVED_LEN);
    // What is called with a part stored returns to what lies right below that part.
    let below = stack.word(start.checked_add(PRESERVED_LEN)?.checked_sub(8)?)?;
    if into > part || into < part && stack.code.is_after_call(below) {
        return None;
    }
    Some(if into <= MOST_BELOW { Stored::All } else { Stored::Part })
}

/// Whether a function is where its thread of the kernel began: the registers that it began with
/// lie at the top of the stack, and their code was left for what the function calls. Until 3.6
/// `kernel_thread_helper`, or `child_rip`, made itself a return address of 0 there.
pub(super) fn is_start(stack: &Stack<'_>, ip: u64, sp: u64) -> bool {
    let (layout, word_len) = (registers_layout(stack.kernel), stack.kernel.word_len());
    let is_start = |start: u64| {
        let at = |index: usize| start.checked_add((index as u64).checked_mul(word_len)?);
        let word = |index: usize| stack.word(at(index)?);
        let began = word(layout.ip).and_then(|began| ip.checked_sub(began));
        at(layout.count).is_some_and(|end| is_top(stack, sp, end))
            && word(layout.cs).is_some_and(|cs| matches!(cs & 0xffff, 0x10 | 0x60))
            && began.is_some_and(|into| (1..=LONGEST_START).contains(&into))
    };
    (0..=MOST_BELOW).step_by(8).any(|below| sp.checked_add(below).is_some_and(is_start))
}

/// What follows on a stack that nothing more is called from: registers of user mode, or none.
pub(super) fn last(stack: &Stack<'_>, sp: u64) -> Option<Step> {
    let word_len = stack.kernel.word_len();
    // An aligned address is where some stack ends.
    let is_any = stack.lowest.is_none() && sp == stack.top(sp);
    if !stack.is_at_top(sp) || is_any {
        return None;
    }
    let mut at = sp;
    while at < stack.top(sp) {
        if let Some(step) = user_registers(stack, at) {
            return Some(step);
        }
        if stack.code.is_after_call(stack.word(at)?) {
            return None;
        }
        at = at.checked_add(word_len)?;
    }
    stack.word(at.checked_sub(word_len)?).map(|_| Step::Bottom)
}

/// Entry code may have more on the stack than the registers.
pub(super) fn below_registers(stack: &Stack<'_>, sp: u64) -> Option<Step> {
    let word_len = usize::try_from(stack.kernel.word_len()).ok()?;
    let mut places = (sp..stack.top(sp)).step_by(word_len);
    places.find_map(|at| user_registers(stack, at))
}

/// At the first instruction of the kernel there is only what the processor itself
/// has saved: an error code perhaps, then ip, cs, flags, sp and ss.
pub(super) fn just_entered(stack: &Stack<'_>, sp: u64) -> Option<Step> {
    const ALWAYS_SET: u64 = 2;
    let word_len = stack.kernel.word_len();
    [sp, sp.checked_add(word_len)?].into_iter().find_map(|at| {
        let field = |index: u64| stack.word(at.checked_add(index.checked_mul(word_len)?)?);
        let (ip, cs, flags) = (field(0)?, field(1)?, field(2)?);
        let is_user = is_code_selector(cs) && cs & 3 == 3 && flags & ALWAYS_SET != 0;
        is_user.then_some(Step::User { ip, sp: field(3)? })
    })
}

/// Whether what lies at an address is no return address, but what the processor saves of
/// code that it interrupts: ip, cs and flags.
pub(super) fn is_interrupted(stack: &Stack<'_>, at: u64) -> bool {
    const ALWAYS_SET: u64 = 2;
    let word_len = stack.kernel.word_len();
    let word = |index: u64| stack.word(at.checked_add(index.checked_mul(word_len)?)?);
    let (Some(cs), Some(flags)) = (word(1), word(2)) else { return false };
    is_code_selector(cs) && cs >> 16 == 0 && flags & ALWAYS_SET != 0 && flags >> 22 == 0
}

/// What entry code, which functions return to with these registers, has interrupted of the
/// kernel itself.
pub(super) fn interrupted(stack: &Stack<'_>, registers: &Registers) -> Option<Registers> {
    let sp = registers.sp()?;
    let word_len = stack.kernel.word_len();
    let first = if word_len == 8 { sp.checked_sub(PRESERVED_LEN)? } else { sp };
    let last = sp.checked_add(MOST_BELOW)?;
    let mut places = (first..=last).step_by(usize::try_from(word_len).ok()?);
    places.find_map(|at| {
        let mut found = kernel_registers(stack.kernel, at)?;
        let (ip, above) = (found.ip, found.sp()?);
        // Where a thread of the kernel starts its registers lie above all.
        let len = (registers_layout(stack.kernel).count as u64).checked_mul(word_len)?;
        if !stack.code.holds(ip) || above <= sp || is_top(stack, sp, at.checked_add(len)?) {
            return None;
        }
        for register in super::flow::preserved(stack.kernel).iter().filter(|_| at < sp) {
            found.set(*register, registers.get(*register));
        }
        Some(found)
    })
}
