//! The kernel's own variables, searched word by word for what no symbol names.

use std::ops::{ControlFlow, Range};

use vmss2core_mem::{Gva, Sums, little_endian, to_page_end};

use super::Kernel;

/// Bytes after the start of a 32-bit kernel that are searched: its variables
/// follow its code.
const IMAGE_LEN_32_BIT: u64 = 64 << 20;
/// Bytes read at a time.
const CHUNK: u64 = 1 << 20;

/// The kernel's code and its variables.
pub(in crate::linux) fn image_range(kernel: &Kernel) -> Option<Range<u64>> {
    let text = kernel.linux().text.as_ref()?.value;
    if kernel.word_len() == 8 {
        return Some(text.start.0..text.start.0.checked_add(text.len)?);
    }
    let after_memory = kernel.linux().direct_map.as_ref()?.value.0.plus(kernel.memory().end().0);
    Some(text.start.0..text.start.0.checked_add(IMAGE_LEN_32_BIT)?.min(after_memory))
}

/// Passes the words of a range piece by piece, with where each piece begins; the last of a
/// piece again with the next one, so that `together` are seen side by side. False if not
/// all could be read.
pub(in crate::linux) fn visit_chunks(
    kernel: &Kernel,
    range: &Range<u64>,
    together: u64,
    visit: &mut dyn FnMut(u64, &[u64]) -> ControlFlow<()>,
) -> bool {
    let word = usize::try_from(kernel.word_len()).unwrap_or(8);
    let (mut at, mut is_whole) = (range.start, true);
    let mut bytes = Vec::new();
    while at < range.end {
        // Page by page where something is missing in between.
        let in_page = to_page_end(at);
        let found = [CHUNK, in_page].into_iter().find(|len| {
            bytes.resize(usize::try_from(*len).unwrap_or(0), 0);
            kernel.space().read(Gva(at), &mut bytes).is_ok()
        });
        is_whole &= found.is_some();
        let words: Vec<u64> = bytes.chunks_exact(word).map(little_endian).collect();
        if found.is_some() && visit(at, &words).is_break() {
            break;
        }
        let again = together.minus(1).times(kernel.word_len());
        let step = if found == Some(CHUNK) { CHUNK.minus(again) } else { in_page };
        at = at.saturating_add(step);
    }
    is_whole
}
