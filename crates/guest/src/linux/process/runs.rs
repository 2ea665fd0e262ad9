//! Where the bytes of a mapping or a file are, in order and without gaps.
//!
//! Page tables and page caches are walked by range, so that what nobody touched
//! costs nothing, whatever its size.

use std::ops::{ControlFlow, Range};

use vmss2core_machine::paging::{AddressSpace, Part, PartState, Visits};
use vmss2core_mem::{Gpa, Gva, PAGE_SIZE, PhysicalMemory, Piece};

use super::content::{Content, FileRun, Missing, Run};
use super::page_cache::{CacheState, CachedPage, PageCache};
use super::swap::Swapped;
use super::vma::{Backing, MappedFile, Vma};
use crate::linux::Kernel;
use crate::linux::arch::pte::{self, Absent};

/// Numbers of swap areas from here on mean something else: a page that is being
/// migrated, is broken, or is of a device (`include/linux/swap.h`; how many there are
/// depends on the configuration, 9 at most).
const FIRST_SPECIAL: u8 = 23;
/// The last of them is for marks without a page (5.19, `include/linux/swapops.h`).
const MARKER: u8 = 31;
const MARKERS: u64 = 7;

/// Gets one run after the other, and passes them on with adjacent ones joined.
struct Joiner<'v> {
    pending: Option<Run>,
    visit: &'v mut dyn FnMut(Run) -> ControlFlow<()>,
}

impl Joiner<'_> {
    fn push(&mut self, at: u64, len_bytes: u64, content: Content) -> ControlFlow<()> {
        if len_bytes == 0 {
            return ControlFlow::Continue(());
        }
        if let Some(run) = &mut self.pending
            && run.gva.0.wrapping_add(run.len_bytes) == at
            && continues(run.content, run.len_bytes, content)
        {
            run.len_bytes = run.len_bytes.saturating_add(len_bytes);
            return ControlFlow::Continue(());
        }
        self.flush()?;
        self.pending = Some(Run { gva: Gva(at), len_bytes, content });
        ControlFlow::Continue(())
    }

    /// A part that lies at `gpa`, as far as the checkpoint holds it.
    fn push_memory(
        &mut self,
        memory: &PhysicalMemory,
        at: u64,
        (gpa, len_bytes): (Gpa, u64),
        content: fn(Gpa) -> Content,
    ) -> ControlFlow<()> {
        for piece in memory.pieces(gpa, len_bytes) {
            let (Piece::Present { gpa: start, len, .. } | Piece::Absent { gpa: start, len }) =
                piece;
            let content = match piece {
                Piece::Present { .. } => content(start),
                Piece::Absent { .. } => Content::Missing(Missing::OutsideMemory),
            };
            self.push(at.wrapping_add(start.0.saturating_sub(gpa.0)), len, content)?;
        }
        ControlFlow::Continue(())
    }

    fn flush(&mut self) -> ControlFlow<()> {
        self.pending.take().map_or(ControlFlow::Continue(()), |run| (self.visit)(run))
    }
}

/// Whether `next` begins where a content of this length ends.
fn continues(content: Content, len_bytes: u64, next: Content) -> bool {
    let follows = |gpa: Gpa, next: Gpa| gpa.0.wrapping_add(len_bytes) == next.0;
    match (content, next) {
        (Content::Memory(gpa), Content::Memory(next))
        | (Content::PageCache(gpa), Content::PageCache(next)) => follows(gpa, next),
        (Content::Swapped { area, page }, Content::Swapped { area: next, page: next_page })
        | (
            Content::Compressed { area, page },
            Content::Compressed { area: next, page: next_page },
        ) => area == next && page.wrapping_add(len_bytes / PAGE_SIZE) == next_page,
        (content, next) => content == next,
    }
}

/// The material that runs are made from.
pub(super) struct Sources<'s> {
    pub(super) kernel: &'s Kernel,
    pub(super) space: &'s AddressSpace,
    pub(super) cache: Option<&'s PageCache>,
    /// Tables and tree nodes that may still be read.
    pub(super) visits: Visits,
    pub(super) nodes_left: u64,
}

impl Sources<'_> {
    /// Reports where the bytes of a part of a mapping are.
    pub(super) fn of_mapping(
        &mut self,
        vma: &Vma,
        range: Range<u64>,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut out = Joiner { pending: None, visit };
        let mut at = range.start;
        let (space, cache, kernel) = (self.space, self.cache, self.kernel);
        let untouched = Untouched { kernel, cache, vma };
        let nodes_left = &mut self.nodes_left;
        space.visit_entries(range.clone(), &mut self.visits, &mut |part| {
            untouched.push(at..part.gva, nodes_left, &mut out)?;
            at = part.gva.saturating_add(part.len);
            push_part(space, part, &untouched, nodes_left, &mut out)
        })?;
        untouched.push(at..range.end, nodes_left, &mut out)?;
        out.flush()
    }

    /// Reports where the bytes of a file are that has `len_bytes`.
    pub(super) fn of_file(
        &mut self,
        file: &MappedFile,
        len_bytes: u64,
        visit: &mut dyn FnMut(FileRun) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut to_file = |run: Run| {
            let offset_bytes = run.gva.0;
            let len_bytes = run.len_bytes.min(len_bytes.saturating_sub(offset_bytes));
            visit(FileRun { offset_bytes, len_bytes, content: run.content })
        };
        let mut out = Joiner { pending: None, visit: &mut to_file };
        let pages = 0..len_bytes.div_ceil(PAGE_SIZE);
        push_file(self.kernel, self.cache, (file, pages), 0, &mut self.nodes_left, &mut out)?;
        out.flush()
    }
}

/// Meaning of a page-table entry that is not empty.
fn push_part(
    space: &AddressSpace,
    part: Part,
    untouched: &Untouched<'_, '_>,
    nodes_left: &mut u64,
    out: &mut Joiner<'_>,
) -> ControlFlow<()> {
    let memory = space.memory();
    match part.state {
        PartState::Present(gpa) => {
            out.push_memory(memory, part.gva, (gpa, part.len), Content::Memory)
        }
        PartState::Broken => out.push(part.gva, part.len, Content::Missing(Missing::Table)),
        PartState::Absent { entry, page_len, skip } => {
            let holds = |gpa| memory.contains(gpa, 1);
            match pte::decode(space.mode(), entry, page_len, holds) {
                Absent::InMemory(gpa) => {
                    let gpa = Gpa(gpa.0.wrapping_add(skip));
                    out.push_memory(memory, part.gva, (gpa, part.len), Content::Memory)
                }
                Absent::Swap { area: MARKER, page } if page <= MARKERS => {
                    // Only write protection by userfaultfd leaves the page as it was.
                    if page == 1 {
                        let end = part.gva.saturating_add(part.len);
                        return untouched.push(part.gva..end, nodes_left, out);
                    }
                    out.push(part.gva, part.len, Content::Missing(Missing::Special))
                }
                Absent::Swap { area, .. } if area >= FIRST_SPECIAL => {
                    out.push(part.gva, part.len, Content::Missing(Missing::Special))
                }
                Absent::Swap { area, page } => {
                    let page = page.wrapping_add(skip / PAGE_SIZE);
                    push_swapped(untouched.kernel, part.gva, part.len, (area, page), out)
                }
                Absent::Nonsense => {
                    out.push(part.gva, part.len, Content::Missing(Missing::Special))
                }
            }
        }
    }
}

/// Pages that were swapped out, each where it is now.
fn push_swapped(
    kernel: &Kernel,
    at: u64,
    len_bytes: u64,
    (area, first): (u8, u64),
    out: &mut Joiner<'_>,
) -> ControlFlow<()> {
    for skip in (0..len_bytes).step_by(4096) {
        let page = first.wrapping_add(skip / PAGE_SIZE);
        let (at, len) = (at.wrapping_add(skip), PAGE_SIZE.min(len_bytes.saturating_sub(skip)));
        match kernel.swap_areas().page(kernel, area, page) {
            Swapped::Memory(gpa) => {
                out.push_memory(kernel.memory(), at, (gpa, len), Content::Memory)?;
            }
            Swapped::Zeroes => out.push(at, len, Content::Zero)?,
            Swapped::Compressed(_) => out.push(at, len, Content::Compressed { area, page })?,
            Swapped::Lost(_) => out.push(at, len, Content::Swapped { area, page })?,
        }
    }
    ControlFlow::Continue(())
}

/// Content of pages that the process has not touched.
struct Untouched<'u, 'v> {
    kernel: &'u Kernel,
    cache: Option<&'u PageCache>,
    vma: &'v Vma,
}

impl Untouched<'_, '_> {
    fn push(
        &self,
        range: Range<u64>,
        nodes_left: &mut u64,
        out: &mut Joiner<'_>,
    ) -> ControlFlow<()> {
        let len = range.end.saturating_sub(range.start);
        match (self.vma.backing, &self.vma.file) {
            (Backing::Anonymous, _) => out.push(range.start, len, Content::Zero),
            (Backing::File, Some(file)) if len > 0 => {
                let from_start = range.start.saturating_sub(self.vma.start.0);
                let into = self.vma.offset_bytes.wrapping_add(from_start);
                let first = into / PAGE_SIZE;
                let last = first.saturating_add(len / PAGE_SIZE);
                let base = range.start.wrapping_sub(into);
                let pages = (file.as_ref(), first..last);
                push_file(self.kernel, self.cache, pages, base, nodes_left, out)
            }
            (Backing::Unknown, _) => out.push(range.start, len, Content::Missing(Missing::Table)),
            _ => self.push_special(range, out),
        }
    }

    /// The kernel's own code for programs is in memory in any case.
    fn push_special(&self, range: Range<u64>, out: &mut Joiner<'_>) -> ControlFlow<()> {
        for at in (range.start..range.end).step_by(4096) {
            let found = self.vma.image.and_then(|image| {
                let gva = image.0.checked_add(at.saturating_sub(self.vma.start.0))?;
                Some(self.kernel.space().translate(Gva(gva)).ok()?.gpa)
            });
            let Some(gpa) = found else {
                let rest = range.end.saturating_sub(at);
                return out.push(at, rest, Content::Missing(Missing::NotMapped));
            };
            let page = (gpa, PAGE_SIZE);
            out.push_memory(self.kernel.memory(), at, page, Content::PageCache)?;
        }
        ControlFlow::Continue(())
    }
}

/// Cached pages of a file, at `base` and their offset in the file.
fn push_file(
    kernel: &Kernel,
    cache: Option<&PageCache>,
    (file, pages): (&MappedFile, Range<u64>),
    base: u64,
    nodes_left: &mut u64,
    out: &mut Joiner<'_>,
) -> ControlFlow<()> {
    let address = |index: u64| base.wrapping_add(index.wrapping_mul(PAGE_SIZE));
    let size = |pages: Range<u64>| pages.end.saturating_sub(pages.start).wrapping_mul(PAGE_SIZE);
    let end_of_file = file.len_bytes.map_or(pages.end, |len| len.div_ceil(PAGE_SIZE));
    let inside = pages.start..pages.end.min(end_of_file).max(pages.start);
    let behind = inside.end..pages.end;
    let Some(cache) = cache else {
        out.push(address(inside.start), size(inside), Content::Missing(Missing::Cache))?;
        return out.push(
            address(behind.start),
            size(behind),
            Content::Missing(Missing::BehindTheFile),
        );
    };
    let absent =
        if file.lives_in_memory { Content::Zero } else { Content::Missing(Missing::NotCached) };
    let mut next = inside.start;
    cache.visit(kernel, file, inside.clone(), nodes_left, &mut |found| {
        let CachedPage { index, count, state } = found;
        out.push(address(next), size(next..index), absent)?;
        next = index.saturating_add(count);
        let len = size(index..next);
        match state {
            CacheState::Memory(gpa) => {
                out.push_memory(kernel.memory(), address(index), (gpa, len), Content::PageCache)
            }
            CacheState::Swapped { area, page } => {
                push_swapped(kernel, address(index), len, (area, page), out)
            }
            CacheState::Broken => out.push(address(index), len, Content::Missing(Missing::Cache)),
        }
    })?;
    out.push(address(next), size(next..inside.end), absent)?;
    out.push(address(behind.start), size(behind), Content::Missing(Missing::BehindTheFile))
}
