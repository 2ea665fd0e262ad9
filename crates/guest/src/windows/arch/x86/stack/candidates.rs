//! Words on a stack that may be return addresses.

use std::ops::RangeInclusive;

use vmss2core_mem::{Gva, PAGE_SIZE};

use super::frame_at;
use crate::model::{Frame, FrameKind};
use crate::windows::Kernel;

/// Where the end of a stack is not known, this much of it is looked at.
const USUAL_LEN: u64 = 0x6000;
/// Longest stack that is looked at.
const LONGEST: u64 = 0x2_0000;

/// The place of a stack, as far as known.
#[derive(Clone, Copy)]
pub(in crate::windows) struct Stack {
    low: u64,
    end: u64,
}

impl Stack {
    /// The stack with these bounds if it has this pointer, else what lies above
    /// the pointer: interrupts have stacks of their own.
    pub(in crate::windows) fn around(sp: u64, bounds: Option<(Gva, Gva)>) -> Self {
        match bounds {
            Some((low, end)) if (low.0..end.0).contains(&sp) => Self { low: low.0, end: end.0 },
            _ => Self { low: sp, end: sp.saturating_add(USUAL_LEN) },
        }
    }

    pub(in crate::windows) fn contains(&self, at: u64) -> bool {
        (self.low..self.end).contains(&at)
    }
}

/// Up to `limit` words from `from` on that point after a call.
pub(in crate::windows) fn scan(
    kernel: &Kernel,
    stack: &Stack,
    from: Gva,
    limit: usize,
) -> Vec<Frame> {
    let word = kernel.view().word_len();
    let Some(start) = from.0.checked_next_multiple_of(word) else { return Vec::new() };
    let len = stack.end.saturating_sub(start).min(LONGEST);
    let places = (start..start.saturating_add(len)).step_by(usize::try_from(word).unwrap_or(8));
    let guess = |sp| {
        let ip = kernel.view().pointer(Gva(sp))?;
        let is_return = is_code(kernel, ip) && is_after_call(kernel, ip);
        is_return.then_some(frame_at(ip, Gva(sp), FrameKind::Guess))
    };
    places.filter_map(guess).take(limit).collect()
}

/// Whether an address is in an executable section of an image. If the headers are not
/// in memory, page tables say what is executable; their own page never is.
pub(in crate::windows) fn is_code(kernel: &Kernel, ip: Gva) -> bool {
    let Some(module) = kernel.modules().at(ip) else { return false };
    let offset = ip.0.wrapping_sub(module.base.0);
    match &module.headers {
        Some(headers) => headers.is_code(offset),
        None => offset >= PAGE_SIZE && kernel.view().is_executable(ip),
    }
}

/// Longest call instruction.
const CALL_LEN: u64 = 7;

/// Whether the instruction before is a call.
fn is_after_call(kernel: &Kernel, ip: Gva) -> bool {
    let before = |len: u64| {
        let start = Gva(ip.0.checked_sub(len)?);
        kernel.view().bytes(start, usize::try_from(len).ok()?)
    };
    // The page before need not be in memory.
    let code = before(CALL_LEN).or_else(|| before(ip.page_offset().min(CALL_LEN)));
    let code = code.unwrap_or_default();
    let ends =
        |len: usize| code.len().checked_sub(len).and_then(|at| code.get(at..)).unwrap_or_default();
    // The mode byte's middle bits of an indirect call are 2.
    let is_indirect = |len: usize, modes: RangeInclusive<u8>| matches!(ends(len), [0xff, mode, ..] if mode >> 3 & 7 == 2 && modes.contains(mode));
    is_near_call(kernel, ip, ends(5))
        || is_indirect(2, 0x10..=0x17)
        || is_indirect(2, 0xd0..=0xd7)
        || is_indirect(3, 0x14..=0x57)
        || is_indirect(4, 0x54..=0x54)
        || is_indirect(6, 0x15..=0x97)
        || is_indirect(7, 0x94..=0x94)
}

/// Whether the instruction calls code by its distance from `next`.
fn is_near_call(kernel: &Kernel, next: Gva, code: &[u8]) -> bool {
    let [0xe8, a, b, c, d] = *code else { return false };
    let distance = i64::from(i32::from_le_bytes([a, b, c, d]));
    let target = next.0.wrapping_add_signed(distance);
    let mask = if kernel.is_64_bit() { u64::MAX } else { 0xffff_ffff };
    is_code(kernel, Gva(target & mask))
}
