//! Reading a byte object from front to back.

use std::io::{self, Read};
use std::sync::Arc;

use vmss2core_mem::ReadAt;

use super::Source;

/// A [`Source`] as a stream.
pub(super) struct Stream {
    bytes: Arc<dyn ReadAt>,
    at: u64,
    len: u64,
}

impl Stream {
    pub(super) fn new(source: &Source) -> Self {
        Self { bytes: source.bytes.clone(), at: 0, len: source.len }
    }

    /// How far it has been read.
    pub(super) fn position(&self) -> u64 {
        self.at
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.at);
        let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let (head, _) = buf.split_at_mut(len);
        self.bytes.read_exact_at(self.at, head)?;
        self.at = self.at.saturating_add(len as u64);
        Ok(len)
    }
}
