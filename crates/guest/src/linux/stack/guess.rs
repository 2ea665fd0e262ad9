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
    let start = range.start.checked_next_multiple_of(word_len).unwrap_or(range.end);
    let len = range.end.saturating_sub(start).min(MOST_BYTES);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    if kernel.read(Gva(start), &mut bytes, "stack").is_err() {
        bytes.clear();
    }
    let places = (start..range.end).step_by(usize::try_from(word_len).unwrap_or(8));
    let word_len = usize::try_from(word_len).unwrap_or(8);
    let words = bytes.chunks_exact(word_len).map(word).collect::<Vec<_>>();
    words.into_iter().zip(places).filter_map(move |(ip, at)| {
        let sp = Gva(at);
        code.holds(ip).then_some(Frame { ip: Gva(ip), sp, kind: FrameKind::Guess })
    })
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
