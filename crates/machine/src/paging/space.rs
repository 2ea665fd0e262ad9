//! Reading by virtual address.

use vmss2core_mem::{Gpa, Gva, MemoryError, PAGE_SIZE, PhysicalMemory};

use super::level::{Entry, Level};
use super::{AccessError, PagingMode, Permissions, Root};

/// Where a virtual address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical address; not necessarily one that the checkpoint holds.
    pub gpa: Gpa,
    /// Size of the page it lies in.
    pub page_len: u64,
    /// Rights that the tables give there.
    pub permissions: Permissions,
}

/// Guest memory as seen through one set of page tables.
#[derive(Clone, Debug)]
pub struct AddressSpace {
    pub(super) memory: PhysicalMemory,
    pub(super) mode: PagingMode,
    pub(super) root: Root,
    pub(super) nx: bool,
}

impl AddressSpace {
    /// The address space below `root`. Entries can forbid execution.
    pub fn new(memory: &PhysicalMemory, mode: PagingMode, root: Root) -> Self {
        Self { memory: memory.clone(), mode, root, nx: true }
    }

    /// This space; entries cannot forbid execution there if `enabled` is false.
    pub fn with_no_execute(self, enabled: bool) -> Self {
        Self { nx: enabled, ..self }
    }

    /// This mode with other page tables.
    #[must_use]
    pub fn with_root(&self, root: Root) -> Self {
        Self { root, ..self.clone() }
    }

    /// The memory below.
    pub fn memory(&self) -> &PhysicalMemory {
        &self.memory
    }

    /// Its paging mode.
    pub fn mode(&self) -> PagingMode {
        self.mode
    }

    /// Its topmost page table.
    pub fn root(&self) -> Root {
        self.root
    }

    /// Finds the physical address of a virtual one.
    pub fn translate(&self, gva: Gva) -> Result<Translation, AccessError> {
        if !self.mode.is_canonical(gva) {
            return Err(AccessError::NonCanonical { gva, mode: self.mode });
        }
        let mut table = self.root.0;
        let mut allowed = Permissions::ALL;
        for &level in self.mode.levels() {
            let entry = self.entry(table, level, gva)?;
            let number = level.number;
            match level.decode(entry, self.nx) {
                Entry::NotPresent => {
                    return Err(AccessError::NotMapped { gva, level: number, entry });
                }
                Entry::Reserved => return Err(AccessError::Reserved { gva, level: number, entry }),
                Entry::Table(next, permissions) => {
                    table = next;
                    allowed = allowed.and(permissions);
                }
                Entry::Page(page, permissions) => {
                    return Ok(Translation {
                        gpa: Gpa(page.0 | gva.0 & level.page_len().saturating_sub(1)),
                        page_len: level.page_len(),
                        permissions: allowed.and(permissions),
                    });
                }
            }
        }
        // Only a mode without levels gets here: paging is off.
        let page_len = self.mode.address_end();
        Ok(Translation { gpa: Gpa(gva.0), page_len, permissions: allowed })
    }

    fn entry(&self, table: Gpa, level: Level, gva: Gva) -> Result<u64, AccessError> {
        // A table address has at most 52 bits, so the sum cannot wrap.
        let at = Gpa(table.0.saturating_add(level.entry_offset(gva.0)));
        let entry = match level.entry_len {
            4 => self.memory.read_u32(at).map(u64::from),
            _ => self.memory.read_u64(at),
        };
        entry.map_err(|source| AccessError::Table { gva, level: level.number, source })
    }

    /// Fills `buf` with the memory at `gva`. Fails at the first byte that is
    /// not mapped or not in the checkpoint; what `buf` holds then is not
    /// defined.
    pub fn read(&self, gva: Gva, buf: &mut [u8]) -> Result<(), AccessError> {
        let mut at = gva;
        let mut rest = buf;
        while !rest.is_empty() {
            let found = self.translate(at)?;
            let in_page = found.page_len.saturating_sub(at.0 & found.page_len.saturating_sub(1));
            let len = rest.len().min(usize::try_from(in_page).unwrap_or(usize::MAX));
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(len);
            self.memory
                .read(found.gpa, head)
                .map_err(|source| page_error(at, found.gpa, source))?;
            rest = tail;
            if !rest.is_empty() {
                at = self.after(at, in_page)?;
            }
        }
        Ok(())
    }

    /// The address `len` after `gva`; past the last one there is none.
    fn after(&self, gva: Gva, len: u64) -> Result<Gva, AccessError> {
        gva.checked_add(len).ok_or(AccessError::NonCanonical { gva, mode: self.mode })
    }

    /// The little-endian `u32` at `gva`.
    pub fn read_u32(&self, gva: Gva) -> Result<u32, AccessError> {
        let mut bytes = [0; 4];
        self.read(gva, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// The little-endian `u64` at `gva`.
    pub fn read_u64(&self, gva: Gva) -> Result<u64, AccessError> {
        let mut bytes = [0; 8];
        self.read(gva, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// Names the first virtual address that failed, which need not be the one the
/// read of this page began with.
fn page_error(at: Gva, page: Gpa, source: MemoryError) -> AccessError {
    let failed = match source {
        MemoryError::NotPresent { gpa } | MemoryError::Io { gpa, .. } => gpa.0,
        _ => page.0,
    };
    AccessError::Page { gva: Gva(at.0.wrapping_add(failed.saturating_sub(page.0))), source }
}

/// Fills `buf` from `gva` on by `read`, which gets what lies in one page and tells
/// whether it could; returns how many bytes there are before the first page that it
/// could not read.
pub fn read_pages(gva: Gva, buf: &mut [u8], mut read: impl FnMut(Gva, &mut [u8]) -> bool) -> usize {
    let mut got = 0_usize;
    while got < buf.len() {
        let Some(at) = gva.checked_add(got as u64) else { break };
        let in_page = usize::try_from(PAGE_SIZE.saturating_sub(at.page_offset())).unwrap_or(1);
        let end = got.saturating_add(in_page).min(buf.len());
        let Some(part) = buf.get_mut(got..end) else { break };
        if !read(at, part) {
            break;
        }
        got = end;
    }
    got
}
