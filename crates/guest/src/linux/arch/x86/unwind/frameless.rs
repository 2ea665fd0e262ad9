//! Functions that were stopped where they keep no frame pointer.
//!
//! An interrupt or a suspend comes at any instruction: before a function has pushed
//! its caller's frame pointer, after it has popped it, in one that calls no other and
//! therefore keeps none, or in assembler that never does. The frame pointer is the
//! caller's then: to follow it would leave the caller out. Where the function returns
//! to lies at the stack pointer, or after what it has pushed.

use std::ops::Range;

use vmss2core_machine::x86::Gpr;
use vmss2core_mem::Gva;

use super::context::Stack;
use super::{Registers, calls};
use crate::linux::Kernel;

const PUSH_FRAME_POINTER: u8 = 0x55;
const RETURN: u8 = 0xc3;
/// `push %rbp; mov %rsp,%rbp`, with 64 bits and with 32.
const BEGIN_FRAME: [&[u8]; 2] =
    [&[PUSH_FRAME_POINTER, 0x48, 0x89, 0xe5], &[PUSH_FRAME_POINTER, 0x89, 0xe5]];
/// Bytes that can come before: marks of the target of an indirect call, and room for the call
/// of a tracer (`endbr64` and no-ops, Intel SDM volume 2).
const FILLERS: [&[u8]; 3] =
    [&[0xf3, 0x0f, 0x1e, 0xfa], &[0x0f, 0x1f, 0x44, 0, 0], &[0x3e, 0x8d, 0x74, 0x26, 0]];
/// More bytes than such fillers and the push are.
const MOST_FILLERS: u64 = 24;
/// Bytes of a function that are looked at for a frame.
const FIRST_CODE: usize = 24;
/// Within these bytes from its start a function begins its frame.
const USUAL_BEGINNING: u64 = 256;
/// The longest function that is looked through.
const MOST_CODE: u64 = 64 << 10;
/// No function that keeps no frame pointer pushes more words.
const MOST_PUSHED: usize = 16;
/// Suffix of the part of a function that is seldom executed.
const SELDOM: &str = ".cold";

/// The caller of a function that was stopped, if its frame pointer is the caller's.
pub(super) fn caller(stack: &Stack<'_>, registers: &Registers) -> Option<Registers> {
    let (ip, sp, bp) = (registers.ip, registers.sp()?, registers.get(Gpr::Rbp)?);
    let slot = return_slot(stack, ip, sp, bp)?;
    let back = return_address(stack, slot)?;
    let mut caller = Registers { ip: back, ..Registers::default() };
    caller.set(Gpr::Rbp, Some(bp));
    caller.set(Gpr::Rsp, Some(slot.checked_add(stack.kernel.word_len())?));
    Some(caller)
}

/// Where on the stack it lies what the function returns to, if not in its frame.
fn return_slot(stack: &Stack<'_>, ip: u64, sp: u64, bp: u64) -> Option<u64> {
    let word_len = stack.kernel.word_len();
    let function = function_of(stack, ip)?;
    match begun(stack, function..ip) {
        Some(Begun::Nothing) => return Some(sp),
        Some(Begun::Pushed) => return sp.checked_add(word_len),
        None if bytes_of(stack, ip..ip.checked_add(1)?)? == [RETURN] => return Some(sp),
        None => {}
    }
    let in_frame = bp.checked_add(word_len).and_then(|at| return_address(stack, at));
    let Some(owner) = in_frame.and_then(|back| called_with_frame(stack, back)) else {
        return (!begins_frame(stack, function..ip)).then_some(sp);
    };
    if owner == function || is_part_of(stack, ip, owner) {
        return None;
    }
    let returns_to_owner = |at: &u64| {
        let back = return_address(stack, *at);
        back.and_then(|back| function_of(stack, back.wrapping_sub(1))) == Some(owner)
    };
    let places = (sp..bp).step_by(usize::try_from(word_len).ok()?);
    places.take(MOST_PUSHED).find(returns_to_owner)
}

/// The start of the function that an address is in.
fn function_of(stack: &Stack<'_>, ip: u64) -> Option<u64> {
    ip.checked_sub(stack.kernel.symbolize(Gva(ip))?.offset)
}

/// Whether an address is in the part of a function that lies elsewhere.
fn is_part_of(stack: &Stack<'_>, ip: u64, function: u64) -> bool {
    let name = |at| stack.kernel.symbolize(Gva(at)).map(|place| place.name);
    let Some((part, whole)) = name(ip).zip(name(function)) else { return false };
    part.strip_prefix(whole).is_some_and(|rest| rest.starts_with(SELDOM))
}

/// The word on the stack, if a call returns there.
fn return_address(stack: &Stack<'_>, at: u64) -> Option<u64> {
    stack.word(at).filter(|ip| stack.code.holds(*ip) && calls::end_at(&stack.code, *ip))
}

/// The function that a call names which returns to an address, if it keeps a frame.
fn called_with_frame(stack: &Stack<'_>, back: u64) -> Option<u64> {
    let function = calls::function(&stack.code, back)?;
    let beginning = function..function.checked_add(USUAL_BEGINNING)?;
    begins_frame(stack, beginning).then_some(function)
}

/// Whether the function at an address begins with making a frame.
pub(super) fn begins_frame_at(kernel: &Kernel, at: u64) -> bool {
    let mut code = [0; FIRST_CODE];
    let [long, short] = BEGIN_FRAME;
    let begin = if kernel.linux().is_64_bit { long } else { short };
    kernel.read(Gva(at), &mut code, "code").is_ok()
        && code.windows(begin.len()).any(|bytes| bytes == begin)
}

fn begins_frame(stack: &Stack<'_>, code: Range<u64>) -> bool {
    let [long, short] = BEGIN_FRAME;
    let begin = if stack.kernel.linux().is_64_bit { long } else { short };
    bytes_of(stack, code).is_none_or(|bytes| bytes.windows(begin.len()).any(|at| at == begin))
}

/// Effect of a function so far.
enum Begun {
    Nothing,
    Pushed,
}

/// Effect of the first instructions of a function; `None` if it is past them.
fn begun(stack: &Stack<'_>, done: Range<u64>) -> Option<Begun> {
    let bytes = Some(done).filter(|done| done.end.saturating_sub(done.start) <= MOST_FILLERS);
    let bytes = bytes.and_then(|done| bytes_of(stack, done))?;
    let mut rest = bytes.as_slice();
    while let Some(after) = without_filler(rest) {
        rest = after;
    }
    match rest {
        [] => Some(Begun::Nothing),
        [PUSH_FRAME_POINTER] => Some(Begun::Pushed),
        _ => None,
    }
}

fn without_filler(bytes: &[u8]) -> Option<&[u8]> {
    if let [calls::CALL_RELATIVE, _, _, _, _, rest @ ..] = bytes {
        return Some(rest);
    }
    FILLERS.iter().find_map(|filler| bytes.strip_prefix(*filler))
}

fn bytes_of(stack: &Stack<'_>, code: Range<u64>) -> Option<Vec<u8>> {
    let len = code.end.checked_sub(code.start).filter(|len| *len <= MOST_CODE)?;
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    stack.kernel.space().read(Gva(code.start), &mut bytes).ok()?;
    Some(bytes)
}
