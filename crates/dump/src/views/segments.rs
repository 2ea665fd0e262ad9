//! Guest memory at addresses, as every format for debuggers has it in its own words.

use vmss2core_mem::Gpa;

use crate::DumpError;
use crate::engine::Extent;

/// Guest memory at an address; `offset` counts from the start of the memory in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) vaddr: u64,
    pub(crate) paddr: u64,
    pub(crate) offset: u64,
    pub(crate) len_bytes: u64,
    pub(crate) access: Access,
}

/// Access rights of a segment; all can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) write: bool,
    pub(crate) execute: bool,
}

impl Access {
    pub(crate) const ALL: Self = Self { write: true, execute: true };
}

/// The memory of a file; offsets count from its start in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) loads: Vec<Load>,
    pub(crate) extents: Vec<Extent>,
    pub(crate) len_bytes: u64,
}

impl Body {
    /// Appends memory and returns where it lies.
    pub(crate) fn append(&mut self, gpa: Gpa, len_bytes: u64) -> Result<u64, DumpError> {
        let offset = self.len_bytes;
        self.len_bytes = offset.checked_add(len_bytes).ok_or(DumpError::TooLarge)?;
        self.extents.push(Extent { offset, gpa, len_bytes });
        Ok(offset)
    }

    /// Whether all addresses and, with `header_bytes` before them, all offsets
    /// fit 32 bits.
    pub(crate) fn fits_32_bits(&self, header_bytes: u64) -> bool {
        let fits = |start: u64, len: u64| start.checked_add(len).is_some_and(|end| end <= 1 << 32);
        // What follows the last byte must be a 32-bit number, too.
        let file = header_bytes.saturating_add(self.len_bytes) < 1 << 32;
        let no_address = |vaddr: u64| vaddr == u64::from(u32::MAX);
        file && self.loads.iter().all(|load| {
            fits(load.paddr, load.len_bytes)
                && (no_address(load.vaddr) || fits(load.vaddr, load.len_bytes))
        })
    }
}
