//! Without a way to unwind: every word of the stack that may be a return address.

use std::ops::Range;

use vmss2core_mem::Gva;

use super::code::Code;
use super::{Frame, FrameKind};
use crate::linux::Kernel;

/// No kernel stack is larger.
const MOST_BYTES: u64 = 64 << 10;

/// The words in `range` that point into code.
pub(super) fn words<'a>(
    kernel: &'a Kernel<'a>,
    code: &'a Code<'a>,
    range: Range<u64>,
) -> impl Iterator<Item = Frame> + 'a {
    let word_len = kernel.word_len();
    let start = range.start.next_multiple_of(word_len);
    let len = range.end.saturating_sub(start).min(MOST_BYTES);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    if kernel.read(Gva(start), &mut bytes, "stack").is_err() {
        bytes.clear();
    }
    (0..bytes.len() as u64 / word_len).filter_map(move |index| {
        let ip = word(&bytes, index, word_len)?;
        let sp = Gva(start + index * word_len);
        code.holds(ip).then_some(Frame { ip: Gva(ip), sp, kind: FrameKind::Guess })
    })
}

fn word(bytes: &[u8], index: u64, word_len: u64) -> Option<u64> {
    let (at, len) = (usize::try_from(index * word_len).ok()?, usize::try_from(word_len).ok()?);
    let word = bytes.get(at..at.checked_add(len)?)?;
    Some(word.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}
