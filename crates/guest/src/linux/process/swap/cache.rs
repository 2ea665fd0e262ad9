//! The swap cache: pages on their way to a swap area, or back.
//!
//! Until 6.17 each area has an array of `address_space`s, each for so many pages
//! (`mm/swap.h`, `SWAP_ADDRESS_SPACE_SHIFT`). A page in there names its own entry.

use vmss2core_mem::{Gpa, Gva, Pfn, has_bit};

use crate::linux::process::page_cache::PageCache;
use crate::linux::{Kernel, Member};

/// Pages of an `address_space`, as a power of two.
const SPACE_SHIFT: u32 = 14;
/// Where an entry has the number of its area (`SWP_TYPE_SHIFT` of 64-bit kernels).
const AREA_SHIFT: u32 = 58;
/// Most pages of a large one: 2 MiB.
const MOST_PAGES: u64 = 512;

#[derive(Debug)]
pub(super) struct SwapCache {
    spaces: Gva,
    space_len: u64,
    tree: PageCache,
    private: Member,
    flags: Member,
    up_to_date: u64,
}

impl SwapCache {
    /// `None` if it is not known, or is one of another kind.
    pub(super) fn of(kernel: &Kernel) -> Option<Self> {
        (kernel.word_len() == 8).then_some(())?;
        let layout = kernel.layout();
        Some(Self {
            spaces: kernel.symbol("swapper_spaces").ok()?.value,
            space_len: layout.size_of("address_space")?.value,
            tree: PageCache::of(kernel)?,
            private: layout.place("page", "private")?,
            flags: layout.place("page", "flags")?,
            up_to_date: u64::try_from(layout.enumerator("PG_uptodate")?.value).ok()?,
        })
    }

    /// Where a page of an area is cached, if all of it has arrived.
    pub(super) fn page(&self, kernel: &Kernel, area: u8, page: u64) -> Option<Gpa> {
        let at = Gva(self.spaces.0.checked_add(u64::from(area) * 8)?);
        let spaces = kernel.read_pointer(at, "swapper_spaces").ok().filter(|at| at.0 != 0)?;
        let space = spaces.0.checked_add((page >> SPACE_SHIFT).checked_mul(self.space_len)?)?;
        // Since 6.10 pages are numbered within their space.
        [page, page & ((1 << SPACE_SHIFT) - 1)].into_iter().find_map(|index| {
            let found = self.tree.page_at(kernel, Gva(space), index)?;
            self.frame(kernel, found, (area, page))
        })
    }

    /// The frame of a page if the `struct page`, that of the first one of a large page,
    /// says that it is of this entry.
    fn frame(&self, kernel: &Kernel, found: u64, (area, page): (u8, u64)) -> Option<Gpa> {
        let read = |member: &Member| super::types::read(kernel, found, member);
        let entry = read(&self.private)?;
        let (of_area, first) = (entry >> AREA_SHIFT, entry & ((1 << AREA_SHIFT) - 1));
        let skip = page.checked_sub(first).filter(|skip| *skip < MOST_PAGES)?;
        (of_area == u64::from(area)).then_some(())?;
        has_bit(read(&self.flags)?, self.up_to_date).then_some(())?;
        Pfn(self.tree.frames().frame(found)?.checked_add(skip)?).gpa()
    }
}
