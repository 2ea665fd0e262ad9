//! Reading all of memory once, in a fixed buffer, without its holes.

use std::ops::ControlFlow;

use vmss2core_mem::{Gpa, PhysicalMemory, Segment};

/// Bytes read at a time.
const CHUNK: u64 = 1 << 20;
/// Most bytes read: a few seconds' worth. A search that has met this much data
/// ends, so that asking about a large guest stays quick.
const BUDGET: u64 = 8 << 30;

/// How far a scan came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// Everything was seen, or enough.
    Done,
    /// The rest, from this address on, was not looked at.
    UpTo(Gpa),
}

/// Shows `visit` all memory that is not known to be zero, in the order of its
/// addresses, each piece with `overlap` bytes of the next. What cannot be read
/// is passed over.
pub(super) fn data(
    memory: &PhysicalMemory,
    overlap: usize,
    visit: &mut dyn FnMut(Gpa, &[u8]) -> ControlFlow<()>,
) -> Scanned {
    let chunk = usize::try_from(CHUNK).unwrap_or(usize::MAX);
    let mut buf = vec![0; chunk.saturating_add(overlap)];
    let mut left = BUDGET;
    for segment in memory.segments() {
        let mut at = 0;
        while let Some(data) = next_data(segment, at) {
            let Some(after) = left.checked_sub(CHUNK) else {
                return Scanned::UpTo(Gpa(segment.start().0 + data));
            };
            left = after;
            let gpa = Gpa(segment.start().0 + data);
            let rest = usize::try_from(memory.end().0 - gpa.0).unwrap_or(usize::MAX);
            let len = rest.min(buf.len());
            let piece = buf.split_at_mut(len).0;
            if memory.read_or_zero(gpa, piece).is_ok() && visit(gpa, piece).is_break() {
                return Scanned::Done;
            }
            at = data + CHUNK;
        }
    }
    Scanned::Done
}

/// Where in a segment the next data begins, at `at` or behind it.
fn next_data(segment: &Segment, at: u64) -> Option<u64> {
    if at >= segment.len_bytes() {
        return None;
    }
    let (source, start) = segment.source();
    let Some((file, offset)) = source.file_at(start + at) else {
        return Some(at);
    };
    let Some(data) = hole::data_from(file, offset) else {
        return Some(at);
    };
    // The segment may be a mosaic of pieces of files. A jump is right only if it
    // lands where one file throughout would have it.
    let last = segment.len_bytes() - 1;
    let jump = data.saturating_sub(offset).min(last - at);
    let landed = source.file_at(start + at + jump).map(|(_, offset)| offset);
    if landed != offset.checked_add(jump) {
        return Some(at);
    }
    (data - offset == jump).then_some(at + jump)
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
    pub(super) fn data_from(file: &File, offset: u64) -> Option<u64> {
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
    pub(super) fn data_from(_file: &File, _offset: u64) -> Option<u64> {
        None
    }
}
