//! Decodes page table entries (Intel SDM, volume 3A, 4.3 to 4.5).

use vmss2core_mem::Gpa;

use crate::paging::Permissions;
use crate::paging::level::{Entry, Level};

/// Bits 51 to 12 of an entry or of CR3: the widest physical address.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The entry says something to the processor.
pub const PRESENT: u64 = 1;
/// Writable.
pub const WRITE: u64 = 1 << 1;
/// Open to user mode.
pub const USER: u64 = 1 << 2;
/// Above the lowest tables: a page, not a table.
pub const LARGE: u64 = 1 << 7;
/// Not to be executed.
pub const NO_EXECUTE: u64 = 1 << 63;

/// Points at tables only. With 8-byte entries bit 7 is reserved; a directory of
/// 2-level paging without PSE ignores it.
pub(super) fn directory(level: Level, entry: u64, nx: bool) -> Entry {
    match entry {
        _ if entry & PRESENT == 0 => Entry::NotPresent,
        _ if entry & LARGE != 0 && level.entry_len == 8 => Entry::Reserved,
        _ => Entry::Table(Gpa(entry & ADDRESS), permissions(entry, nx)),
    }
}

/// The four PDPTEs of PAE: no permissions, and bit 7 ignored.
pub(super) fn pae_pointers(_: Level, entry: u64, _: bool) -> Entry {
    if entry & PRESENT == 0 {
        return Entry::NotPresent;
    }
    Entry::Table(Gpa(entry & ADDRESS), Permissions::ALL)
}

/// Points at tables, or at a large page if bit 7 is set.
pub(super) fn mixed(level: Level, entry: u64, nx: bool) -> Entry {
    if entry & (PRESENT | LARGE) != PRESENT | LARGE {
        return table(entry, nx);
    }
    let page = entry & ADDRESS & !level.page_len().saturating_sub(1);
    Entry::Page(Gpa(page), permissions(entry, nx))
}

/// Points at pages only; bit 7 is PAT.
pub(super) fn pages(_: Level, entry: u64, nx: bool) -> Entry {
    if entry & PRESENT == 0 {
        return Entry::NotPresent;
    }
    Entry::Page(Gpa(entry & ADDRESS), permissions(entry, nx))
}

/// 4-byte directory with 4 MiB pages (PSE, PSE-36).
pub(super) fn pse(_: Level, entry: u64, nx: bool) -> Entry {
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
    fn pse36_takes_the_high_address_bits_from_the_middle_of_the_entry() {
        assert_eq!(pse36(0x0040_0000 | 0x81 | 0x1 << 13), Gpa(0x1_0040_0000));
        assert_eq!(pse36(0xffc0_0000 | 0x81 | 0xff << 13), Gpa(0xff_ffc0_0000));
    }
}
