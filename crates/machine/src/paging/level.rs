//! One level of page tables, whatever the processor: where the entry for an address is,
//! and how many addresses it is for. What an entry says is the processor's.

use vmss2core_mem::Gpa;

use super::Permissions;

/// One level of a paging mode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    /// 1 for the lowest tables, 2 for those above and so on.
    pub(crate) number: u8,
    /// Number of address bits below the ones that index this table.
    pub(crate) shift: u8,
    /// Number of entries.
    pub(crate) entries: u16,
    /// Size of an entry.
    pub(crate) entry_len: u8,
    /// Decodes an entry of this level; the last argument says whether entries can
    /// forbid execution.
    pub(crate) decode: fn(Level, u64, bool) -> Entry,
}

/// A decoded entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    NotPresent,
    Reserved,
    Table(Gpa, Permissions),
    /// A page of [`Level::page_len`] bytes.
    Page(Gpa, Permissions),
}

impl Level {
    /// Bytes of address space that one entry covers.
    pub(crate) fn page_len(self) -> u64 {
        1_u64.unbounded_shl(self.shift.into())
    }

    /// Size of a whole table.
    pub(crate) fn table_len(self) -> usize {
        usize::from(self.entries).saturating_mul(usize::from(self.entry_len))
    }

    /// Offset in the table of the entry for an address.
    pub(crate) fn entry_offset(self, gva: u64) -> u64 {
        let index =
            gva.unbounded_shr(self.shift.into()) & u64::from(self.entries.saturating_sub(1));
        index.saturating_mul(u64::from(self.entry_len))
    }

    /// Decodes an entry. `nx` says whether entries can forbid execution.
    pub(crate) fn decode(self, entry: u64, nx: bool) -> Entry {
        (self.decode)(self, entry, nx)
    }
}
