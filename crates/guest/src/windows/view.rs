//! Reading the kernel's memory, pages in transition included.
//!
//! A page in transition is not mapped any more, but its frame still holds it: a
//! software page table entry with bit 11 set and bit 10 clear names that frame.
//! The same holds for a page table. Source: the spec's 3.1, public symbols'
//! `MMPTE_TRANSITION`.

use std::iter;

use vmss2core_mem::{Gpa, Gva, PAGE_SIZE, PhysicalMemory};

use vmss2core_machine::paging::{AccessError, AddressSpace, PagingMode, Root};

const PRESENT: u64 = 1;
const PROTOTYPE: u64 = 1 << 10;
const TRANSITION: u64 = 1 << 11;

/// The kernel's view of memory.
#[derive(Clone, Debug)]
pub struct View {
    space: AddressSpace,
    is_64_bit: bool,
}

impl View {
    /// The memory that these page tables map.
    pub fn new(memory: &PhysicalMemory, mode: PagingMode, root: Root) -> Self {
        Self { space: AddressSpace::new(memory, mode, root), is_64_bit: mode.is_64_bit() }
    }

    /// A view with other page tables of the same mode.
    #[must_use]
    pub fn with_root(&self, root: Root) -> Self {
        Self { space: self.space.with_root(root), ..*self }
    }

    /// The page tables below it, which know nothing of pages in transition.
    pub(super) fn space(&self) -> &AddressSpace {
        &self.space
    }

    /// Bytes of a pointer.
    pub fn word_len(&self) -> u64 {
        if self.is_64_bit { 8 } else { 4 }
    }

    /// The physical address of a virtual one.
    pub fn translate(&self, gva: Gva) -> Result<Gpa, AccessError> {
        match self.space.translate(gva) {
            Ok(found) => Ok(found.gpa),
            Err(error) => self.in_transition(gva, &error).ok_or(error),
        }
    }

    /// Whether page tables let code run at an address.
    pub(super) fn is_executable(&self, gva: Gva) -> bool {
        self.space.translate(gva).is_ok_and(|found| found.permissions.execute)
    }

    /// Where a page in transition, or the one of a table in transition, lies.
    fn in_transition(&self, gva: Gva, error: &AccessError) -> Option<Gpa> {
        let AccessError::NotMapped { level, entry, .. } = error else { return None };
        let frame = self.frame(*entry)?;
        let page = match level {
            1 => frame,
            2 => self.of_table(frame, gva)?,
            _ => return None,
        };
        Some(Gpa(page.0 | gva.page_offset()))
    }

    /// The page that a page table at `table` names for `gva`.
    fn of_table(&self, table: Gpa, gva: Gva) -> Option<Gpa> {
        let memory = self.space.memory();
        // The number of the page, in bytes of entries of the table.
        let entry = if self.has_short_entries() {
            u64::from(memory.read_u32(Gpa(table.0 | gva.0 >> 12 << 2 & 0xffc)).ok()?)
        } else {
            memory.read_u64(Gpa(table.0 | gva.0 >> 12 << 3 & 0xff8)).ok()?
        };
        if entry & PRESENT == 1 { Some(self.address(entry)) } else { self.frame(entry) }
    }

    fn has_short_entries(&self) -> bool {
        self.space.mode().entry_len() == 4
    }

    /// The frame that an entry which is not present still names.
    fn frame(&self, entry: u64) -> Option<Gpa> {
        let is_transition = entry & (PRESENT | PROTOTYPE | TRANSITION) == TRANSITION;
        is_transition.then(|| self.address(entry))
    }

    fn address(&self, entry: u64) -> Gpa {
        let mask = if self.has_short_entries() { 0xffff_f000 } else { 0xf_ffff_ffff_f000 };
        Gpa(entry & mask)
    }

    /// Fills `buf` with the memory at `gva`; what it holds after an error is not
    /// defined.
    pub fn read(&self, gva: Gva, buf: &mut [u8]) -> Result<(), AccessError> {
        let mut at = gva;
        let mut rest = buf;
        while !rest.is_empty() {
            let len = left_in_page(at).min(rest.len());
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(len);
            let gpa = self.translate(at)?;
            let memory = self.space.memory();
            memory.read(gpa, head).map_err(|source| AccessError::Page { gva: at, source })?;
            rest = tail;
            at = Gva(at.0.wrapping_add(head.len() as u64));
        }
        Ok(())
    }

    /// `len` bytes, which the caller has bounded.
    pub fn bytes(&self, gva: Gva, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read(gva, &mut bytes).ok()?;
        Some(bytes)
    }

    /// As much of `len` bytes as is in memory from the start on.
    pub fn prefix(&self, gva: Gva, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            let at = Gva(gva.0.wrapping_add(done as u64));
            let end = len.min(left_in_page(at).saturating_add(done));
            let Some(part) = bytes.get_mut(done..end) else { break };
            if self.read(at, part).is_err() {
                break;
            }
            done = end;
        }
        bytes.truncate(done);
        bytes
    }

    /// The little-endian number of `len` (1 to 8) bytes.
    pub fn uint(&self, gva: Gva, len: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        let len = usize::try_from(len).ok()?.min(8);
        let (used, _) = bytes.split_at_mut(len);
        self.read(gva, used).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    /// The pointer at an address.
    pub fn pointer(&self, gva: Gva) -> Option<Gva> {
        self.uint(gva, self.word_len()).map(Gva)
    }

    /// The text of a `UNICODE_STRING`: what is in memory and sound of it; `None`
    /// if it is not one. It has at most 32,767 units.
    pub fn unicode(&self, gva: Gva) -> Option<String> {
        let len = self.uint(gva, 2)?;
        let room = self.uint(Gva(gva.0.checked_add(2)?), 2)?;
        let buffer = self.pointer(Gva(gva.0.checked_add(self.word_len())?))?;
        if len % 2 != 0 || len > room {
            return None;
        }
        if len == 0 {
            return Some(String::new());
        }
        let bytes = self.bytes(buffer, usize::try_from(len).ok()?)?;
        Some(utf16(&bytes))
    }

    /// Whether it is an address of the kernel's half.
    pub fn is_kernel(&self, gva: Gva) -> bool {
        if self.is_64_bit {
            gva.0 >> 47 == 0x1_ffff || gva.0 >> 56 == 0xff
        } else {
            (0x8000_0000..1 << 32).contains(&gva.0)
        }
    }
}

/// Bytes of a page from an address on.
pub(super) fn left_in_page(at: Gva) -> usize {
    usize::try_from(PAGE_SIZE.saturating_sub(at.page_offset())).unwrap_or(usize::MAX)
}

/// Address of an element of an array at `first`, of elements of `len` bytes.
pub(super) fn element(first: Gva, index: u64, len: u64) -> Option<Gva> {
    first.checked_add(index.checked_mul(len)?)
}

/// The page of an address and all below it, downwards.
pub(super) fn pages_down(gva: Gva) -> impl Iterator<Item = Gva> {
    iter::successors(Some(gva.page_start()), |page| page.0.checked_sub(PAGE_SIZE).map(Gva))
}

/// The page of an address and all above it, upwards.
pub(super) fn pages_up(gva: Gva) -> impl Iterator<Item = Gva> {
    iter::successors(Some(gva.page_start()), |page| page.checked_add(PAGE_SIZE))
}

/// Text of UTF-16; what is no text becomes a replacement character.
pub(super) fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> =
        bytes.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    String::from_utf16_lossy(&units)
}
