//! Words on a stack that may be return addresses.

use vmss2core_mem::Gva;

use super::{Frame, FrameKind};
use crate::windows::Kernel;

/// Where the end of a stack is not known, this much of it is looked at.
const USUAL_LEN: u64 = 0x6000;
/// Longest stack that is looked at.
const LONGEST: u64 = 0x2_0000;

/// What is known of the place of a stack.
#[derive(Clone, Copy)]
pub(super) struct Stack {
    low: u64,
    end: u64,
}

impl Stack {
    /// The stack with these bounds if it has this pointer, else what lies above
    /// the pointer: interrupts have stacks of their own.
    pub(super) fn around(sp: u64, bounds: Option<(Gva, Gva)>) -> Self {
        match bounds {
            Some((low, end)) if (low.0..end.0).contains(&sp) => Self { low: low.0, end: end.0 },
            _ => Self { low: sp, end: sp.saturating_add(USUAL_LEN) },
        }
    }

    pub(super) fn contains(&self, at: u64) -> bool {
        (self.low..self.end).contains(&at)
    }
}

/// Up to `limit` words from `from` on that point behind a call.
pub(super) fn scan(kernel: &Kernel<'_>, stack: &Stack, from: Gva, limit: usize) -> Vec<Frame> {
    let word = kernel.view().word_len();
    let start = from.0.next_multiple_of(word);
    let len = stack.end.saturating_sub(start).min(LONGEST);
    let mut found = Vec::new();
    for sp in (start..start.saturating_add(len)).step_by(usize::try_from(word).unwrap_or(8)) {
        let Some(ip) = kernel.view().pointer(Gva(sp)) else { continue };
        if found.len() < limit && is_code(kernel, ip) && is_behind_call(kernel, ip) {
            found.push(Frame { ip, sp: Gva(sp), kind: FrameKind::Guess });
        }
    }
    found
}

/// Whether an address is in the code of an image; in an image at all, if its
/// headers are not in memory.
pub(super) fn is_code(kernel: &Kernel<'_>, ip: Gva) -> bool {
    kernel.modules().at(ip).is_some_and(|module| {
        let offset = ip.0.wrapping_sub(module.base.0);
        module.headers.as_ref().is_none_or(|headers| headers.is_code(offset))
    })
}

/// Whether the instruction before may be a call. True if it is not in memory.
fn is_behind_call(kernel: &Kernel<'_>, ip: Gva) -> bool {
    let Some(code) = kernel.view().bytes(Gva(ip.0.wrapping_sub(7)), 7) else { return true };
    let ends = |len: usize| code.get(7 - len..).unwrap_or_default();
    // The mode byte's middle bits of an indirect call are 2.
    let is_indirect = |len: usize, modes: std::ops::RangeInclusive<u8>| matches!(ends(len), [0xff, mode, ..] if mode >> 3 & 7 == 2 && modes.contains(mode));
    matches!(ends(5), [0xe8, ..])
        || is_indirect(2, 0x10..=0x17)
        || is_indirect(2, 0xd0..=0xd7)
        || is_indirect(3, 0x14..=0x57)
        || is_indirect(4, 0x54..=0x54)
        || is_indirect(6, 0x15..=0x97)
        || is_indirect(7, 0x94..=0x94)
}
