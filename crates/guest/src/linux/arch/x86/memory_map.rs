//! What lies where in the address space of a kernel (`Documentation/arch/x86/x86_64/mm.rst`).

use vmss2core_machine::paging::PagingMode;

use crate::linux::Kernel;

/// The first address that no process has.
pub(in crate::linux) fn user_limit(mode: PagingMode, kernel: &Kernel) -> u64 {
    match mode {
        PagingMode::FourLevel => 1 << 47,
        PagingMode::FiveLevel => 1 << 56,
        // PAGE_OFFSET, where the direct map begins.
        _ => kernel.linux().direct_map.as_ref().map_or(0xc000_0000, |map| map.value.0),
    }
}

/// Where the array of `struct page` begins if its place is not random.
pub(in crate::linux) fn vmemmap(mode: PagingMode) -> u64 {
    match mode {
        PagingMode::FiveLevel => 0xffd4_0000_0000_0000,
        _ => 0xffff_ea00_0000_0000,
    }
}

/// What the address of a process's topmost page table is a multiple of.
pub(in crate::linux) fn root_alignment(mode: PagingMode) -> u64 {
    if mode == PagingMode::Pae { 32 } else { 4096 }
}
