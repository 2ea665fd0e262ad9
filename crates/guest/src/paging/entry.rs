//! Page table entries, by level.

use vmss2core_mem::Gpa;

use super::{PagingMode, Permissions};

/// Bits 51 to 12 of an entry or of CR3: the widest physical address.
pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

/// One level of a paging mode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    /// 1 for page tables, 2 for page directories and so on.
    pub(super) number: u8,
    /// Number of address bits below the ones that index this table.
    pub(super) shift: u8,
    /// Number of entries.
    pub(super) entries: u16,
    /// Size of an entry.
    pub(super) entry_len: u8,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Points at tables only; bit 7 is reserved.
    Directory,
    /// The four PDPTEs of PAE: no permissions, and bit 7 ignored.
    PaePointers,
    /// Points at tables, or at a large page if bit 7 is set.
    Mixed,
    /// Points at pages only; bit 7 is PAT.
    Pages,
    /// 4-byte directory with 4 MiB pages (PSE, PSE-36).
    Pse,
}

const fn wide(number: u8, kind: Kind) -> Level {
    Level {
        number,
        shift: number.saturating_mul(9).saturating_add(3),
        entries: 512,
        entry_len: 8,
        kind,
    }
}

const fn narrow(number: u8, kind: Kind) -> Level {
    Level {
        number,
        shift: number.saturating_mul(10).saturating_add(2),
        entries: 1024,
        entry_len: 4,
        kind,
    }
}

const FIVE: [Level; 5] = [
    wide(5, Kind::Directory),
    wide(4, Kind::Directory),
    wide(3, Kind::Mixed),
    wide(2, Kind::Mixed),
    wide(1, Kind::Pages),
];
const PAE: [Level; 3] = [
    Level { number: 3, shift: 30, entries: 4, entry_len: 8, kind: Kind::PaePointers },
    wide(2, Kind::Mixed),
    wide(1, Kind::Pages),
];
const TWO: [Level; 2] = [narrow(2, Kind::Directory), narrow(1, Kind::Pages)];
const TWO_PSE: [Level; 2] = [narrow(2, Kind::Pse), narrow(1, Kind::Pages)];

/// The levels of a mode from the root down; none if paging is off.
pub(super) fn levels(mode: PagingMode) -> &'static [Level] {
    match mode {
        PagingMode::Identity => &[],
        PagingMode::TwoLevel { large_pages: false } => &TWO,
        PagingMode::TwoLevel { large_pages: true } => &TWO_PSE,
        PagingMode::Pae => &PAE,
        PagingMode::FourLevel => FIVE.split_at(1).1,
        PagingMode::FiveLevel => &FIVE,
    }
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    NotPresent,
    Reserved,
    Table(Gpa, Permissions),
    /// A page of [`Level::page_len`] bytes.
    Page(Gpa, Permissions),
}

impl Level {
    /// Bytes of address space that one entry covers.
    pub(super) fn page_len(self) -> u64 {
        1_u64.unbounded_shl(self.shift.into())
    }

    /// Size of a whole table.
    pub(super) fn table_len(self) -> usize {
        usize::from(self.entries).saturating_mul(usize::from(self.entry_len))
    }

    /// Offset in the table of the entry for an address.
    pub(super) fn entry_offset(self, gva: u64) -> u64 {
        let index =
            gva.unbounded_shr(self.shift.into()) & u64::from(self.entries.saturating_sub(1));
        index.saturating_mul(u64::from(self.entry_len))
    }

    /// Decodes an entry. `nx` says whether bit 63 means no-execute (EFER.NXE).
    pub(super) fn decode(self, entry: u64, nx: bool) -> Entry {
        if entry & PRESENT == 0 {
            return Entry::NotPresent;
        }
        let large = entry & LARGE != 0;
        let permissions = self.permissions(entry, nx);
        match self.kind {
            // A directory of 2-level paging without PSE ignores bit 7.
            Kind::Directory if large && self.entry_len == 8 => Entry::Reserved,
            Kind::Mixed if large => {
                Entry::Page(Gpa(entry & ADDRESS & !self.page_len().saturating_sub(1)), permissions)
            }
            Kind::Pse if large => Entry::Page(pse36(entry), permissions),
            Kind::Pages => Entry::Page(Gpa(entry & ADDRESS), permissions),
            _ => Entry::Table(Gpa(entry & ADDRESS), permissions),
        }
    }

    fn permissions(self, entry: u64, nx: bool) -> Permissions {
        if self.kind == Kind::PaePointers {
            return Permissions::ALL;
        }
        Permissions {
            write: entry & WRITE != 0,
            user: entry & USER != 0,
            execute: !(nx && entry & NO_EXECUTE != 0),
        }
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
