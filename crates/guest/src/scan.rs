//! Reading all of memory once, in a fixed buffer, without its holes.

use std::ops::ControlFlow;

use vmss2core_mem::{Gpa, PhysicalMemory, Segment};

/// Bytes read at a time; no piece begins less than this after another.
pub(crate) const CHUNK: u64 = 1 << 20;
/// Most bytes read: a few seconds' worth. A search that has met this much data
/// ends, so that asking about a large guest stays quick.
const BUDGET: u64 = 8 << 30;

/// How far a scan came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    /// Everything was seen, or enough.
    Done,
    /// The rest, from this address on, was not looked at.
    UpTo(Gpa),
}

/// Shows `visit` all memory that is not known to be zero, in the order of its
/// addresses, each piece with `overlap` bytes of the next. What cannot be read
/// is passed over.
pub(crate) fn data(
    memory: &PhysicalMemory,
    overlap: usize,
    visit: &mut dyn FnMut(Gpa, &[u8]) -> ControlFlow<()>,
) -> Scanned {
    data_up_to(BUDGET, memory, overlap, visit)
}

/// Scans however much there is.
pub(crate) fn all_data(
    memory: &PhysicalMemory,
    overlap: usize,
    visit: &mut dyn FnMut(Gpa, &[u8]) -> ControlFlow<()>,
) {
    data_up_to(u64::MAX, memory, overlap, visit);
}

fn data_up_to(
    mut left: u64,
    memory: &PhysicalMemory,
    overlap: usize,
    visit: &mut dyn FnMut(Gpa, &[u8]) -> ControlFlow<()>,
) -> Scanned {
    let chunk = usize::try_from(CHUNK).unwrap_or(usize::MAX);
    let mut buf = vec![0; chunk.saturating_add(overlap)];
    for segment in memory.segments() {
        let mut at = 0_u64;
        while let Some(data) = next_data(segment, at) {
            let Some(after) = left.checked_sub(CHUNK) else {
                return Scanned::UpTo(Gpa(segment.start().0.saturating_add(data)));
            };
            left = after;
            let gpa = Gpa(segment.start().0.saturating_add(data));
            let rest = usize::try_from(memory.end().0.saturating_sub(gpa.0)).unwrap_or(usize::MAX);
            let len = rest.min(buf.len());
            let piece = buf.split_at_mut(len).0;
            if memory.read_or_zero(gpa, piece).is_ok() && visit(gpa, piece).is_break() {
                return Scanned::Done;
            }
            at = data.saturating_add(CHUNK);
        }
    }
    Scanned::Done
}

/// Where in a segment the next data begins, at `at` or after it.
fn next_data(segment: &Segment, at: u64) -> Option<u64> {
    if at >= segment.len_bytes() {
        return None;
    }
    let (source, start) = segment.source();
    let Some((file, offset)) = source.file_at(start.saturating_add(at)) else {
        return Some(at);
    };
    let Some(data) = hole::data_from(file, offset) else {
        return Some(at);
    };
    // The segment may be a mosaic of pieces of files. A jump is right only if it
    // lands where one file throughout would have it.
    let last = segment.len_bytes().saturating_sub(1);
    let jump = data.saturating_sub(offset).min(last.saturating_sub(at));
    let landed =
        source.file_at(start.saturating_add(at).saturating_add(jump)).map(|(_, offset)| offset);
    if landed != offset.checked_add(jump) {
        return Some(at);
    }
    (data.saturating_sub(offset) == jump).then_some(at.saturating_add(jump))
}

#[cfg(target_os = "linux")]
mod hole {
    use std::fs::File;

    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;

    /// The first offset from `offset` on that is not in a hole; past every
    /// offset if the rest of the file is one, `None` if it cannot be told.
    ///
    /// This moves the file's position, which positional reads do not use.
    pub(crate) fn data_from(file: &File, offset: u64) -> Option<u64> {
        match seek(file, SeekFrom::Data(offset)) {
            Ok(data) => Some(data),
            Err(Errno::NXIO) => Some(u64::MAX),
            Err(_) => None,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod hole {
    use std::fs::File;

    /// Holes cannot be told from zeroes here, only read.
    pub(crate) fn data_from(_file: &File, _offset: u64) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;

    fn pieces(memory: &PhysicalMemory, overlap: usize) -> (Vec<(u64, usize)>, Scanned) {
        let mut pieces = Vec::new();
        let scanned = data(memory, overlap, &mut |gpa, bytes| {
            pieces.push((gpa.0, bytes.len()));
            ControlFlow::Continue(())
        });
        (pieces, scanned)
    }

    #[test]
    fn all_of_memory_is_shown_with_the_overlap_asked_for() {
        let mut memory = PhysicalMemory::new();
        let len = CHUNK + 0x2000;
        memory.map(Gpa(0x1000), len, Arc::new(vec![1; len.try_into().unwrap()]), 0).unwrap();
        let (pieces, scanned) = pieces(&memory, 16);
        assert_eq!(pieces, [(0x1000, 0x10_0010), (0x10_1000, 0x2000)]);
        assert_eq!(scanned, Scanned::Done);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn holes_of_a_large_sparse_file_are_skipped() {
        let mut file = tempfile::tempfile().unwrap();
        let (len, at) = (256 << 30, 200 << 30);
        file.set_len(len).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(b"here").unwrap();
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0), len, Arc::new(file), 0).unwrap();
        let start = Instant::now();
        let (pieces, scanned) = pieces(&memory, 0);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        assert_eq!(scanned, Scanned::Done);
        assert!(pieces.iter().any(|(gpa, _)| *gpa == at), "{pieces:?}");
    }

    /// A file that is not one piece of memory must not be jumped through.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_mosaic_of_files_is_read_whole() {
        struct Mosaic(std::fs::File, u64);
        impl vmss2core_mem::ReadAt for Mosaic {
            fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
                buf.fill(u8::from(offset >= self.1));
                Ok(())
            }
            fn file_at(&self, offset: u64) -> Option<(&std::fs::File, u64)> {
                (offset < self.1).then_some((&self.0, offset))
            }
        }
        let file = tempfile::tempfile().unwrap();
        file.set_len(CHUNK).unwrap();
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0), 3 * CHUNK, Arc::new(Mosaic(file, CHUNK)), 0).unwrap();
        let (pieces, _) = pieces(&memory, 0);
        assert_eq!(pieces.last().map(|(gpa, _)| *gpa), Some(2 * CHUNK));
    }
}
