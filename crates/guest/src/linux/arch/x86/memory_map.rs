//! Places in the address space of a kernel (`Documentation/arch/x86/x86_64/mm.rst`).

use std::ops::Range;

use vmss2core_machine::paging::PagingMode;
use vmss2core_machine::x86::modes;

use crate::linux::Kernel;

/// Where the kernel's part of an address space is, and what its direct map
/// looks like there.
pub(super) struct KernelHalf {
    start: u64,
    end: u64,
    /// The direct map begins at a multiple of this.
    pub(super) alignment: u64,
    /// Runs shorter than this have no say in where it is.
    pub(super) shortest_vote: u64,
}

impl KernelHalf {
    pub(super) fn of(mode: PagingMode) -> Self {
        let (start, end, alignment, shortest_vote) = if mode == modes::FIVE_LEVEL {
            (0xff00 << 48, u64::MAX, 1 << 30, 2 << 20)
        } else if mode == modes::FOUR_LEVEL {
            (0xffff_8000 << 32, u64::MAX, 1 << 30, 2 << 20)
        } else {
            // VMSPLIT_1G starts at 1 GiB, VMSPLIT_2G_OPT at 0x78000000.
            (1 << 30, 1 << 32, 128 << 20, 64 << 10)
        };
        Self { start, end, alignment, shortest_vote }
    }

    pub(super) fn range(&self) -> Range<u64> {
        self.start..self.end
    }
}

/// The kernel's part of an address space.
pub(in crate::linux) fn kernel_half(mode: PagingMode) -> Range<u64> {
    KernelHalf::of(mode).range()
}

/// The first address that no process has.
pub(in crate::linux) fn user_limit(mode: PagingMode, kernel: &Kernel) -> u64 {
    if mode == modes::FOUR_LEVEL {
        return 1 << 47;
    }
    if mode == modes::FIVE_LEVEL {
        return 1 << 56;
    }
    // PAGE_OFFSET, where the direct map begins.
    kernel.linux().direct_map.as_ref().map_or(0xc000_0000, |map| map.value.0)
}

/// Where the array of `struct page` begins if its place is not random.
pub(in crate::linux) fn vmemmap(mode: PagingMode) -> u64 {
    if mode == modes::FIVE_LEVEL { 0xffd4_0000_0000_0000 } else { 0xffff_ea00_0000_0000 }
}

/// Alignment of a process's topmost page table.
pub(in crate::linux) fn root_alignment(mode: PagingMode) -> u64 {
    if mode == modes::PAE { 32 } else { 4096 }
}

/// Where modules are, if there are any, after an image that ends there. Nothing else is; a
/// 32-bit kernel has them among what else it maps.
pub(in crate::linux) fn module_area(mode: PagingMode, image_end: u64) -> Option<Range<u64>> {
    // Fixed mappings are above, since 4.14 random ones too.
    const END: u64 = 0xffff_ffff_ff00_0000;
    (mode == modes::FOUR_LEVEL || mode == modes::FIVE_LEVEL).then_some(image_end..END)
}
