//! Page table entries of x86, by level.

use vmss2core_mem::Gpa;

use crate::paging::level::{Entry, Level};
use crate::paging::{PagingMode, Permissions};

/// Bits 51 to 12 of an entry or of CR3: the widest physical address.
pub(crate) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

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
const PAE: [Level; 3] = [
    Level { number: 3, shift: 30, entries: 4, entry_len: 8, decode: pae_pointers },
    wide(2, mixed),
    wide(1, pages),
];
const TWO: [Level; 2] = [narrow(2, directory), narrow(1, pages)];
const TWO_PSE: [Level; 2] = [narrow(2, pse), narrow(1, pages)];

/// The levels of a mode from the root down; none if paging is off.
pub(crate) fn levels(mode: PagingMode) -> &'static [Level] {
    match mode {
        PagingMode::Identity => &[],
        PagingMode::TwoLevel { large_pages: false } => &TWO,
        PagingMode::TwoLevel { large_pages: true } => &TWO_PSE,
        PagingMode::Pae => &PAE,
        PagingMode::FourLevel => FIVE.split_at(1).1,
        PagingMode::FiveLevel => &FIVE,
    }
}

/// Points at tables only. With 8-byte entries bit 7 is reserved; a directory of
/// 2-level paging without PSE ignores it.
fn directory(level: Level, entry: u64, nx: bool) -> Entry {
    match entry {
        _ if entry & PRESENT == 0 => Entry::NotPresent,
        _ if entry & LARGE != 0 && level.entry_len == 8 => Entry::Reserved,
        _ => Entry::Table(Gpa(entry & ADDRESS), permissions(entry, nx)),
    }
}

/// The four PDPTEs of PAE: no permissions, and bit 7 ignored.
fn pae_pointers(_: Level, entry: u64, _: bool) -> Entry {
    if entry & PRESENT == 0 {
        return Entry::NotPresent;
    }
    Entry::Table(Gpa(entry & ADDRESS), Permissions::ALL)
}

/// Points at tables, or at a large page if bit 7 is set.
fn mixed(level: Level, entry: u64, nx: bool) -> Entry {
    if entry & (PRESENT | LARGE) != PRESENT | LARGE {
        return table(entry, nx);
    }
    let page = entry & ADDRESS & !level.page_len().saturating_sub(1);
    Entry::Page(Gpa(page), permissions(entry, nx))
}

/// Points at pages only; bit 7 is PAT.
fn pages(_: Level, entry: u64, nx: bool) -> Entry {
    if entry & PRESENT == 0 {
        return Entry::NotPresent;
    }
    Entry::Page(Gpa(entry & ADDRESS), permissions(entry, nx))
}

/// 4-byte directory with 4 MiB pages (PSE, PSE-36).
fn pse(_: Level, entry: u64, nx: bool) -> Entry {
    if entry & (PRESENT | LARGE) != PRESENT | LARGE {
        return table(entry, nx);
    }
    Entry::Page(pse36(entry), permissions(entry, nx))
}

fn table(entry: u64, nx: bool) -> Entry {
    if entry & PRESENT == 0 {
        return Entry::NotPresent;
    }
    Entry::Table(Gpa(entry & ADDRESS), permissions(entry, nx))
}

fn permissions(entry: u64, nx: bool) -> Permissions {
    Permissions {
        write: entry & WRITE != 0,
        user: entry & USER != 0,
        execute: !(nx && entry & NO_EXECUTE != 0),
    }
}

/// Base of a 4 MiB page: bits 31 to 22, and bits 20 to 13 are its bits 39 to 32.
fn pse36(entry: u64) -> Gpa {
    Gpa((entry & 0xffc0_0000) | ((entry >> 13) & 0xff) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_cover_the_address_bits_of_their_mode() {
        for (mode, top) in [
            (PagingMode::TwoLevel { large_pages: true }, 32),
            (PagingMode::Pae, 32),
            (PagingMode::FourLevel, 48),
            (PagingMode::FiveLevel, 57),
        ] {
            let mut bits = top;
            for level in levels(mode) {
                bits -= level.entries.ilog2();
                assert_eq!(u32::from(level.shift), bits, "{mode}");
            }
            assert_eq!(bits, 12, "{mode}");
        }
    }

    #[test]
    fn pse36_takes_the_high_address_bits_from_the_middle_of_the_entry() {
        assert_eq!(pse36(0x0040_0000 | 0x81 | 0x1 << 13), Gpa(0x1_0040_0000));
        assert_eq!(pse36(0xffc0_0000 | 0x81 | 0xff << 13), Gpa(0xff_ffc0_0000));
    }
}
