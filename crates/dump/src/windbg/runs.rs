//! Which memory goes into a dump, and where in the file.

use std::ops::Range;

use vmss2core_mem::{Gpa, PAGE_SIZE};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::{Form, header_len};
use crate::DumpError;
use crate::engine::{Extent, Literal};
use vmss2core_formats::dmp::{
    BITMAP_SIGNATURE, BitmapHeader, FILL, MAX_RUNS32, MAX_RUNS64, RUNS_BYTES,
};

/// Memory in a file: runs of pages in ascending order, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) extents: Vec<Extent>,
    /// Pages in all runs.
    pub(super) pages: u64,
    /// Length of the file.
    pub(super) end: u64,
}

impl Memory {
    /// These runs, page-aligned and ascending, from `first_page` on.
    fn place(runs: &[Range<u64>], first_page: u64) -> Result<Self, DumpError> {
        let mut memory = Self { end: first_page, ..Self::default() };
        for run in runs {
            let len_bytes = run.end.saturating_sub(run.start);
            memory.extents.push(Extent { offset: memory.end, gpa: Gpa(run.start), len_bytes });
            memory.pages = memory.pages.saturating_add(len_bytes / PAGE_SIZE);
            memory.end = memory.end.checked_add(len_bytes).ok_or(DumpError::TooLarge)?;
        }
        if i64::try_from(memory.end).is_err() {
            return Err(DumpError::TooLarge);
        }
        Ok(memory)
    }

    /// Where a page with these runs lies in a file of this form.
    pub(super) fn of(runs: &[Range<u64>], form: Form, is_64_bit: bool) -> Result<Self, DumpError> {
        let first_page = match form {
            Form::Full => header_len(is_64_bit),
            Form::Bitmap => first_page(runs, is_64_bit)?,
        };
        Self::place(runs, first_page)
    }

    /// File offset of physical memory, with how much follows it in the file.
    pub(super) fn offset_of(&self, gpa: Gpa) -> Option<(u64, u64)> {
        let end = |extent: &Extent| extent.gpa.0.saturating_add(extent.len_bytes);
        let at = self.extents.partition_point(|extent| end(extent) <= gpa.0);
        let extent = self.extents.get(at)?;
        let skip = gpa.0.checked_sub(extent.gpa.0)?;
        Some((extent.offset.checked_add(skip)?, extent.len_bytes.checked_sub(skip)?))
    }
}

/// Whether a full dump can list so many runs. `DUMP_HEADER32` has room for more.
pub(super) fn fits(runs: usize, is_64_bit: bool) -> bool {
    runs <= if is_64_bit { MAX_RUNS64 } else { MAX_RUNS32 }
}

/// The header's list of runs.
pub(super) fn descriptor(memory: &Memory, is_64_bit: bool) -> Result<[u8; RUNS_BYTES], DumpError> {
    let mut list = Vec::new();
    let count = memory.extents.len() as u64;
    let head: &[u64] =
        if is_64_bit { &[count, memory.pages] } else { &[count | memory.pages << 32] };
    list.extend(head.iter().flat_map(|word| word.to_le_bytes()));
    for extent in &memory.extents {
        let (pfn, pages) = (extent.gpa.pfn().0, extent.len_bytes / PAGE_SIZE);
        if is_64_bit {
            list.extend([pfn, pages].iter().flat_map(|word| word.to_le_bytes()));
            continue;
        }
        for value in [pfn, pages] {
            let value = u32::try_from(value).map_err(|_| DumpError::TooLarge)?;
            list.extend(value.to_le_bytes());
        }
    }
    let mut bytes = filled();
    for (to, from) in bytes.iter_mut().zip(list) {
        *to = from;
    }
    Ok(bytes)
}

/// A list of runs that was never written, as Windows leaves it beside a bitmap.
pub(super) fn filled() -> [u8; RUNS_BYTES] {
    let mut bytes = [0; RUNS_BYTES];
    for (to, from) in bytes.iter_mut().zip(FILL.iter().cycle()) {
        *to = *from;
    }
    bytes
}

/// Bits of the bitmap: some readers lose what is not a whole word.
fn bits(runs: &[Range<u64>]) -> Result<u64, DumpError> {
    let end = runs.last().map_or(0, |run| run.end);
    (end / PAGE_SIZE).checked_next_multiple_of(64).ok_or(DumpError::TooLarge)
}

fn first_page(runs: &[Range<u64>], is_64_bit: bool) -> Result<u64, DumpError> {
    let end = bitmap_at(is_64_bit).checked_add(bits(runs)? / 8);
    end.and_then(|end| end.checked_next_multiple_of(PAGE_SIZE)).ok_or(DumpError::TooLarge)
}

/// File offset of the bitmap itself.
pub(super) fn bitmap_at(is_64_bit: bool) -> u64 {
    header_len(is_64_bit).saturating_add(size_of::<BitmapHeader>() as u64)
}

/// The bitmap and its header.
pub(super) fn bitmap(
    runs: &[Range<u64>],
    memory: &Memory,
    is_64_bit: bool,
) -> Result<Vec<Literal>, DumpError> {
    if memory.pages / 8 > MAX_BITMAP_BYTES {
        return Err(DumpError::TooLarge);
    }
    let header = BitmapHeader {
        signature: BITMAP_SIGNATURE,
        options: [0; 24],
        first_page: U64::new(first_page(runs, is_64_bit)?),
        present: U64::new(memory.pages),
        bits: U64::new(bits(runs)?),
    };
    let header = header.as_bytes().to_vec();
    let mut literals = vec![Literal { offset: header_len(is_64_bit), bytes: header }];
    let map = bitmap_at(is_64_bit);
    literals.extend(
        set_bits(runs)
            .into_iter()
            .map(|(byte, bytes)| Literal { offset: map.saturating_add(byte), bytes }),
    );
    Ok(literals)
}

/// Bitmap of 32 TiB of memory: more than a virtual machine can have.
const MAX_BITMAP_BYTES: u64 = 1 << 30;

/// Bytes of zeroes between two parts of the bitmap that are worth two parts: it
/// takes as much memory as there are pages, however far apart they are.
const GAP_BYTES: u64 = 4096;

/// The bitmap's parts that are not zero, with the place of each.
fn set_bits(runs: &[Range<u64>]) -> Vec<(u64, Vec<u8>)> {
    let mut parts: Vec<(u64, Vec<u8>)> = Vec::new();
    for run in runs {
        let pages = run.start / PAGE_SIZE..run.end / PAGE_SIZE;
        let first = pages.start / 8;
        let is_near = |(start, bytes): &(u64, Vec<u8>)| {
            first.saturating_sub(*start) <= GAP_BYTES.saturating_add(bytes.len() as u64)
        };
        if !parts.last().is_some_and(is_near) {
            parts.push((first, Vec::new()));
        }
        if let Some((start, bytes)) = parts.last_mut() {
            let before = start.saturating_mul(8);
            set(bytes, pages.start.saturating_sub(before)..pages.end.saturating_sub(before));
        }
    }
    parts
}

/// Sets a range of bits, the lowest of a byte first.
fn set(bytes: &mut Vec<u8>, bits: Range<u64>) {
    let len = usize::try_from(bits.end.div_ceil(8)).unwrap_or(usize::MAX);
    if bytes.len() < len {
        bytes.resize(len, 0);
    }
    let first = usize::try_from(bits.start / 8).unwrap_or(usize::MAX);
    for (byte, start) in bytes.iter_mut().skip(first).zip((bits.start & !7..).step_by(8)) {
        let low = bits.start.saturating_sub(start).min(8);
        let high = bits.end.saturating_sub(start).min(8);
        *byte |= (0xff_u16 << low & !(0xff << high) & 0xff) as u8;
    }
}

/// The intersection of two ascending lists of ranges.
pub(super) fn intersection(some: &[Range<u64>], others: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut common: Vec<Range<u64>> = Vec::new();
    let mut others = others.iter().peekable();
    for run in some {
        while let Some(other) = others.peek() {
            let both = run.start.max(other.start)..run.end.min(other.end);
            if !both.is_empty() {
                push(&mut common, both);
            }
            if other.end > run.end {
                break;
            }
            others.next();
        }
    }
    common
}

/// Adds a range after the others, joined with the last one where they touch.
pub(super) fn push(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
        _ => ranges.push(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_set_where_pages_are() {
        for (first, last) in [(0, 1), (0, 8), (3, 5), (7, 9), (1, 63), (60, 200), (64, 64)] {
            let mut bytes = Vec::new();
            set(&mut bytes, first..last);
            for bit in 0..256_u64 {
                let byte = bytes.get(usize::try_from(bit / 8).unwrap()).copied().unwrap_or(0);
                let is_set = byte >> (bit % 8) & 1 == 1;
                assert_eq!(is_set, (first..last).contains(&bit), "{first}..{last}: {bit}");
            }
        }
    }

    #[test]
    fn far_runs_do_not_take_the_memory_between_them() {
        let page = |number: u64| number * PAGE_SIZE..(number + 1) * PAGE_SIZE;
        let parts = set_bits(&[page(1), page(11), page(1 << 40)]);
        assert_eq!(parts, [(0, vec![2, 8]), (1 << 37, vec![1])]);
    }

    fn ranges(list: &[(u64, u64)]) -> Vec<Range<u64>> {
        list.iter().map(|(start, end)| *start..*end).collect()
    }

    #[test]
    fn intersections_keep_what_both_have() {
        let some = ranges(&[(0, 10), (20, 30), (40, 50)]);
        for (others, want) in [
            (ranges(&[(0, 100)]), some.clone()),
            (ranges(&[(5, 25)]), ranges(&[(5, 10), (20, 25)])),
            (
                ranges(&[(0, 2), (4, 6), (9, 21), (49, 60)]),
                ranges(&[(0, 2), (4, 6), (9, 10), (20, 21), (49, 50)]),
            ),
            (ranges(&[(10, 20)]), Vec::new()),
        ] {
            assert_eq!(intersection(&some, &others), want);
            assert_eq!(intersection(&others, &some), want);
        }
    }
}
