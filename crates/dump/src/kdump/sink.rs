//! Where the pieces of a kdump-compressed file go: into the file, or one after
//! the other into a stream from which `makedumpfile -R` restores the file.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use zerocopy::IntoBytes;

use crate::DumpError;
use crate::output::Output;
use vmss2core_formats::kdump::{BLOCK, FlatHeader, FlatPiece};

/// Takes the pieces of a file.
pub(super) trait Sink: Sync {
    /// Puts `bytes` at `offset`. No two pieces overlap.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DumpError>;

    /// Whether the order of the pieces shows in the result.
    fn keeps_order(&self) -> bool;
}

impl Sink for Output {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DumpError> {
        self.write_all_at(bytes, offset)
    }

    fn keeps_order(&self) -> bool {
        false
    }
}

/// The flattened form: each piece with its place before it.
pub(super) struct Flattened<'a> {
    out: Mutex<&'a mut (dyn Write + Send)>,
    failed: &'a (dyn Fn(io::Error) -> DumpError + Sync),
}

impl<'a> Flattened<'a> {
    /// Begins a flattened file; `failed` makes the error of a failed write.
    pub(super) fn new(
        out: &'a mut (dyn Write + Send),
        failed: &'a (dyn Fn(io::Error) -> DumpError + Sync),
    ) -> Result<Self, DumpError> {
        let header =
            FlatHeader { signature: *b"makedumpfile\0\0\0\0", kind: 1.into(), version: 1.into() };
        let mut block = header.as_bytes().to_vec();
        block.resize(usize::try_from(BLOCK).unwrap_or_default(), 0);
        out.write_all(&block).map_err(failed)?;
        Ok(Self { out: Mutex::new(out), failed })
    }

    /// Ends it.
    pub(super) fn finish(self) -> Result<(), DumpError> {
        let out = self.out.into_inner().unwrap_or_else(PoisonError::into_inner);
        let end = FlatPiece { offset: (-1).into(), size: (-1).into() };
        out.write_all(end.as_bytes()).and_then(|()| out.flush()).map_err(self.failed)
    }
}

impl Sink for Flattened<'_> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DumpError> {
        // A piece of no bytes would end the file for some readers.
        if bytes.is_empty() {
            return Ok(());
        }
        let offset = i64::try_from(offset).map_err(|_| DumpError::TooLarge)?;
        let size = i64::try_from(bytes.len()).map_err(|_| DumpError::TooLarge)?;
        let head = FlatPiece { offset: offset.into(), size: size.into() };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let written = out.write_all(head.as_bytes()).and_then(|()| out.write_all(bytes));
        written.map_err(self.failed)
    }

    fn keeps_order(&self) -> bool {
        true
    }
}
