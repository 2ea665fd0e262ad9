//! Sparse members of tar files: a map of runs, then the runs' bytes.

use zerocopy::FromBytes as _;

use super::pax::decimal;
use super::raw::{BLOCK, GnuSparse, GnuSparseBlock, GnuTail, TarHeader, number};
use crate::OpenError;
use crate::source::{Extents, Source};

/// Runs taken at most; a guest's memory of a TiB in runs of a MiB fits.
const MAX_RUNS: u64 = 1 << 20;

/// A member put together from its runs.
pub(super) struct Sparse {
    pub(super) bytes: Extents,
    /// Bytes of its runs that the archive does not hold, and that are zero here.
    pub(super) missing: u64,
}

/// A run: where it belongs in the member, and its length.
type Run = (u64, u64);

/// The member with GNU's old map, and where its data begin. `None` if the map is
/// malformed.
pub(super) fn old_gnu(
    source: &Source,
    header: &TarHeader,
    mut data: u64,
    size: u64,
) -> Result<Option<(Sparse, u64)>, OpenError> {
    let Ok(tail) = GnuTail::ref_from_bytes(&header.tail) else { return Ok(None) };
    let mut runs = Vec::new();
    let mut good = take_runs(&tail.sparse, &mut runs);
    let mut more = tail.isextended != 0;
    while good && more && runs.len() as u64 <= MAX_RUNS && data.saturating_add(BLOCK) <= source.len
    {
        let mut block = [0; 512];
        source.read(data, &mut block)?;
        data = data.saturating_add(BLOCK);
        let Ok(block) = GnuSparseBlock::ref_from_bytes(&block) else { return Ok(None) };
        good = take_runs(&block.sparse, &mut runs);
        more = block.isextended != 0;
    }
    let there = size.min(source.len.saturating_sub(data));
    let member = number(&tail.realsize).filter(|_| good && !more);
    Ok(member.and_then(|len| place(source, data, there, &runs, len)).map(|member| (member, data)))
}

/// Appends the used ones of `map`. `false` if one is malformed.
fn take_runs(map: &[GnuSparse], runs: &mut Vec<Run>) -> bool {
    let used = map.iter().filter(|run| run.offset[0] != 0);
    for run in used {
        let (Some(offset), Some(len)) = (number(&run.offset), number(&run.numbytes)) else {
            return false;
        };
        runs.push((offset, len));
    }
    true
}

/// The member whose map stands before its data, as lines of decimal numbers:
/// the count of runs, then offset and length of each; padded to a block.
pub(super) fn pax_1_0(
    source: &Source,
    data: u64,
    size: u64,
    real_size: Option<u64>,
) -> Result<Option<Sparse>, OpenError> {
    let mut lines = Lines { source, at: data, end: data.saturating_add(size), buffer: Vec::new() };
    let Some(count) = lines.next()?.filter(|count| *count <= MAX_RUNS) else { return Ok(None) };
    let mut runs = Vec::new();
    for _ in 0..count {
        let (Some(offset), Some(len)) = (lines.next()?, lines.next()?) else { return Ok(None) };
        runs.push((offset, len));
    }
    let (at, end) = (lines.at, lines.end);
    let ended = runs.last().and_then(|(offset, len)| offset.checked_add(*len));
    let len = real_size.or(ended).unwrap_or(0);
    Ok(place(source, at, end.saturating_sub(at), &runs, len))
}

/// Numbers on lines, read block by block.
struct Lines<'a> {
    source: &'a Source,
    /// After the blocks read.
    at: u64,
    end: u64,
    /// The part of them that is not used yet, last byte first.
    buffer: Vec<u8>,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<u64>, OpenError> {
        let mut digits = Vec::new();
        while digits.len() <= 20 {
            match self.byte()? {
                None => return Ok(None),
                Some(b'\n') => return Ok(decimal(&digits).filter(|_| !digits.is_empty())),
                Some(byte) => digits.push(byte),
            }
        }
        Ok(None)
    }

    fn byte(&mut self) -> Result<Option<u8>, OpenError> {
        if self.buffer.is_empty() {
            if self.end.saturating_sub(self.at) < BLOCK {
                return Ok(None);
            }
            let mut block = vec![0; 512];
            self.source.read(self.at, &mut block)?;
            self.at = self.at.saturating_add(BLOCK);
            block.reverse();
            self.buffer = block;
        }
        Ok(self.buffer.pop())
    }
}

/// Puts the runs, whose bytes follow each other from `data` on, in their places.
fn place(source: &Source, data: u64, there: u64, runs: &[Run], len: u64) -> Option<Sparse> {
    let mut bytes = Extents::default();
    let mut used = 0_u64;
    for (offset, run) in runs {
        bytes.zero_until(*offset)?;
        let part = (*run).min(there.saturating_sub(used));
        bytes.push(source.bytes.clone(), data.checked_add(used)?, part)?;
        used = used.checked_add(*run)?;
        bytes.zero_until(offset.checked_add(*run)?)?;
    }
    bytes.zero_until(len)?;
    Some(Sparse { bytes, missing: used.saturating_sub(there) })
}
