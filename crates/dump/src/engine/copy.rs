//! Moves guest memory into the output: clones, skips holes, leaves zeroes out.

use std::fs::File;
use std::io;

use vmss2core_mem::{Gpa, MemoryError, PAGE_SIZE, PhysicalMemory, Piece, ReadAt};

use super::{Extent, host};
use crate::output::Output;
use crate::{DumpError, Observer};

/// Bytes per read: 128 KiB measured best on ext4; from 256 KiB on it takes twice
/// the time.
const CHUNK_BYTES: u64 = 128 * 1024;

/// Bytes per call that copies within the kernel. From a cold disk 32 MiB took a
/// fifth longer; but the user may want to stop in between.
const MAX_KERNEL_BYTES: u64 = 256 << 20;

/// Bytes per clone call; every call may split an extent.
const CLONE_BYTES: u64 = 1 << 30;

static ZERO_PAGE: [u8; 4096] = [0; 4096];

/// A part of one segment on its way to the output.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) gpa: Gpa,
    pub(super) to_offset: u64,
    pub(super) source: &'a dyn ReadAt,
    pub(super) from_offset: u64,
    pub(super) len_bytes: u64,
}

impl Part<'_> {
    fn slice(&self, start: u64, len_bytes: u64) -> Self {
        Self {
            gpa: Gpa(self.gpa.0.saturating_add(start)),
            to_offset: self.to_offset.saturating_add(start),
            from_offset: self.from_offset.saturating_add(start),
            len_bytes,
            ..*self
        }
    }

    fn error(&self, done: u64, source: io::Error) -> DumpError {
        DumpError::Read(MemoryError::Io { gpa: Gpa(self.gpa.0.saturating_add(done)), source })
    }
}

pub(super) struct Copier<'a> {
    memory: &'a PhysicalMemory,
    output: &'a Output,
    observer: &'a dyn Observer,
    can_clone: bool,
    buffer: Vec<u8>,
    done: u64,
    total: u64,
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        memory: &'a PhysicalMemory,
        output: &'a Output,
        observer: &'a dyn Observer,
        total: u64,
    ) -> Self {
        let can_clone = host::can_clone_in(output.directory());
        let buffer = vec![0; usize::try_from(CHUNK_BYTES).unwrap_or_default()];
        Self { memory, output, observer, can_clone, buffer, done: 0, total }
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
            let to_offset = extent.offset.saturating_add(gpa.0.saturating_sub(extent.gpa.0));
            self.part(Part {
                gpa,
                to_offset,
                source,
                from_offset: start.saturating_add(skip),
                len_bytes,
            })?;
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
        host::read_ahead(file);
        let end = offset.saturating_add(part.len_bytes);
        let mut at = offset;
        while let Some(data) = host::next_data(file, at..end) {
            self.advance(data.start.saturating_sub(at))?;
            let data_part =
                part.slice(data.start.saturating_sub(offset), data.end.saturating_sub(data.start));
            let cloned = self.clone(&data_part, file, data.start)?;
            let rest = data_part.slice(cloned, data_part.len_bytes.saturating_sub(cloned));
            self.data(rest, file, data.start.saturating_add(cloned))?;
            at = data.end;
        }
        self.advance(end.saturating_sub(at))
    }

    /// Shares as much of the part as the file system will; returns how much.
    /// Blocks that it will not share are copied, so its reasons do not matter.
    fn clone(&mut self, part: &Part<'_>, file: &File, offset: u64) -> Result<u64, DumpError> {
        let aligned = offset.is_multiple_of(PAGE_SIZE) && part.to_offset.is_multiple_of(PAGE_SIZE);
        let end = if self.can_clone && aligned { part.len_bytes & !(PAGE_SIZE - 1) } else { 0 };
        self.in_kernel(part, file, offset, end, CLONE_BYTES)
    }

    /// Copies data of a file. The kernel copies in two thirds of the time that
    /// reading and writing take, but stores zero pages too. So it gets what
    /// follows a chunk without any: as much again as there was before, until a
    /// chunk has zero pages again.
    fn data(&mut self, part: Part<'_>, file: &File, offset: u64) -> Result<(), DumpError> {
        let mut done = 0_u64;
        let mut trusted = CHUNK_BYTES;
        while done < part.len_bytes {
            let chunk = part.slice(done, CHUNK_BYTES.min(part.len_bytes.saturating_sub(done)));
            let has_zero_pages = self.chunk(&chunk)?;
            done = done.saturating_add(chunk.len_bytes);
            if has_zero_pages {
                trusted = CHUNK_BYTES;
                continue;
            }
            let len = trusted.min(part.len_bytes.saturating_sub(done));
            let rest = part.slice(done, len);
            done = done.saturating_add(self.in_kernel(
                &rest,
                file,
                offset.saturating_add(done),
                len,
                MAX_KERNEL_BYTES,
            )?);
            trusted = trusted.saturating_mul(2).min(MAX_KERNEL_BYTES);
        }
        Ok(())
    }

    /// Lets the kernel copy `len_bytes`, `step` at a time; returns how far it
    /// came.
    fn in_kernel(
        &mut self,
        part: &Part<'_>,
        file: &File,
        offset: u64,
        len_bytes: u64,
        step: u64,
    ) -> Result<u64, DumpError> {
        let mut done = 0_u64;
        while done < len_bytes {
            let len =
                usize::try_from(len_bytes.saturating_sub(done).min(step)).unwrap_or(usize::MAX);
            let (from, to) = (offset.saturating_add(done), part.to_offset.saturating_add(done));
            match host::copy_range(file, from, self.output.file(), to, len) {
                Ok(0) | Err(_) => break,
                Ok(copied) => {
                    done = done.saturating_add(copied);
                    self.advance(copied)?;
                }
            }
        }
        Ok(done)
    }

    /// Copies by reading and writing.
    fn bytes(&mut self, part: Part<'_>) -> Result<(), DumpError> {
        let mut done = 0_u64;
        while done < part.len_bytes {
            let chunk = part.slice(done, CHUNK_BYTES.min(part.len_bytes.saturating_sub(done)));
            self.chunk(&chunk)?;
            done = done.saturating_add(chunk.len_bytes);
        }
        Ok(())
    }

    /// Copies at most [`CHUNK_BYTES`]; returns whether zero pages were left out.
    fn chunk(&mut self, part: &Part<'_>) -> Result<bool, DumpError> {
        let len = usize::try_from(part.len_bytes).unwrap_or(usize::MAX);
        let Some(chunk) = self.buffer.get_mut(..len) else { return Ok(false) };
        part.source.read_exact_at(part.from_offset, chunk).map_err(|e| part.error(0, e))?;
        let written = write_nonzero(self.output, chunk, part.to_offset)?;
        self.advance(part.len_bytes)?;
        Ok(written < len)
    }

    fn advance(&mut self, bytes: u64) -> Result<(), DumpError> {
        self.done = self.done.saturating_add(bytes);
        self.observer.progress(self.done, self.total);
        if self.observer.is_cancelled() { Err(DumpError::Cancelled) } else { Ok(()) }
    }
}

/// Writes the pages that are not all zero, the file being a hole before; returns
/// how many bytes that were.
fn write_nonzero(output: &Output, chunk: &[u8], offset: u64) -> Result<usize, DumpError> {
    let mut written = 0_usize;
    for (start, bytes) in nonzero_runs(chunk) {
        output.write_all_at(bytes, offset.saturating_add(start as u64))?;
        written = written.saturating_add(bytes.len());
    }
    Ok(written)
}

/// The host file that holds the whole part as it is. A source that changes
/// files on the way gives itself away by where its last byte lies.
pub(super) fn plain_file<'a>(part: &Part<'a>) -> Option<(&'a File, u64)> {
    let rest = part.len_bytes.checked_sub(1)?;
    let (file, offset) = part.source.file_at(part.from_offset)?;
    let (last_file, last) = part.source.file_at(part.from_offset.checked_add(rest)?)?;
    (std::ptr::eq(file, last_file) && offset.checked_add(rest)? == last).then_some((file, offset))
}

/// A file cut short since it was opened would pass for one that ends in a hole.
pub(super) fn require_len(part: &Part<'_>, file: &File, offset: u64) -> Result<(), DumpError> {
    let len = file.metadata().map_err(|source| part.error(0, source))?.len();
    // A device holds more than the 0 bytes it reports.
    let is_short = len != 0 && len < offset.saturating_add(part.len_bytes);
    if is_short {
        let held = len.saturating_sub(offset);
        return Err(part.error(held, io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

/// Runs of pages that are not all zero, each with its position.
fn nonzero_runs(chunk: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0_usize;
    std::iter::from_fn(move || {
        let rest = chunk.get(at..)?;
        let start = at.saturating_add(len_while(rest, is_zero));
        let rest = chunk.get(start..).filter(|rest| !rest.is_empty())?;
        let len = len_while(rest, |page| !is_zero(page));
        at = start.saturating_add(len);
        Some((start, rest.get(..len)?))
    })
}

/// Bytes of the pages at the start for which `holds`.
fn len_while(bytes: &[u8], holds: impl Fn(&[u8]) -> bool) -> usize {
    let pages = pages(bytes).take_while(|page| holds(page));
    pages.map(<[u8]>::len).fold(0, usize::saturating_add)
}

fn pages(bytes: &[u8]) -> std::slice::Chunks<'_, u8> {
    bytes.chunks(ZERO_PAGE.len())
}

/// Comparing with a page of zeroes is one call of the C library's vectorised
/// `memcmp`, which ends at the first byte that differs.
pub(crate) fn is_zero(page: &[u8]) -> bool {
    ZERO_PAGE.get(..page.len()) == Some(page)
}
