//! The tree of a file's page cache: an XArray since Linux 4.20
//! (`include/linux/xarray.h`), before that a radix tree
//! (`include/linux/radix-tree.h`).
//!
//! Both have nodes of 64 slots (16 in the smallest kernels) that begin with the
//! shift of their level; they differ in the two lowest bits of an entry. Trees of
//! a guest may be crafted: shifts must fall on the way down, a node is entered for
//! one place only, and the number of nodes is limited.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use super::fields::word;
use super::maple::ReadMemory;
use vmss2core_mem::little_endian;

const MIN_POINTER: u64 = 4096;

/// How a tree is laid out.
#[derive(Clone, Copy, Debug)]
pub(in crate::linux) struct TreeShape {
    /// Bytes of a pointer.
    pub(in crate::linux) word_len: usize,
    /// Offset of the slots in a node.
    pub(in crate::linux) slots_at: usize,
    /// Logarithm of the number of slots: 6 or 4.
    pub(in crate::linux) slots_shift: u8,
    /// Meaning of the low bits of an entry.
    pub(in crate::linux) marks: Marks,
}

/// Meaning of the low bits of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::linux) enum Marks {
    /// 1: a value; 2: a node, or a small number that is the kernel's own.
    XArray,
    /// 1: a node; 2: a value.
    Radix,
}

/// A page, or what is remembered of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::linux) struct CacheEntry {
    /// Index in the file, in pages.
    pub(in crate::linux) index: u64,
    /// How many pages it is for.
    pub(in crate::linux) count: u64,
    /// How far `index` is from the first page of this entry.
    pub(in crate::linux) skip: u64,
    pub(in crate::linux) kind: EntryKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::linux) enum EntryKind {
    /// Address of the `struct page` (or folio).
    Page(u64),
    /// A number: where a page was swapped to, or when it was dropped.
    Value(u64),
    /// A node that could not be read or makes no sense.
    Broken,
}

/// Reads a tree.
pub(in crate::linux) struct CacheTree<'r> {
    pub(in crate::linux) shape: TreeShape,
    pub(in crate::linux) read: ReadMemory<'r>,
    /// How many nodes may still be read.
    pub(in crate::linux) nodes_left: &'r mut u64,
}

impl CacheTree<'_> {
    /// Reports the entries for a range of indices, in order. `head` is the entry at
    /// the root; `height` is that of old radix trees, whose nodes do not say theirs.
    pub(in crate::linux) fn visit(
        &mut self,
        head: u64,
        height: Option<u8>,
        range: Range<u64>,
        visit: &mut dyn FnMut(CacheEntry) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if range.is_empty() || head == 0 {
            return ControlFlow::Continue(());
        }
        let bits = self.shape.slots_shift;
        let top = height.map(|height| height.saturating_mul(bits));
        let mut walk =
            Walk { tree: self, heights: height.is_some(), range, entered: HashMap::new(), visit };
        // A tree of one page has no node; until 2.6.26 that was what the mark said.
        let is_page = height == Some(0);
        let head = if is_page && head & 3 == 1 { head & !1 } else { head };
        match walk.tree.child(head, height.is_some() && !is_page) {
            Child::Node(node) => walk.node(node, 0, top.unwrap_or(u8::MAX)),
            Child::Entry(kind) => walk.report(0, 1, 0, kind),
            Child::Sibling(_) | Child::Nothing => ControlFlow::Continue(()),
        }
    }

    /// Kind of an entry. Trees whose nodes do not say their shift do not mark what
    /// leads to nodes either, but for the root: all above the lowest level is a node.
    fn child(&self, entry: u64, is_node: bool) -> Child {
        let low = entry & 3;
        let (value, node) = match self.shape.marks {
            Marks::XArray => (low & 1 == 1, low == 2),
            Marks::Radix => (low == 2, low == 1 || is_node),
        };
        if value {
            let shift = if self.shape.marks == Marks::XArray { 1 } else { 2 };
            Child::Entry(EntryKind::Value(entry >> shift))
        } else if entry < MIN_POINTER {
            let is_marked = self.shape.marks == Marks::XArray && low == 2;
            let sibling = is_marked && entry >> 2 < 1 << self.shape.slots_shift;
            if sibling { Child::Sibling(entry >> 2) } else { Child::Nothing }
        } else if node {
            Child::Node(entry & !3)
        } else if low == 0 {
            Child::Entry(EntryKind::Page(entry))
        } else {
            Child::Entry(EntryKind::Broken)
        }
    }
}

/// The kind of an entry.
enum Child {
    Node(u64),
    Entry(EntryKind),
    /// Part of the entry in that slot of the same node.
    Sibling(u64),
    Nothing,
}

struct Walk<'w, 'r> {
    tree: &'w mut CacheTree<'r>,
    /// Whether nodes do not say their shift.
    heights: bool,
    range: Range<u64>,
    /// For each node the index that it was entered for.
    entered: HashMap<u64, u64>,
    visit: &'w mut dyn FnMut(CacheEntry) -> ControlFlow<()>,
}

/// A node that is being read.
struct Node {
    bytes: Vec<u8>,
    shift: u8,
}

impl Walk<'_, '_> {
    /// Walks the node at `gva` for the indices from `first` on. `above` is the shift
    /// of the node above.
    fn node(&mut self, gva: u64, first: u64, above: u8) -> ControlFlow<()> {
        let Some(node) = self.read_node(gva, first, above) else {
            let bits = if above == u8::MAX { u64::BITS } else { u32::from(above) };
            let count = 1_u64.checked_shl(bits).unwrap_or(u64::MAX);
            return self.report(first, count, 0, EntryKind::Broken);
        };
        let slots = 1_u64 << self.tree.shape.slots_shift;
        let per_slot = 1_u64 << node.shift;
        let from = self.range.start.saturating_sub(first) >> node.shift;
        for slot in from.min(slots)..slots {
            let Some(index) = slot.checked_mul(per_slot).and_then(|at| first.checked_add(at))
            else {
                break;
            };
            if index >= self.range.end {
                break;
            }
            self.slot(&node, slot, index)?;
        }
        ControlFlow::Continue(())
    }

    fn slot(&mut self, node: &Node, slot: u64, index: u64) -> ControlFlow<()> {
        let per_slot = 1_u64 << node.shift;
        let is_node = self.heights && node.shift > 0;
        match self.tree.child(self.entry(node, slot), is_node) {
            Child::Nothing => ControlFlow::Continue(()),
            Child::Node(below) if node.shift > 0 => self.node(below, index, node.shift),
            Child::Node(_) => self.report(index, 1, 0, EntryKind::Broken),
            Child::Entry(kind) => self.report(index, per_slot, 0, kind),
            Child::Sibling(of) => match self.tree.child(self.entry(node, of), is_node) {
                Child::Entry(kind) if of < slot => {
                    let skip = slot.saturating_sub(of).saturating_mul(per_slot);
                    self.report(index, per_slot, skip, kind)
                }
                _ => self.report(index, per_slot, 0, EntryKind::Broken),
            },
        }
    }

    fn entry(&self, node: &Node, slot: u64) -> u64 {
        let shape = &self.tree.shape;
        let at = usize::try_from(slot).ok().and_then(|slot| slot.checked_mul(shape.word_len));
        let at = at.and_then(|at| at.checked_add(shape.slots_at));
        at.and_then(|at| word(&node.bytes, at, shape.word_len)).unwrap_or(0)
    }

    /// Reads a node that makes sense at this place: with a shift below that of
    /// the one above it, so that no way is longer than a number has bits.
    fn read_node(&mut self, gva: u64, first: u64, above: u8) -> Option<Node> {
        let shape = self.tree.shape;
        *self.tree.nodes_left = self.tree.nodes_left.checked_sub(1)?;
        if *self.entered.entry(gva).or_insert(first) != first {
            return None;
        }
        let slots_len = shape.word_len.checked_shl(shape.slots_shift.into())?;
        let mut bytes = vec![0; shape.slots_at.checked_add(slots_len)?];
        if !(self.tree.read)(gva, &mut bytes) {
            return None;
        }
        let said = u8::try_from(little_endian(bytes.get(..1)?)).ok()?;
        let shift = if self.heights { above.checked_sub(shape.slots_shift)? } else { said };
        let fits = shift < above && shift.is_multiple_of(shape.slots_shift) && shift < 64;
        fits.then_some(Node { bytes, shift })
    }

    /// Reports an entry without what lies outside of the range.
    fn report(&mut self, index: u64, count: u64, skip: u64, kind: EntryKind) -> ControlFlow<()> {
        let start = index.max(self.range.start);
        let end = index.saturating_add(count).min(self.range.end);
        if start >= end {
            return ControlFlow::Continue(());
        }
        let skip = skip.saturating_add(start.saturating_sub(index));
        (self.visit)(CacheEntry { index: start, count: end.saturating_sub(start), skip, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XARRAY_64: TreeShape =
        TreeShape { word_len: 8, slots_at: 0x28, slots_shift: 6, marks: Marks::XArray };
    const XARRAY_32: TreeShape =
        TreeShape { word_len: 4, slots_at: 0x14, slots_shift: 6, marks: Marks::XArray };
    const RADIX_64: TreeShape = TreeShape { marks: Marks::Radix, ..XARRAY_64 };

    struct Memory {
        shape: TreeShape,
        nodes: HashMap<u64, Vec<u8>>,
    }

    impl Memory {
        fn new(shape: TreeShape) -> Self {
            Self { shape, nodes: HashMap::new() }
        }

        fn node(&mut self, gva: u64, shift: u8, slots: &[(usize, u64)]) {
            let shape = self.shape;
            let mut bytes = vec![0; shape.slots_at + (shape.word_len << shape.slots_shift)];
            bytes[0] = shift;
            for (slot, entry) in slots {
                let at = shape.slots_at + slot * shape.word_len;
                bytes[at..at + shape.word_len]
                    .copy_from_slice(&entry.to_le_bytes()[..shape.word_len]);
            }
            self.nodes.insert(gva, bytes);
        }

        fn entries(&self, head: u64, height: Option<u8>, range: Range<u64>) -> Vec<CacheEntry> {
            let mut found = Vec::new();
            let mut left = 1000;
            let read = |gva: u64, buf: &mut [u8]| {
                let Some(node) = self.nodes.get(&gva) else { return false };
                buf.copy_from_slice(node);
                true
            };
            let mut tree = CacheTree { shape: self.shape, read: &read, nodes_left: &mut left };
            let _ = tree.visit(head, height, range, &mut |entry| {
                found.push(entry);
                assert!(found.len() < 100_000);
                ControlFlow::Continue(())
            });
            found
        }
    }

    fn page(index: u64, gva: u64) -> CacheEntry {
        CacheEntry { index, count: 1, skip: 0, kind: EntryKind::Page(gva) }
    }

    #[test]
    fn pages_are_found_through_two_levels_in_both_widths() {
        for shape in [XARRAY_64, XARRAY_32] {
            let mut memory = Memory::new(shape);
            memory.node(0x1_0000, 6, &[(0, 0x2_0002), (2, 0x3_0002)]);
            memory.node(0x2_0000, 0, &[(0, 0xa000), (63, 0xb000)]);
            memory.node(0x3_0000, 0, &[(1, 0xc000)]);
            let all = memory.entries(0x1_0002, None, 0..1000);
            assert_eq!(all, [page(0, 0xa000), page(63, 0xb000), page(129, 0xc000)]);
            assert_eq!(memory.entries(0x1_0002, None, 63..129), [page(63, 0xb000)]);
        }
    }

    #[test]
    fn a_file_of_one_page_has_no_node() {
        let memory = Memory::new(XARRAY_64);
        assert_eq!(memory.entries(0xa000, None, 0..5), [page(0, 0xa000)]);
        assert_eq!(memory.entries(0xa000, None, 1..5), []);
        assert_eq!(memory.entries(0, None, 0..5), []);
    }

    #[test]
    fn siblings_belong_to_the_first_slot_of_a_large_folio() {
        let mut memory = Memory::new(XARRAY_64);
        let sibling = |slot: u64| slot << 2 | 2;
        memory.node(0x1_0000, 0, &[(4, 0xa000), (5, sibling(4)), (6, sibling(4)), (7, sibling(4))]);
        let found = memory.entries(0x1_0002, None, 6..64);
        let expected = |index, skip| CacheEntry { skip, ..page(index, 0xa000) };
        assert_eq!(found, [expected(6, 2), expected(7, 3)]);
    }

    #[test]
    fn an_entry_above_the_lowest_level_is_for_many_pages() {
        let mut memory = Memory::new(XARRAY_64);
        memory.node(0x1_0000, 6, &[(8, 0xa000), (9, 8 << 2 | 2)]);
        let found = memory.entries(0x1_0002, None, 520..2000);
        assert_eq!(found[0], CacheEntry { index: 520, count: 56, skip: 8, ..page(0, 0xa000) });
        assert_eq!(found[1], CacheEntry { index: 576, count: 64, skip: 64, ..page(0, 0xa000) });
    }

    #[test]
    fn values_are_no_pages() {
        let mut memory = Memory::new(XARRAY_64);
        memory.node(0x1_0000, 0, &[(1, 77 << 1 | 1)]);
        let found = memory.entries(0x1_0002, None, 0..64);
        assert_eq!(found[0].kind, EntryKind::Value(77));
        let mut memory = Memory::new(RADIX_64);
        memory.node(0x1_0000, 0, &[(1, 77 << 2 | 2), (2, 0xa000)]);
        let found = memory.entries(0x1_0001, None, 0..64);
        assert_eq!(found[0].kind, EntryKind::Value(77));
        assert_eq!(found[1], page(2, 0xa000));
    }

    #[test]
    fn old_radix_trees_have_a_height_instead_of_shifts() {
        let mut memory = Memory::new(RADIX_64);
        // Until 4.6 only the root is marked.
        for mark in [0, 1] {
            memory.node(0x1_0000, 2, &[(1, 0x2_0000 | mark)]);
            memory.node(0x2_0000, 1, &[(3, 0xa000), (4, 9 << 2 | 2)]);
            let found = memory.entries(0x1_0001, Some(2), 0..1000);
            let value = CacheEntry { kind: EntryKind::Value(9), ..page(68, 0) };
            assert_eq!(found, [page(67, 0xa000), value]);
        }
        assert_eq!(memory.entries(0xa000, Some(0), 0..1000), [page(0, 0xa000)]);
    }

    #[test]
    fn loops_deep_trees_and_shared_nodes_are_bounded() {
        let mut memory = Memory::new(XARRAY_64);
        let all = |entry| (0..64).map(|slot| (slot, entry)).collect::<Vec<_>>();
        // Each node leads 64 times to the next: 64^10 ways.
        for level in 0..10_u8 {
            let next = (u64::from(level) * 0x1_0000 + 0x2_0000) | 2;
            memory.node((u64::from(level) + 1) * 0x1_0000, 60 - 6 * level, &all(next));
        }
        memory.node(0xb_0000, 0, &all(0xa000));
        let found = memory.entries(0x1_0002, None, 0..u64::MAX);
        assert!(found.iter().any(|entry| entry.kind == EntryKind::Broken));
        let mut memory = Memory::new(XARRAY_64);
        memory.node(0x1_0000, 6, &all(0x1_0002));
        let found = memory.entries(0x1_0002, None, 0..4096);
        assert!(found.iter().all(|entry| entry.kind == EntryKind::Broken));
        // A shift that no node has.
        memory.node(0x1_0000, 255, &all(0x1_0002));
        assert_eq!(memory.entries(0x1_0002, None, 0..9).len(), 1);
    }
}
