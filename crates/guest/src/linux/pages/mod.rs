//! Uses of each page of memory, from the kernel's `struct page` array.
//!
//! Offsets, flag numbers and type numbers are those that the kernel itself
//! exports in VMCOREINFO for makedumpfile (`kernel/vmcore_info.c`), or the type
//! information's where that lacks them. What changed over time is told by which
//! of these exist, never by a version. Of kernels that have neither, the data shows
//! part of it.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::{Kernel, LinuxError};

mod evidence;
mod fields;
mod free_lists;
mod learned;
mod memory_map;
mod owners;
#[cfg(test)]
mod tests;
mod zones;

use fields::{Fields, Seen};
use memory_map::MemoryMap;
use owners::Owners;

/// The use of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PageClass {
    /// By the kernel, or it could not be told.
    Other,
    /// Holds part of a file, or of swap space.
    Cache,
    /// A page of a file, with data of a file system attached.
    PrivateCache,
    /// Memory of a process that is no file's, or huge pages for processes.
    User,
    /// By nobody.
    Free,
}

/// Pages whose `struct page`s are read in one go, at most: the kernel maps 2 MiB
/// of these together, and most have 64 bytes.
const MOST_PAGES: u64 = 32 << 10;
/// The same after a block of free pages, where another is likely: what is read
/// of that one is for nothing, but for its first page.
const FEWEST_PAGES: u64 = 64;
/// Blocks of free memory are no larger than this power of two of pages, which is
/// 1 GiB; the kernel's own limit is 4 or 8 MiB.
const HIGHEST_ORDER: u64 = 18;

/// A class of which no page is told: its pages count as others.
#[derive(Debug)]
pub struct Untold {
    /// The class.
    pub class: PageClass,
    /// Why.
    pub why: LinuxError,
}

/// What is known of a kernel's pages.
#[derive(Debug)]
struct Parts {
    fields: Fields,
    map: MemoryMap,
    /// Blocks of free pages where pages do not tell: first page and power of two.
    free_blocks: HashMap<u64, u64>,
    /// Frames of processes where pages do not tell.
    users: HashSet<u64>,
    untold: Vec<Untold>,
}

/// Tells what pages are used for.
#[derive(Debug)]
pub struct PageClasses<'k> {
    kernel: &'k Kernel,
    known: Parts,
    /// What pages of files must lead to, where no flag tells them from those of processes.
    owners: Option<Owners>,
    buffer: Vec<u8>,
    /// What came before decides what follows.
    next: Next,
    unreadable: u64,
}

/// The state of a page that those before it tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Next {
    pfn: u64,
    /// End of the block of free pages.
    free_end: u64,
    /// Class of the pages after the first one of a compound page.
    compound: Option<PageClass>,
}

impl Kernel {
    /// Prepares to tell what pages are used for. Fails if nothing can be told.
    pub fn page_classes(&self) -> Result<PageClasses<'_>, LinuxError> {
        let known = match Parts::stated(self) {
            Err(LinuxError::UnknownConstant { .. } | LinuxError::UnknownMember { .. }) => {
                learned::find(self)
            }
            stated => stated,
        }?;
        let owners = Owners::of(self);
        Ok(PageClasses {
            kernel: self,
            known,
            owners,
            buffer: Vec::new(),
            next: Next::default(),
            unreadable: 0,
        })
    }
}

impl Parts {
    /// What VMCOREINFO and types say.
    fn stated(kernel: &Kernel) -> Result<Self, LinuxError> {
        let fields = Fields::of(kernel)?;
        let map = MemoryMap::of(kernel, fields.page_len)?;
        let free_blocks = fields.free_blocks(kernel, &map)?;
        Ok(Self { fields, map, free_blocks, users: HashSet::new(), untold: Vec::new() })
    }
}

impl PageClasses<'_> {
    /// Classifies these pages by their use. Ranges must be asked for in ascending
    /// order, as blocks of pages go across their borders.
    pub fn classify(&mut self, pfns: Range<u64>) -> Vec<PageClass> {
        let mut classes = Vec::new();
        let mut pages = FEWEST_PAGES;
        let mut at = pfns.start;
        while at < pfns.end {
            let free = self.next.skip_free(at..pfns.end);
            if free != 0 {
                push(&mut classes, PageClass::Free, free);
                at = at.saturating_add(free);
                pages = FEWEST_PAGES;
                continue;
            }
            // Ends at a power of two, so the second page of a compound one is in the
            // piece that has the first.
            let end = pfns
                .end
                .min(at.checked_div(pages).unwrap_or(0).saturating_add(1).saturating_mul(pages));
            let end = end.min(self.known.map.section_end(at));
            self.piece(at..end, &mut classes);
            at = end;
            pages = MOST_PAGES.min(pages.saturating_mul(2));
        }
        classes
    }

    /// Classes of which no page is told.
    pub fn untold(&self) -> &[Untold] {
        &self.known.untold
    }

    /// The same, to keep.
    pub fn into_untold(self) -> Vec<Untold> {
        self.known.untold
    }

    /// Pages whose `struct page` could not be read.
    pub fn unreadable_pages(&self) -> u64 {
        self.unreadable
    }

    fn piece(&mut self, pfns: Range<u64>, classes: &mut Vec<PageClass>) {
        let pages = pfns.end.saturating_sub(pfns.start);
        let Parts { fields, map, free_blocks, users, .. } = &self.known;
        let len = usize::try_from(pages.saturating_mul(fields.page_len)).unwrap_or(0);
        self.buffer.resize(len, 0);
        // Sections without `struct page`s have no memory that the kernel uses.
        let Some(at) = map.page(self.kernel, pfns.start) else {
            return push(classes, PageClass::Other, pages);
        };
        if self.kernel.read(at, &mut self.buffer, "struct page").is_err() {
            self.unreadable = self.unreadable.saturating_add(pages);
            return push(classes, PageClass::Other, pages);
        }
        let page_len = usize::try_from(fields.page_len).unwrap_or(usize::MAX);
        let mut pages = self.buffer.chunks_exact(page_len).peekable();
        for pfn in pfns {
            let Some(page) = pages.next() else { break };
            let look = || match free_blocks.get(&pfn) {
                Some(order) => Seen::Free { order: *order },
                None => fields.look(page, pages.peek().copied()),
            };
            let mut class = self.next.class(pfn, look);
            if class == PageClass::PrivateCache && fields.learned_uses() {
                let owner = fields.mapping_of(page);
                let owners = self.owners.as_mut();
                if !owners.is_some_and(|owners| owners.has(self.kernel, owner)) {
                    class = PageClass::Other;
                }
            }
            if class == PageClass::Other && users.contains(&pfn) && fields.mapping_of(page) == 0 {
                class = PageClass::User;
            }
            classes.push(class);
        }
    }
}

fn push(classes: &mut Vec<PageClass>, class: PageClass, pages: u64) {
    classes.resize(classes.len().saturating_add(usize::try_from(pages).unwrap_or(0)), class);
}

impl Next {
    /// How many of these pages, from the first on, are in a block of free ones that
    /// is known already.
    fn skip_free(&mut self, pfns: Range<u64>) -> u64 {
        let end = self.free_end.min(pfns.end);
        if end <= pfns.start {
            return 0;
        }
        *self = Self { pfn: end, compound: None, ..*self };
        end.saturating_sub(pfns.start)
    }

    /// Class of a page that looks like this, as the next one in order. Within a
    /// block of free pages, which most are, none is looked at.
    fn class(&mut self, pfn: u64, look: impl FnOnce() -> Seen) -> PageClass {
        if pfn != self.pfn {
            self.compound = None;
        }
        self.pfn = pfn.saturating_add(1);
        if pfn < self.free_end {
            return PageClass::Free;
        }
        match look() {
            // The first page says it for all: it is the one that lists have.
            Seen::Tail => self.compound.unwrap_or(PageClass::Other),
            Seen::Free { order } => {
                self.compound = None;
                let is_sane = order <= HIGHEST_ORDER && u64::from(pfn.trailing_zeros()) >= order;
                if !is_sane {
                    return PageClass::Other;
                }
                self.free_end = pfn.saturating_add(1 << order);
                PageClass::Free
            }
            Seen::Head(class) => {
                self.compound = Some(class);
                class
            }
            Seen::Single(class) => {
                self.compound = None;
                class
            }
        }
    }
}
