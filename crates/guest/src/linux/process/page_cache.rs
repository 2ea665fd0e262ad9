//! The pages of a file that the guest has in memory.

use std::ops::{ControlFlow, Range};

use vmss2core_mem::{Gpa, Gva, PAGE_SIZE, low_bits};

use super::super::Kernel;
use super::frames::Frames;
use super::page_lists::PageLists;
use super::vma::MappedFile;
use super::xarray::{CacheEntry, CacheTree, EntryKind, Marks, TreeShape};

/// Nodes on the way to one page: a shift of 6 bits each.
const NODES_OF_A_PAGE: u64 = 11;

/// Pages of a file in order; what is not reported is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CachedPage {
    /// Number of the page in the file.
    pub(super) index: u64,
    /// How many pages.
    pub(super) count: u64,
    pub(super) state: CacheState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheState {
    /// In physical memory, which may be in the checkpoint or not.
    Memory(Gpa),
    /// Shared memory that was swapped out.
    Swapped { area: u8, page: u64 },
    /// The cache cannot be read here.
    Broken,
}

/// How the kernel keeps page caches.
#[derive(Debug)]
pub(super) struct PageCache {
    form: Form,
    frames: Frames,
}

#[derive(Debug)]
enum Form {
    Tree(Tree),
    /// In 2.4.
    Lists(PageLists),
}

/// A tree for each file.
#[derive(Clone, Copy, Debug)]
struct Tree {
    shape: TreeShape,
    /// Offset of the root entry in `struct address_space`.
    head_at: u64,
    /// Offset of the tree's height; only in kernels whose nodes do not say theirs.
    height_at: Option<u64>,
}

impl Tree {
    fn of(kernel: &Kernel) -> Option<Self> {
        let layout = kernel.layout();
        let mapping = |member| Some(layout.member("address_space", member)?.value.offset_bytes);
        let xarray = mapping("i_pages.xa_head").map(|at| (at, Marks::XArray));
        let radix = || {
            let at = mapping("i_pages.rnode").or_else(|| mapping("page_tree.rnode"));
            Some((at?, Marks::Radix))
        };
        let (head_at, marks) = xarray.or_else(radix)?;
        let height_at = mapping("page_tree.height");
        Some(Self { shape: shape(kernel, marks), head_at, height_at })
    }

    /// Reports what a tree has for a range of page numbers; `None` if its root cannot be read.
    fn visit(
        &self,
        kernel: &Kernel,
        mapping: Gva,
        range: Range<u64>,
        nodes_left: &mut u64,
        visit: &mut dyn FnMut(CacheEntry) -> ControlFlow<()>,
    ) -> Option<ControlFlow<()>> {
        let head = Gva(mapping.0.wrapping_add(self.head_at));
        let head = kernel.read_pointer(head, "address_space.i_pages").ok()?;
        let height = self.height_at.map(|at| {
            let height = kernel.read_uint(Gva(mapping.0.wrapping_add(at)), 4, "height");
            height.ok().and_then(|height| u8::try_from(height).ok()).unwrap_or(0)
        });
        let read = |gva, buf: &mut [u8]| kernel.read(Gva(gva), buf, "xa_node").is_ok();
        let mut tree = CacheTree { shape: self.shape, read: &read, nodes_left };
        Some(tree.visit(head.0, height, range, visit))
    }

    /// `swp_type` and `swp_offset` of `include/linux/swapops.h`: the area is in the top
    /// 5 bits of what fits into an entry.
    fn swap(&self, value: u64) -> (u8, u64) {
        let bits: u32 = if self.shape.word_len == 8 { 64 } else { 32 };
        let above = if self.shape.marks == Marks::XArray { 5 + 1 } else { 5 + 2 };
        let shift = bits.saturating_sub(above);
        (u8::try_from(value >> shift & 0x1f).unwrap_or(0), value & low_bits(shift))
    }
}

impl PageCache {
    /// Finds out how; `None` if something needed is not known.
    pub(super) fn of(kernel: &Kernel) -> Option<Self> {
        let lists = || PageLists::of(kernel).map(Form::Lists);
        let form = Tree::of(kernel).map(Form::Tree).or_else(lists)?;
        Some(Self { form, frames: Frames::of(kernel)? })
    }

    /// Reports the pages in a range of page numbers. `nodes_left` limits how much of
    /// the cache is read.
    pub(super) fn visit(
        &self,
        kernel: &Kernel,
        file: &MappedFile,
        range: Range<u64>,
        nodes_left: &mut u64,
        visit: &mut dyn FnMut(CachedPage) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let broken = CachedPage {
            index: range.start,
            count: range.end.saturating_sub(range.start),
            state: CacheState::Broken,
        };
        let Some(mapping) = file.mapping else { return visit(broken) };
        let found = self.entries(kernel, mapping, range, nodes_left, &mut |entry| {
            self.entry(kernel, mapping, file.lives_in_memory, entry, visit)
        });
        found.unwrap_or_else(|| visit(broken))
    }

    /// Reports what the cache of `mapping` has; `None` if it cannot be read.
    fn entries(
        &self,
        kernel: &Kernel,
        mapping: Gva,
        range: Range<u64>,
        nodes_left: &mut u64,
        visit: &mut dyn FnMut(CacheEntry) -> ControlFlow<()>,
    ) -> Option<ControlFlow<()>> {
        let lists = match &self.form {
            Form::Tree(tree) => return tree.visit(kernel, mapping, range, nodes_left, visit),
            Form::Lists(lists) => lists,
        };
        let pages = lists.pages(kernel, mapping, nodes_left)?;
        let mut inside = pages.into_iter().filter(|(index, _)| range.contains(index));
        Some(inside.try_for_each(|(index, page)| {
            visit(CacheEntry { index, count: 1, skip: 0, kind: EntryKind::Page(page) })
        }))
    }

    /// The `struct page` or folio that the cache of `mapping` has at an index.
    pub(super) fn page_at(&self, kernel: &Kernel, mapping: Gva, index: u64) -> Option<u64> {
        let mut nodes_left = NODES_OF_A_PAGE;
        let mut found = None;
        let range = index..index.checked_add(1)?;
        let _ = self.entries(kernel, mapping, range, &mut nodes_left, &mut |entry| {
            if let EntryKind::Page(page) = entry.kind {
                found = Some(page);
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// The arrays of `struct page`.
    pub(super) fn frames(&self) -> &Frames {
        &self.frames
    }

    fn entry(
        &self,
        kernel: &Kernel,
        mapping: Gva,
        lives_in_memory: bool,
        entry: CacheEntry,
        visit: &mut dyn FnMut(CachedPage) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let CacheEntry { index, count, skip, kind } = entry;
        let state = match kind {
            EntryKind::Page(page) => self
                .frames
                .page_of_file(kernel, page, skip, (mapping, index))
                .map_or(CacheState::Broken, CacheState::Memory),
            EntryKind::Broken => CacheState::Broken,
            EntryKind::Value(value) if lives_in_memory => {
                let Form::Tree(tree) = &self.form else { return ControlFlow::Continue(()) };
                let (area, page) = tree.swap(value);
                CacheState::Swapped { area, page: page.wrapping_add(skip) }
            }
            // A shadow entry: when the page was dropped.
            EntryKind::Value(_) => return ControlFlow::Continue(()),
        };
        visit(CachedPage { index, count, state })
    }
}

/// Where a node has its slots, and how many: the same in all kernels but the
/// smallest, so that it need not be known.
fn shape(kernel: &Kernel, marks: Marks) -> TreeShape {
    let structure = if marks == Marks::XArray { "xa_node" } else { "radix_tree_node" };
    let slots = kernel.layout().member(structure, "slots").map(|member| member.value);
    let word_len = kernel.word_len();
    let count = slots.and_then(|slots| slots.size_bytes?.checked_div(word_len));
    let default_at = if word_len == 8 { 0x28 } else { 0x14 };
    let slots_at = slots.map(|slots| slots.offset_bytes).filter(|at| *at <= PAGE_SIZE);
    TreeShape {
        word_len: usize::try_from(word_len).unwrap_or(8),
        slots_at: slots_at.and_then(|at| usize::try_from(at).ok()).unwrap_or(default_at),
        slots_shift: if count == Some(16) { 4 } else { 6 },
        marks,
    }
}
