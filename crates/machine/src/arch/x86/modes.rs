//! Paging modes of x86.
//!
//! Layouts are those of the Intel SDM, volume 3A, chapter 4 ("Paging"): 32-bit
//! two-level tables with PSE and PSE-36, PAE, four and five levels with 2 MiB
//! and 1 GiB pages. Not modelled: protection keys and shadow stacks. The register with
//! the root is CR3; what is not address in it is PCID or cache bits, the LAM bits, the
//! no-flush bit. Whether entries can forbid execution (bit 63) is EFER.NXE.

use super::entry::{ADDRESS, directory, mixed, pae_pointers, pages, pse};
use crate::paging::PagingMode;
use crate::paging::level::{Entry, Level};
use crate::paging::mode::Scheme;

type Decode = fn(Level, u64, bool) -> Entry;

const fn wide(number: u8, decode: Decode) -> Level {
    Level {
        number,
        shift: number.saturating_mul(9).saturating_add(3),
        entries: 512,
        entry_len: 8,
        decode,
    }
}

const fn narrow(number: u8, decode: Decode) -> Level {
    Level {
        number,
        shift: number.saturating_mul(10).saturating_add(2),
        entries: 1024,
        entry_len: 4,
        decode,
    }
}

const FIVE: [Level; 5] =
    [wide(5, directory), wide(4, directory), wide(3, mixed), wide(2, mixed), wide(1, pages)];
const PAE_LEVELS: [Level; 3] = [
    Level { number: 3, shift: 30, entries: 4, entry_len: 8, decode: pae_pointers },
    wide(2, mixed),
    wide(1, pages),
];
const TWO: [Level; 2] = [narrow(2, directory), narrow(1, pages)];
const TWO_PSE: [Level; 2] = [narrow(2, pse), narrow(1, pages)];

static TWO_SCHEME: Scheme = two(&TWO);
static TWO_PSE_SCHEME: Scheme = two(&TWO_PSE);
static PAE_SCHEME: Scheme = Scheme {
    name: "32-bit PAE, 3 levels",
    short_name: "32-bit PAE",
    root_mask: 0xffff_ffe0,
    ..two(&PAE_LEVELS)
};
static FOUR_SCHEME: Scheme = Scheme {
    name: "64-bit, 4 levels",
    short_name: "64-bit",
    address_bits: 48,
    sign_extends: true,
    root_mask: ADDRESS,
    levels: FIVE.split_at(1).1,
};
static FIVE_SCHEME: Scheme = Scheme {
    name: "64-bit, 5 levels",
    short_name: "64-bit, 5 levels",
    address_bits: 57,
    sign_extends: true,
    root_mask: ADDRESS,
    levels: &FIVE,
};

const fn two(levels: &'static [Level]) -> Scheme {
    Scheme {
        name: "32-bit, 2 levels",
        short_name: "32-bit",
        address_bits: 32,
        sign_extends: false,
        root_mask: 0xffff_f000,
        levels,
    }
}

/// 32-bit, two levels of tables, and pages of 4 KiB only.
pub const TWO_LEVEL: PagingMode = PagingMode::new(&TWO_SCHEME);
/// 32-bit, two levels of tables, and pages of 4 MiB too (CR4.PSE).
pub const TWO_LEVEL_PSE: PagingMode = PagingMode::new(&TWO_PSE_SCHEME);
/// 32-bit with 64-bit entries, three levels.
pub const PAE: PagingMode = PagingMode::new(&PAE_SCHEME);
/// 64-bit, four levels.
pub const FOUR_LEVEL: PagingMode = PagingMode::new(&FOUR_SCHEME);
/// 64-bit, five levels.
pub const FIVE_LEVEL: PagingMode = PagingMode::new(&FIVE_SCHEME);

/// Whether a mode has two levels of tables, with pages of 4 MiB or without.
pub fn is_two_level(mode: PagingMode) -> bool {
    mode == TWO_LEVEL || mode == TWO_LEVEL_PSE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_cover_the_address_bits_of_their_mode() {
        for (mode, top) in [(TWO_LEVEL_PSE, 32), (PAE, 32), (FOUR_LEVEL, 48), (FIVE_LEVEL, 57)] {
            assert_eq!(mode.scheme().address_bits, top);
            let mut bits = top;
            for level in mode.scheme().levels {
                bits -= level.entries.ilog2();
                assert_eq!(u32::from(level.shift), bits, "{mode}");
            }
            assert_eq!(bits, 12, "{mode}");
        }
    }
}
