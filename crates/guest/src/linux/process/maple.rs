//! The maple tree that holds a process's mappings since Linux 6.1.
//!
//! Nodes are 256 bytes long and aligned to that (`include/linux/maple_tree.h`,
//! `lib/maple_tree.c`); their layout was the same in all kernels seen, 6.1 to 7.2,
//! for both word sizes. A pointer to a node has its type in bits 3 to 6. The tree of
//! a guest may be torn, because it was stopped while writing it, or crafted: each
//! node is entered once, depth and number of nodes are limited.

use std::collections::HashSet;

use super::fields::word;

const NODE_LEN: usize = 256;
const NODE_MASK: u64 = !0xff;
/// The kernel's own limit (`MAPLE_HEIGHT_MAX`).
const MAX_DEPTH: u8 = 31;
/// Room for 15 million mappings.
const MAX_NODES: usize = 1 << 20;
/// The first page holds no structure; small numbers are marks of the kernel.
const MIN_POINTER: u64 = 4096;

/// Reads kernel memory; false if that cannot be read.
pub(in crate::linux) type ReadMemory<'r> = &'r dyn Fn(u64, &mut [u8]) -> bool;

/// A range and the pointer that the tree holds for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::linux) struct MapleEntry {
    pub(in crate::linux) first: u64,
    pub(in crate::linux) last: u64,
    pub(in crate::linux) pointer: u64,
}

/// Entries of a tree.
#[derive(Debug, Default)]
pub(in crate::linux) struct MapleTree {
    /// In order, not overlapping.
    pub(in crate::linux) entries: Vec<MapleEntry>,
    /// Nodes that could not be read or make no sense.
    pub(in crate::linux) broken_nodes: u64,
}

/// Where a kind of node has its pivots and its slots.
#[derive(Clone, Copy)]
struct Shape {
    pivots_at: usize,
    slots_at: usize,
    slots: usize,
    is_leaf: bool,
}

/// Reads the tree whose root entry (`ma_root`) is this.
pub(in crate::linux) fn entries(root: u64, word_len: usize, read: ReadMemory<'_>) -> MapleTree {
    let mut walk = Walk { read, word_len, entered: HashSet::new(), tree: MapleTree::default() };
    // A root that is not a node is empty, or the only entry, for index 0: no mapping.
    if root & 3 == 2 && root > MIN_POINTER {
        let last = if word_len == 8 { u64::MAX } else { u64::from(u32::MAX) };
        walk.node(root, 0, last, 0);
    }
    walk.tree
}

struct Walk<'r> {
    read: ReadMemory<'r>,
    word_len: usize,
    entered: HashSet<u64>,
    tree: MapleTree,
}

impl Walk<'_> {
    fn node(&mut self, pointer: u64, first: u64, last: u64, depth: u8) {
        let at = pointer & NODE_MASK;
        let mut bytes = [0; NODE_LEN];
        let known = self.shape(pointer).filter(|_| {
            depth < MAX_DEPTH && self.entered.len() < MAX_NODES && self.entered.insert(at)
        });
        let Some(shape) = known.filter(|_| (self.read)(at, &mut bytes)) else {
            self.tree.broken_nodes = self.tree.broken_nodes.saturating_add(1);
            return;
        };
        // A node that was replaced is its own parent.
        if word(&bytes, 0, self.word_len).is_none_or(|parent| parent & NODE_MASK == at) {
            self.tree.broken_nodes = self.tree.broken_nodes.saturating_add(1);
        }
        self.slots(&bytes, shape, first, last, depth);
    }

    fn slots(&mut self, node: &[u8], shape: Shape, first: u64, last: u64, depth: u8) {
        let mut start = first;
        for index in 0..shape.slots {
            let at = |base: usize| {
                word(node, base.saturating_add(index.saturating_mul(self.word_len)), self.word_len)
            };
            // There is no pivot for the last slot, and none is set after the last used.
            let pivot = at(shape.pivots_at).filter(|_| index.saturating_add(1) < shape.slots);
            let end = pivot.filter(|pivot| *pivot != 0 || index == 0).unwrap_or(last);
            if end < start || end > last {
                self.tree.broken_nodes = self.tree.broken_nodes.saturating_add(1);
                return;
            }
            self.slot(at(shape.slots_at).unwrap_or(0), shape, start, end, depth);
            if end >= last {
                return;
            }
            start = end.saturating_add(1);
        }
    }

    fn slot(&mut self, slot: u64, shape: Shape, first: u64, last: u64, depth: u8) {
        if !shape.is_leaf {
            self.node(slot, first, last, depth.saturating_add(1));
        } else if slot >= MIN_POINTER {
            self.tree.entries.push(MapleEntry { first, last, pointer: slot });
        }
    }

    /// Kind of the node that a pointer leads to; `None` for those that no tree of
    /// mappings has.
    fn shape(&self, pointer: u64) -> Option<Shape> {
        let pivots_at = self.word_len;
        let range = |is_leaf| Shape {
            pivots_at,
            slots_at: NODE_LEN / 2,
            slots: (NODE_LEN / 2).checked_div(self.word_len).unwrap_or(0),
            is_leaf,
        };
        // Gaps take part of the room: 10 slots of 8 bytes, or 21 of 4.
        let slots: usize = if self.word_len == 8 { 10 } else { 21 };
        match pointer >> 3 & 0xf {
            1 => Some(range(true)),
            2 => Some(range(false)),
            3 => {
                let slots_at =
                    pivots_at.saturating_add(slots.saturating_sub(1).saturating_mul(self.word_len));
                Some(Shape { pivots_at, slots_at, slots, is_leaf: false })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Nodes by address.
    #[derive(Default)]
    struct Memory(HashMap<u64, [u8; NODE_LEN]>);

    impl Memory {
        fn put(&mut self, node: u64, at: usize, word_len: usize, value: u64) {
            let node = self.0.entry(node).or_insert([0; NODE_LEN]);
            node[at..at + word_len].copy_from_slice(&value.to_le_bytes()[..word_len]);
        }

        fn node(&mut self, node: u64, word_len: usize, arange: bool, ends_slots: &[(u64, u64)]) {
            let slots_at = match (arange, word_len) {
                (true, 8) => 0x50,
                (true, _) => 0x54,
                (false, _) => 0x80,
            };
            self.put(node, 0, word_len, 0xdead_0000);
            for (index, (end, slot)) in ends_slots.iter().enumerate() {
                let pivot_at = word_len * (1 + index);
                if pivot_at < slots_at {
                    self.put(node, pivot_at, word_len, *end);
                }
                self.put(node, slots_at + word_len * index, word_len, *slot);
            }
        }

        fn read(&self, root: u64, word_len: usize) -> MapleTree {
            entries(root, word_len, &|gva, buf| {
                let Some(node) = self.0.get(&gva) else { return false };
                buf.copy_from_slice(node);
                true
            })
        }
    }

    const LEAF: u64 = 1 << 3 | 4;
    const ARANGE: u64 = 3 << 3;
    const ROOT: u64 = 2;

    fn of(tree: &MapleTree) -> Vec<(u64, u64, u64)> {
        tree.entries.iter().map(|entry| (entry.first, entry.last, entry.pointer)).collect()
    }

    #[test]
    fn both_node_widths_are_read_through_two_levels() {
        for (word_len, last) in [(8, u64::MAX), (4, 0xffff_ffff)] {
            let mut memory = Memory::default();
            let (top, low, high) = (0x1_0000, 0x1_0100, 0x1_0200);
            memory.node(top, word_len, true, &[(0x4fff, low | LEAF), (last, high | LEAF)]);
            memory.node(low, word_len, false, &[(0xfff, 0), (0x1fff, 0xa000), (0x4fff, 0xb000)]);
            memory.node(high, word_len, false, &[(0x5fff, 0xc000), (last, 0)]);
            let tree = memory.read(top | ARANGE | ROOT, word_len);
            assert_eq!(
                of(&tree),
                [(0x1000, 0x1fff, 0xa000), (0x2000, 0x4fff, 0xb000), (0x5000, 0x5fff, 0xc000)]
            );
            assert_eq!(tree.broken_nodes, 0);
        }
    }

    #[test]
    fn a_full_leaf_has_no_pivot_for_its_last_slot() {
        for word_len in [8, 4] {
            let slots = 128 / word_len;
            let full: Vec<(u64, u64)> =
                (0..slots as u64).map(|i| (0x1000 * (i + 1) - 1, 0x10_0000 + 0x100 * i)).collect();
            let mut memory = Memory::default();
            memory.node(0x1_0000, word_len, true, &[(0x1000 * slots as u64 - 1, 0x2_0000 | LEAF)]);
            memory.put(0x1_0000, word_len, word_len, 0x1000 * slots as u64 - 1);
            memory.node(0x2_0000, word_len, false, &full);
            let tree = memory.read(0x1_0000 | ARANGE | ROOT, word_len);
            assert_eq!(tree.entries.len(), slots, "{word_len}");
            assert_eq!(tree.entries.last().unwrap().last, 0x1000 * slots as u64 - 1);
        }
    }

    #[test]
    fn what_the_kernel_keeps_behind_the_last_slot_is_no_mapping() {
        let mut memory = Memory::default();
        memory.node(0x1_0000, 8, false, &[(0xfff, 0xa000), (u64::MAX, 0)]);
        // `maple_metadata`: end and gap.
        memory.put(0x1_0000, 0xf8, 8, 0x0201);
        let tree = memory.read(0x1_0000 | LEAF | ROOT, 8);
        assert_eq!(of(&tree), [(0, 0xfff, 0xa000)]);
    }

    #[test]
    fn loops_and_unreadable_nodes_are_left_out_and_counted() {
        let mut memory = Memory::default();
        let itself = 0x1_0000 | ARANGE;
        memory.node(
            0x1_0000,
            8,
            true,
            &[
                (0xfff, itself),
                (0x1fff, 0x2_0000 | LEAF),
                (0x2fff, 0x3_0000 | LEAF),
                (u64::MAX, itself),
            ],
        );
        memory.node(0x2_0000, 8, false, &[(0x1fff, 0xa000)]);
        let tree = memory.read(itself | ROOT, 8);
        assert_eq!(of(&tree), [(0x1000, 0x1fff, 0xa000)]);
        assert_eq!(tree.broken_nodes, 3);
    }

    #[test]
    fn pivots_that_go_back_end_a_node() {
        let mut memory = Memory::default();
        memory.node(0x1_0000, 8, false, &[(0x2fff, 0xa000), (0x1fff, 0xb000), (0x3fff, 0xc000)]);
        let tree = memory.read(0x1_0000 | LEAF | ROOT, 8);
        assert_eq!(of(&tree), [(0, 0x2fff, 0xa000)]);
        assert_eq!(tree.broken_nodes, 1);
    }

    #[test]
    fn a_node_that_was_replaced_is_said_to_be() {
        let mut memory = Memory::default();
        memory.node(0x1_0000, 8, false, &[(0xfff, 0xa000), (u64::MAX, 0)]);
        memory.put(0x1_0000, 0, 8, 0x1_0000);
        assert_eq!(memory.read(0x1_0000 | LEAF | ROOT, 8).broken_nodes, 1);
    }

    #[test]
    fn an_empty_tree_is_empty() {
        assert!(Memory::default().read(0, 8).entries.is_empty());
        assert!(Memory::default().read(0xffff_8880_0000_1000, 8).entries.is_empty());
    }
}
