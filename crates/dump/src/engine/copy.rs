//! Moves guest memory into the output: clones, skips holes, leaves zeroes out.

use std::fs::File;
use std::io;

use vmss2core_mem::{Gpa, MemoryError, PAGE_SIZE, PhysicalMemory, Piece, ReadAt};

use super::output::Output;
use super::{Extent, host};
use crate::{DumpError, Monitor};

/// Bytes per read. Small enough to stay in the processor's cache between read
/// and write: 128 KiB to 512 KiB measured best, 4 MiB a fifth slower.
const CHUNK_BYTES: usize = 256 * 1024;

/// Bytes per clone call: the user may want to stop in between.
const CLONE_BYTES: u64 = 1 << 30;

static ZERO_PAGE: [u8; 4096] = [0; 4096];

/// A part of one segment on its way to the output.
#[derive(Clone, Copy)]
struct Part<'a> {
    gpa: Gpa,
    to_offset: u64,
    source: &'a dyn ReadAt,
    from_offset: u64,
    len_bytes: u64,
}

impl Part<'_> {
    fn slice(&self, start: u64, len_bytes: u64) -> Self {
        Self {
            gpa: Gpa(self.gpa.0 + start),
            to_offset: self.to_offset + start,
            from_offset: self.from_offset + start,
            len_bytes,
            ..*self
        }
    }

    fn error(&self, done: u64, source: io::Error) -> DumpError {
        DumpError::Read(MemoryError::Io { gpa: Gpa(self.gpa.0 + done), source })
    }
}

pub(super) struct Copier<'a> {
    memory: &'a PhysicalMemory,
    output: &'a Output,
    monitor: &'a dyn Monitor,
    can_clone: bool,
    buffer: Vec<u8>,
    done: u64,
    total: u64,
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        memory: &'a PhysicalMemory,
        output: &'a Output,
        monitor: &'a dyn Monitor,
        total: u64,
    ) -> Self {
        let can_clone = host::can_clone_in(output.directory());
        let buffer = vec![0; CHUNK_BYTES];
        Self { memory, output, monitor, can_clone, buffer, done: 0, total }
    }

    pub(super) fn copy(&mut self, extent: Extent) -> Result<(), DumpError> {
        for piece in self.memory.pieces(extent.gpa, extent.len_bytes) {
            let (gpa, len_bytes, segment, skip) = match piece {
                Piece::Present { gpa, len, segment, skip } => (gpa, len, segment, skip),
                Piece::Absent { gpa, .. } => {
                    return Err(DumpError::Read(MemoryError::NotPresent { gpa }));
                }
            };
            let (source, start) = segment.source();
            let to_offset = extent.offset + (gpa.0 - extent.gpa.0);
            self.part(Part { gpa, to_offset, source, from_offset: start + skip, len_bytes })?;
        }
        Ok(())
    }

    /// Reports the end, which a layout without memory reaches at once.
    pub(super) fn finish(&mut self) -> Result<(), DumpError> {
        self.advance(0)
    }

    fn part(&mut self, part: Part<'_>) -> Result<(), DumpError> {
        match plain_file(&part) {
            Some((file, offset)) => self.file(part, file, offset),
            None => self.bytes(part),
        }
    }

    /// Only what the source file does not have as a hole.
    fn file(&mut self, part: Part<'_>, file: &File, offset: u64) -> Result<(), DumpError> {
        require_len(&part, file, offset)?;
        host::will_read_forward(file);
        let end = offset + part.len_bytes;
        let mut at = offset;
        while let Some(data) = host::next_data(file, at..end) {
            self.advance(data.start - at)?;
            let data_part = part.slice(data.start - offset, data.end - data.start);
            let cloned = self.clone(&data_part, file, data.start)?;
            self.bytes(data_part.slice(cloned, data_part.len_bytes - cloned))?;
            at = data.end;
        }
        self.advance(end - at)
    }

    /// Shares as much of the part as the file system will; returns how much.
    /// What it will not share is copied, so its reasons do not matter.
    fn clone(&mut self, part: &Part<'_>, file: &File, offset: u64) -> Result<u64, DumpError> {
        let aligned = offset.is_multiple_of(PAGE_SIZE) && part.to_offset.is_multiple_of(PAGE_SIZE);
        let end = if self.can_clone && aligned { part.len_bytes & !(PAGE_SIZE - 1) } else { 0 };
        let mut done = 0;
        while done < end {
            let len = usize::try_from((end - done).min(CLONE_BYTES)).unwrap_or(usize::MAX);
            let (from, to) = (offset + done, part.to_offset + done);
            match host::clone_range(file, from, self.output.file(), to, len) {
                Ok(0) | Err(_) => break,
                Ok(cloned) => done += cloned,
            }
            self.advance(0)?;
        }
        self.advance(done)?;
        Ok(done)
    }

    fn bytes(&mut self, part: Part<'_>) -> Result<(), DumpError> {
        let mut done = 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        while done < part.len_bytes {
            let len = usize::try_from(part.len_bytes - done).unwrap_or(usize::MAX);
            let (chunk, _) = buffer.split_at_mut(len.min(CHUNK_BYTES));
            let from = part.from_offset + done;
            part.source.read_exact_at(from, chunk).map_err(|source| part.error(done, source))?;
            self.write_nonzero(chunk, part.to_offset + done)?;
            done += chunk.len() as u64;
            self.advance(chunk.len() as u64)?;
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Writes the pages that are not all zero; the file is a hole before.
    fn write_nonzero(&self, chunk: &[u8], offset: u64) -> Result<(), DumpError> {
        for (start, bytes) in nonzero_runs(chunk) {
            self.output.write_all_at(bytes, offset + start as u64)?;
        }
        Ok(())
    }

    fn advance(&mut self, bytes: u64) -> Result<(), DumpError> {
        self.done += bytes;
        self.monitor.progress(self.done, self.total);
        if self.monitor.is_cancelled() { Err(DumpError::Cancelled) } else { Ok(()) }
    }
}

/// The host file that holds the whole part as it is. A source that changes
/// files on the way gives itself away by where its last byte lies.
fn plain_file<'a>(part: &Part<'a>) -> Option<(&'a File, u64)> {
    let rest = part.len_bytes.checked_sub(1)?;
    let (file, offset) = part.source.file_at(part.from_offset)?;
    let (last_file, last) = part.source.file_at(part.from_offset.checked_add(rest)?)?;
    (std::ptr::eq(file, last_file) && offset.checked_add(rest)? == last).then_some((file, offset))
}

/// A file cut short since it was opened would pass for one that ends in a hole.
fn require_len(part: &Part<'_>, file: &File, offset: u64) -> Result<(), DumpError> {
    let len = file.metadata().map_err(|source| part.error(0, source))?.len();
    // A device holds more than the 0 bytes it reports.
    let is_short = len != 0 && len < offset + part.len_bytes;
    if is_short {
        let held = len.saturating_sub(offset);
        return Err(part.error(held, io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

/// Runs of pages that are not all zero, each with its position.
fn nonzero_runs(chunk: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = chunk.get(at..)?;
        let start =
            at + pages(rest).take_while(|page| is_zero(page)).map(<[u8]>::len).sum::<usize>();
        let rest = chunk.get(start..).filter(|rest| !rest.is_empty())?;
        let len = pages(rest).take_while(|page| !is_zero(page)).map(<[u8]>::len).sum::<usize>();
        at = start + len;
        Some((start, rest.get(..len)?))
    })
}

fn pages(bytes: &[u8]) -> std::slice::Chunks<'_, u8> {
    bytes.chunks(ZERO_PAGE.len())
}

/// Comparing with a page of zeroes is one call of the C library's vectorised
/// `memcmp`, which ends at the first byte that differs.
fn is_zero(page: &[u8]) -> bool {
    ZERO_PAGE.get(..page.len()) == Some(page)
}
