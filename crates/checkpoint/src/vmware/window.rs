//! Bounds-checked reads of the tag stream through a small buffer.

use super::error::VmwareError;
use crate::source::Source;

/// Bytes read at once. Small, because every block is jumped over.
const WINDOW_LEN: u64 = 8 << 10;

/// A view of a file that remembers the last stretch it read.
pub(super) struct Window<'a> {
    source: &'a Source,
    start: u64,
    buf: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self { source, start: 0, buf: Vec::new() }
    }

    /// Length of the file.
    pub(super) fn len(&self) -> u64 {
        self.source.len
    }

    /// The bytes at `at`; `None` if the file ends before. `len` is at most
    /// [`WINDOW_LEN`].
    pub(super) fn bytes(&mut self, at: u64, len: usize) -> Result<Option<&[u8]>, VmwareError> {
        let end = at.checked_add(len as u64).filter(|&end| end <= self.source.len);
        let Some(end) = end else { return Ok(None) };
        if at < self.start || end > self.start.saturating_add(self.buf.len() as u64) {
            self.load(at)?;
        }
        let skip = usize::try_from(at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        Ok(self.buf.get(skip..).and_then(|rest| rest.get(..len)))
    }

    /// The little-endian number at `at`.
    pub(super) fn u16(&mut self, at: u64) -> Result<Option<u16>, VmwareError> {
        let bytes = self.bytes(at, 2)?;
        Ok(bytes.and_then(|bytes| bytes.first_chunk()).map(|&bytes| u16::from_le_bytes(bytes)))
    }

    fn load(&mut self, at: u64) -> Result<(), VmwareError> {
        let len =
            usize::try_from(self.source.len.saturating_sub(at).min(WINDOW_LEN)).unwrap_or_default();
        self.buf.resize(len, 0);
        self.start = at;
        self.source.bytes.read_exact_at(at, &mut self.buf).map_err(|source| VmwareError::Read {
            path: self.source.path.clone(),
            what: "a tag",
            offset: at,
            source,
        })
    }
}
