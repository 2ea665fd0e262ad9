//! The sections that types are described in.

use std::io;
use std::sync::Arc;

use vmss2core_mem::ReadAt;

/// A section of a file, read piece by piece.
#[derive(Clone)]
pub(in crate::linux) struct Section {
    source: Arc<dyn ReadAt>,
    offset: u64,
    len: u64,
}

impl Section {
    /// The part of a source from `offset` on.
    pub(in crate::linux) fn new(source: Arc<dyn ReadAt>, offset: u64, len: u64) -> Self {
        Self { source, offset, len }
    }

    /// Bytes in it.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buf` from `at` on.
    pub(super) fn read(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        let outside = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let end = at.checked_add(buf.len() as u64).ok_or_else(outside)?;
        if end > self.len {
            return Err(outside());
        }
        self.source.read_exact_at(self.offset.saturating_add(at), buf)
    }
}

/// The debug sections of a file. The small ones are held in memory.
pub(in crate::linux) struct DebugSections {
    /// `.debug_info`.
    pub(in crate::linux) info: Section,
    /// `.debug_abbrev`.
    pub(in crate::linux) abbrev: Vec<u8>,
    /// `.debug_str`.
    pub(in crate::linux) strings: Vec<u8>,
    /// `.debug_line_str`.
    pub(in crate::linux) line_strings: Vec<u8>,
    /// `.debug_str_offsets`.
    pub(in crate::linux) string_offsets: Vec<u8>,
}
