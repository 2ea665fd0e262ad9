//! Unwinding by code alone: for kernels without unwind tables that keep no frame pointers,
//! and for registers that frame pointers do not lead to.
//!
//! The code of a function is followed from its start to where it was left, on all ways,
//! with what its instructions do to the stack. That says where the return address lies and
//! where the caller's registers were saved. A caller counts as found only if what lies there
//! returns to after a call of this function: one that names it, or names what jumps to it, or
//! that a pointer leads.

use std::ops::Range;

use vmss2core_machine::x86::Gpr;
use vmss2core_mem::Gva;

use super::calls;
use super::context::Stack;
use super::{Frame, FrameKind, Registers, Step, entry};
use crate::linux::{Kernel, Symbols};

mod explore;
mod instruction;
mod state;
pub(super) mod switch;

use explore::{Explored, explore};
use state::{PRESERVED_32, PRESERVED_64, Place, State};

const UNCERTAIN: &str = "code whose use of the stack is not certain";
/// Labels in a function that have symbols too.
const MOST_LABELS: usize = 4;
/// The longest function.
const MOST_CODE: u64 = 64 << 10;
/// Functions that one function jumps to.
const MOST_LEFT_TO: usize = 16;
/// Functions that jump to another, in a row.
const MOST_JUMPS: usize = 2;

/// One step up.
pub(super) fn step(stack: &Stack<'_>, registers: &Registers, frame: &Frame) -> Step {
    let sp = registers.sp().unwrap_or_default();
    if let Some(caller) = caller(stack, registers, frame) {
        return Step::Caller(caller);
    }
    if let Some(step) = entry::at_registers(stack, sp).or_else(|| entry::in_registers(stack, sp)) {
        return step;
    }
    if let Some(interrupted) = entry::interrupted(stack, registers) {
        return Step::Interrupted(interrupted);
    }
    if frame.kind == FrameKind::Return && entry::is_start(stack, registers.ip, sp) {
        return Step::Bottom;
    }
    if let Some(step) = entry::last(stack, sp) {
        return step;
    }
    let just_entered = || entry::just_entered(stack, sp);
    let first = Some(frame.kind).filter(|kind| *kind == FrameKind::Registers);
    first.and_then(|_| just_entered()).unwrap_or(Step::Lost(UNCERTAIN))
}

/// The caller of a frame, if that is certain.
pub(super) fn caller(stack: &Stack<'_>, registers: &Registers, frame: &Frame) -> Option<Registers> {
    let (kernel, at) = (stack.kernel, frame.code_address());
    let from = |function: Range<u64>| {
        let explored = explore(kernel, &function, registers.ip);
        proven(stack, registers, function.start, states(&explored, frame))
    };
    // Symbols may be those of exported functions only.
    named(kernel, at).into_iter().find_map(from).or_else(|| from(called(kernel, at)?))
}

fn states<'e>(explored: &'e Explored, frame: &Frame) -> &'e [State] {
    let is_return = frame.kind == FrameKind::Return && !explored.after_call.is_empty();
    if is_return { &explored.after_call } else { &explored.states }
}

/// The one caller that these states lead to and that calls the function: by its name, or
/// else by a pointer.
fn proven(
    stack: &Stack<'_>,
    registers: &Registers,
    function: u64,
    states: &[State],
) -> Option<Registers> {
    let found = states.iter().filter_map(|state| leave(stack, registers, state));
    let found = found.filter_map(|caller| {
        let names = is_call_of(stack, caller.ip, function)?;
        Some((names, caller))
    });
    let found: Vec<(bool, Registers)> = found.collect();
    let by_name = only(found.iter().filter(|(names, _)| *names));
    by_name.or_else(|| only(found.iter())).map(|(_, caller)| *caller)
}

/// The only one; all that are equal count once.
fn only<'f>(
    mut found: impl Iterator<Item = &'f (bool, Registers)>,
) -> Option<&'f (bool, Registers)> {
    let first = found.next()?;
    found.all(|other| other.1 == first.1).then_some(first)
}

/// The registers as the caller has them when a function in this state returns.
fn leave(stack: &Stack<'_>, registers: &Registers, state: &State) -> Option<Registers> {
    let below = |register, depth: i32| registers.get(register)?.checked_add_signed(depth.into());
    let by_sp = state.depth.and_then(|depth| below(Gpr::Rsp, depth));
    let by_bp = state.frame.and_then(|depth| below(Gpr::Rbp, depth));
    let slot = by_sp.or(by_bp)?;
    if by_bp.is_some_and(|by_bp| by_bp != slot) {
        return None;
    }
    let word_len = stack.kernel.word_len();
    let is_in_stack = slot.is_multiple_of(word_len) && stack.leads_up(registers.sp()?, slot);
    if entry::is_interrupted(stack, slot) {
        return None;
    }
    let mut caller =
        Registers { ip: stack.word(slot).filter(|_| is_in_stack)?, ..Registers::default() };
    caller.set(Gpr::Rsp, slot.checked_add(word_len));
    for register in preserved(stack.kernel) {
        let value = match state.place(*register) {
            Place::Register => registers.get(*register),
            Place::Stack(depth) => {
                stack.word(slot.checked_add_signed(i64::from(depth).checked_neg()?)?)
            }
            Place::Lost => None,
        };
        caller.set(*register, value);
    }
    Some(caller)
}

/// Registers that C functions preserve.
pub(super) fn preserved(kernel: &Kernel) -> &'static [Gpr] {
    if kernel.linux().is_64_bit { PRESERVED_64 } else { PRESERVED_32 }
}

/// Whether a call that returns to an address names a function; `None` if it is no call of it.
fn is_call_of(stack: &Stack<'_>, back: u64, function: u64) -> Option<bool> {
    let code = &stack.code;
    if !code.holds(back) {
        return None;
    }
    let Some(target) = calls::target(code, back) else {
        return calls::end_at(code, back).then_some(false);
    };
    leads_to(stack.kernel, target, function, MOST_JUMPS).then_some(true)
}

/// Whether who calls `target` can come to a function: as it is that, or jumps to it.
fn leads_to(kernel: &Kernel, target: u64, function: u64, jumps: usize) -> bool {
    if target == function {
        return true;
    }
    let Some(left) = jumps.checked_sub(1) else { return false };
    let whole = target..end_of_code(kernel, Gva(target));
    let leaves_to = explore(kernel, &whole, u64::MAX).leaves_to;
    leaves_to.into_iter().take(MOST_LEFT_TO).any(|next| leads_to(kernel, next, function, left))
}

/// The functions that an address may be in by their symbols: where these are labels too, one
/// of the first that lie before it.
fn named(kernel: &Kernel, address: Gva) -> Vec<Range<u64>> {
    let end = end_of_code(kernel, address);
    let mut found: Vec<Range<u64>> = Vec::new();
    let mut at = Some(address);
    while let Some(next) = at.filter(|_| found.len() < MOST_LABELS) {
        let symbol = symbols(kernel, address).and_then(|symbols| symbols.at(next));
        let Some(start) = symbol.map(|(symbol, _)| symbol.address.0) else { break };
        if end.saturating_sub(start) > MOST_CODE {
            break;
        }
        found.push(start..end);
        at = start.checked_sub(1).map(Gva);
    }
    found
}

/// The function that an address is in by the calls of the kernel's code.
fn called(kernel: &Kernel, address: Gva) -> Option<Range<u64>> {
    if !kernel.is_in_image(address) {
        return None;
    }
    let called = kernel.called_functions();
    let index = called.partition_point(|start| *start <= address.0);
    let start = called.get(index.checked_sub(1)?).copied()?;
    let end = end_of_code(kernel, address);
    Some(start..called.get(index).map_or(end, |next| end.min(*next)))
}

/// The next symbol after an address, or where no function goes on.
fn end_of_code(kernel: &Kernel, address: Gva) -> u64 {
    let next = symbols(kernel, address).and_then(|symbols| symbols.after(address));
    next.map_or(address.0.saturating_add(MOST_CODE), |next| next.0)
}

/// The symbols of what an address belongs to.
fn symbols(kernel: &Kernel, address: Gva) -> Option<&Symbols> {
    if kernel.is_in_image(address) {
        return Some(&kernel.symbols()?.value);
    }
    let module = kernel.modules().modules.iter().find(|module| module.contains(address))?;
    Some(&module.symbols)
}
