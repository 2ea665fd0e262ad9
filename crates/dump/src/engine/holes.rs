//! Which guest memory is a hole of the file it lies in, and so zero without
//! having to be read.

use std::ops::Range;

use vmss2core_mem::{Gpa, MemoryError, PhysicalMemory, Piece};

use super::copy::{Part, plain_file, require_len};
use super::host;
use crate::DumpError;

/// The parts of `range` that are not holes, in ascending order and joined. All
/// of `range` must be present.
pub(crate) fn data_ranges(
    memory: &PhysicalMemory,
    range: Range<u64>,
) -> Result<Vec<Range<u64>>, DumpError> {
    let mut found = Vec::new();
    for piece in memory.pieces(Gpa(range.start), range.end.saturating_sub(range.start)) {
        match piece {
            Piece::Absent { gpa, .. } => {
                return Err(DumpError::Read(MemoryError::NotPresent { gpa }));
            }
            Piece::Present { gpa, len, segment, skip } => {
                let (source, start) = segment.source();
                let part = Part {
                    gpa,
                    to_offset: 0,
                    source,
                    from_offset: start.saturating_add(skip),
                    len_bytes: len,
                };
                data_of(&part, &mut found)?;
            }
        }
    }
    Ok(found)
}

fn data_of(part: &Part<'_>, found: &mut Vec<Range<u64>>) -> Result<(), DumpError> {
    let Some((file, offset)) = plain_file(part) else {
        push(found, part.gpa.0..part.gpa.0.saturating_add(part.len_bytes));
        return Ok(());
    };
    require_len(part, file, offset)?;
    let end = offset.saturating_add(part.len_bytes);
    let mut at = offset;
    while let Some(data) = host::next_data(file, at..end) {
        let gpa = |file_offset: u64| part.gpa.0.saturating_add(file_offset.saturating_sub(offset));
        push(found, gpa(data.start)..gpa(data.end));
        at = data.end;
    }
    Ok(())
}

fn push(found: &mut Vec<Range<u64>>, range: Range<u64>) {
    match found.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => found.push(range),
    }
}
