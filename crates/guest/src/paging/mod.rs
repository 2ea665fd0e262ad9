//! x86 page tables: translate one address, or list all that is mapped.

use vmss2core_mem::Gpa;

/// How virtual addresses become physical ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PagingMode {
    /// Paging off: virtual is physical, below 4 GiB.
    Identity,
    /// 32-bit, two levels; 4 MiB pages if `large_pages` (CR4.PSE).
    TwoLevel {
        /// CR4.PSE.
        large_pages: bool,
    },
    /// 32-bit with 64-bit entries, three levels.
    Pae,
    /// 64-bit, four levels.
    FourLevel,
    /// 64-bit, five levels.
    FiveLevel,
}

/// Physical address of the topmost page table, flag bits removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Root(pub Gpa);
