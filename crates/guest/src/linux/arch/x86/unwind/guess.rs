//! Without a way to unwind: every word of the stack that may be a return address.

use std::ops::Range;

use vmss2core_mem::{Gva, little_endian};

use super::calls;
use super::code::Code;
use super::context::MOST_BYTES;
use super::{Frame, FrameKind};
use crate::linux::Kernel;

/// The words in `range` that a call may have left: they point into a function,
/// after a call.
pub(super) fn words<'a>(
    kernel: &'a Kernel,
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
    let word_len = usize::try_from(word_len).unwrap_or(8);
    let words = bytes.chunks_exact(word_len).map(little_endian).collect::<Vec<_>>();
    let places = (start..range.end).step_by(word_len);
    words.into_iter().zip(places).filter_map(move |(ip, at)| {
        let frame = Frame { ip: Gva(ip), sp: Gva(at), kind: FrameKind::Guess, is_after_call: true };
        is_likely(kernel, code, ip).then_some(frame)
    })
}

/// The start of a function is more often a pointer to it than where a call that
/// never returns would have returned to.
fn is_likely(kernel: &Kernel, code: &Code<'_>, ip: u64) -> bool {
    let is_start = || kernel.symbolize(Gva(ip)).is_some_and(|place| place.offset == 0);
    code.holds(ip) && calls::end_at(code, ip) && !is_start()
}
