//! Maple trees, which hold the areas of memory since 6.1.
//!
//! Layout of a node: `include/linux/maple_tree.h`. Nodes have 256 bytes and lie at
//! multiples of that; the lower byte of a pointer to one says what it is.

use super::memory::Memory;

/// Bytes of a node.
const NODE: u64 = 256;
/// `maple_leaf_64`, `maple_range_64`, `maple_arange_64`; `maple_dense` (0) is not used
/// for memory.
const LEAF: u64 = 1;
const RANGE: u64 = 2;
const ARANGE: u64 = 3;
/// A tree of 2^64 entries is not as high.
const HIGHEST: u32 = 16;
/// More nodes of a tree are not looked at.
const MOST_NODES: u32 = 512;

/// Where pivots and slots are in a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) pivots: u64,
    pub(super) slots: u64,
    pub(super) slot_count: u64,
}

impl Shape {
    /// `maple_range_64`, of leaves too: parent, pivots, one more slots.
    pub(super) fn range(word_len: u64) -> Self {
        let slot_count = NODE / (2 * word_len);
        Self { pivots: word_len, slots: slot_count * word_len, slot_count }
    }

    /// `maple_arange_64`: parent, pivots, one more slots, as many gaps, a word.
    pub(super) fn arange(word_len: u64) -> Self {
        let slot_count = (NODE / word_len - 1) / 3;
        Self { pivots: word_len, slots: slot_count * word_len, slot_count }
    }
}

/// What a tree holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) value: u64,
}

/// The entries of a tree in the order of their addresses, at most `most`; `None` if
/// it is no tree, or torn.
pub(super) fn entries(memory: &Memory<'_>, root: u64, most: usize) -> Option<Vec<Entry>> {
    is_node(memory, root).then_some(())?;
    let highest = if memory.word_len() == 8 { u64::MAX } else { u64::from(u32::MAX) };
    let mut walk = Walk { memory, entries: Vec::new(), most, nodes: MOST_NODES };
    walk.node(root, (0, highest), HIGHEST)?;
    Some(walk.entries)
}

/// Whether a word is the root of a tree with a node.
pub(super) fn is_node(memory: &Memory<'_>, root: u64) -> bool {
    root & 3 == 2 && (LEAF..=ARANGE).contains(&kind(root)) && memory.is_pointer(root & !(NODE - 1))
}

fn kind(node: u64) -> u64 {
    (node >> 3) & 0xf
}

struct Walk<'m, 'k> {
    memory: &'m Memory<'k>,
    entries: Vec<Entry>,
    most: usize,
    nodes: u32,
}

impl Walk<'_, '_> {
    /// Visits a node that covers these addresses.
    fn node(&mut self, node: u64, (first, last): (u64, u64), height: u32) -> Option<()> {
        let height = height.checked_sub(1)?;
        self.nodes = self.nodes.checked_sub(1)?;
        let word_len = self.memory.word_len();
        let shape = match kind(node) {
            LEAF | RANGE => Shape::range(word_len),
            ARANGE => Shape::arange(word_len),
            _ => return None,
        };
        let at = node & !(NODE - 1);
        let mut start = first;
        for index in 0..shape.slot_count {
            let is_last = index + 1 == shape.slot_count;
            let pivot = self.memory.word(at + shape.pivots + index * word_len)?;
            let pivot = if is_last { last } else { pivot };
            // The pivots end with the first zero; what follows is not of the tree.
            let end = if pivot == 0 && index > 0 { last } else { pivot };
            if end < start || end > last || self.entries.len() >= self.most {
                return (self.entries.len() >= self.most).then_some(());
            }
            let slot = self.memory.word(at + shape.slots + index * word_len)?;
            self.slot(kind(node), slot, (start, end), height)?;
            if end >= last {
                return Some(());
            }
            start = end + 1;
        }
        Some(())
    }

    fn slot(&mut self, of: u64, slot: u64, (first, last): (u64, u64), height: u32) -> Option<()> {
        if of == LEAF {
            if self.memory.is_pointer(slot) {
                self.entries.push(Entry { first, last, value: slot });
            }
            return Some(());
        }
        let is_inner =
            (LEAF..=ARANGE).contains(&kind(slot)) && self.memory.is_pointer(slot & !(NODE - 1));
        is_inner.then_some(())?;
        self.node(slot, (first, last), height)
    }
}
