//! Page table entries that are not present, as Linux writes them.
//!
//! x86 (`arch/x86/include/asm/pgtable*.h`, `pgtable-invert.h`): bit 8 marks a page
//! that is in memory but inaccessible (`PROT_NONE`, or sampled for NUMA balancing);
//! since 4.18.1 (L1TF) its frame number is stored inverted. A large page keeps bit 7
//! while it is being changed. All else is a swap entry. Kernels before 2.6.28, which
//! used bit 7 instead of bit 8, are not modelled.

use vmss2core_machine::paging::PagingMode;
use vmss2core_machine::x86::entry::{ADDRESS, LARGE};
use vmss2core_machine::x86::modes;
use vmss2core_mem::Gpa;

const PROT_NONE: u64 = 1 << 8;

/// Meaning of an entry that is neither present nor empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::linux) enum Absent {
    /// The page lies in memory.
    InMemory(Gpa),
    /// A swap entry: page of an area, or of something else that the kernel numbers
    /// like an area (migration, poison, markers).
    Swap { area: u8, page: u64 },
    /// Bit 8 is set, but the address is nowhere in memory.
    Nonsense,
}

/// Decodes an entry for `page_len` bytes. `holds` says whether memory holds an address.
pub(in crate::linux) fn decode(
    mode: PagingMode,
    entry: u64,
    page_len: u64,
    holds: impl Fn(Gpa) -> bool,
) -> Absent {
    let is_large = page_len > 4096;
    if entry & PROT_NONE == 0 && !(is_large && entry & LARGE != 0) {
        let (area, page) = swap(mode, entry);
        return Absent::Swap { area, page };
    }
    if modes::is_two_level(mode) {
        return Absent::InMemory(Gpa(entry & 0xffff_f000 & !page_len.saturating_sub(1)));
    }
    // No memory is so large that both could be meant.
    let candidates = [entry, !entry].map(|bits| Gpa(bits & ADDRESS & !page_len.saturating_sub(1)));
    candidates.into_iter().find(|gpa| holds(*gpa)).map_or(Absent::Nonsense, Absent::InMemory)
}

/// The area and the page in it.
fn swap(mode: PagingMode, entry: u64) -> (u8, u64) {
    let area = |bits: u64| u8::try_from(bits & 0x1f).unwrap_or(0);
    if modes::is_two_level(mode) {
        return (area(entry >> 1), entry >> 9);
    }
    if mode == modes::PAE && entry.trailing_zeros() >= 32 {
        // Before L1TF the high word alone was used.
        return (area(entry >> 32), entry >> 37);
    }
    // The number of a page has at most 40 bits: what is inverted has bit 58 set.
    if mode == modes::PAE || entry >> 58 & 1 == 1 {
        return (area(entry >> 59), !entry << 5 >> 14);
    }
    (area(entry >> 9), entry >> 14)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: PagingMode = modes::FOUR_LEVEL;
    const TWO: PagingMode = modes::TWO_LEVEL_PSE;

    fn held(gpa: Gpa) -> bool {
        gpa.0 < 1 << 40
    }

    #[test]
    fn inaccessible_pages_are_in_memory_inverted_or_not() {
        let gpa = 0x1_2345_6000;
        for mode in [FOUR, modes::FIVE_LEVEL, modes::PAE] {
            let flags = PROT_NONE | 0x60 | 1 << 63;
            assert_eq!(decode(mode, gpa | flags, 4096, held), Absent::InMemory(Gpa(gpa)));
            let inverted = !gpa & ADDRESS | flags;
            assert_eq!(decode(mode, inverted, 4096, held), Absent::InMemory(Gpa(gpa)));
            assert_eq!(decode(mode, 1 << 51 | flags, 4096, held), Absent::Nonsense);
        }
        let entry = 0x1234_5000 | PROT_NONE;
        assert_eq!(decode(TWO, entry, 4096, held), Absent::InMemory(Gpa(0x1234_5000)));
    }

    #[test]
    fn large_pages_are_recognised_while_they_are_changed() {
        let inverted = !0x4020_0000_u64 & 0x000f_ffff_ffe0_0000 | LARGE | 0x66;
        let large = 2 << 20;
        assert_eq!(decode(FOUR, inverted, large, held), Absent::InMemory(Gpa(0x4020_0000)));
        assert_eq!(
            decode(FOUR, 0x4020_0000 | LARGE | PROT_NONE, large, held),
            Absent::InMemory(Gpa(0x4020_0000))
        );
        // In an entry for 4 KiB bit 7 is part of swapping (`_PAGE_SWP_EXCLUSIVE`).
        assert!(matches!(decode(FOUR, inverted, 4096, held), Absent::Swap { .. }));
    }

    #[test]
    fn swap_entries_are_decoded_as_each_kernel_wrote_them() {
        let (area, page) = (3_u64, 0x1_2345_u64);
        let inverted = (!page << 14 >> 5) | area << 59;
        for mode in [FOUR, modes::PAE] {
            assert_eq!(decode(mode, inverted, 4096, held), Absent::Swap { area: 3, page });
        }
        let swap = Absent::Swap { area: 3, page };
        assert_eq!(decode(FOUR, page << 14 | area << 9, 4096, held), swap);
        assert_eq!(decode(modes::PAE, (page << 5 | area) << 32, 4096, held), swap);
        assert_eq!(decode(TWO, page << 9 | area << 1, 4096, held), swap);
    }
}
