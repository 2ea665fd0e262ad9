//! The trees of a process as fuzzing reads them.

use std::ops::ControlFlow;

use super::fields::word;
use super::maple;
use super::xarray::{CacheTree, Marks, TreeShape};

/// Where the memory begins: below that no pointer leads.
const BASE: u64 = 0x1000;
/// As many nodes as a tree of this size could have.
const NODES: u64 = 1 << 12;
const ENTRIES: usize = 1 << 20;

/// Reads the trees; what is found is of no interest, that it ends is.
pub(crate) fn trees(data: &[u8]) {
    let Some((front, memory)) = data.split_at_checked(17) else { return };
    let (Some(mappings), Some(cache)) = (word(front, 0, 8), word(front, 8, 8)) else { return };
    let kind = front.last().copied().unwrap_or(0);
    let word_len = if kind & 1 == 0 { 8 } else { 4 };
    let read = |gva: u64, buf: &mut [u8]| {
        let start = gva.checked_sub(BASE).and_then(|at| usize::try_from(at).ok());
        let end = start.and_then(|start| start.checked_add(buf.len()));
        let found = start.zip(end).and_then(|(start, end)| memory.get(start..end));
        found.map(|bytes| buf.copy_from_slice(bytes)).is_some()
    };
    let tree = maple::entries(mappings, word_len, &read);
    assert!(tree.entries.is_sorted_by(|one, next| one.last < next.first), "overlapping mappings");
    let shape = TreeShape {
        word_len,
        slots_at: word_len.saturating_mul(5),
        slots_shift: if kind & 2 == 0 { 6 } else { 4 },
        marks: if kind & 4 == 0 { Marks::XArray } else { Marks::Radix },
    };
    let height = (kind & 8 != 0).then_some(kind >> 4);
    let mut nodes_left = NODES;
    let mut cached = CacheTree { shape, read: &read, nodes_left: &mut nodes_left };
    let (mut next, mut left) = (0, ENTRIES);
    let _ = cached.visit(cache, height, 0..u64::MAX, &mut |entry| {
        assert!(entry.index >= next, "pages out of order");
        next = entry.index.saturating_add(entry.count);
        left = left.saturating_sub(1);
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
}
