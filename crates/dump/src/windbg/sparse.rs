//! Which memory is not zero.

use std::ops::Range;

use vmss2core_mem::{Gpa, PAGE_SIZE};

use super::runs::push;
use crate::engine::{data_ranges, is_zero};
use crate::{DumpError, Job};

/// Zeroes are left out by this much, aligned. Shorter stretches would make long
/// lists, and as holes of the file they cost nothing anyway.
const BLOCK_BYTES: u64 = 64 * 1024;

/// The parts of `runs` without blocks of zeroes, but with the pages at `keep`.
pub(super) fn nonzero(
    job: &Job<'_>,
    runs: &[Range<u64>],
    keep: &[Gpa],
) -> Result<Vec<Range<u64>>, DumpError> {
    let mut found = Vec::new();
    let mut scan = Scan { job, buffer: vec![0; usize::try_from(BLOCK_BYTES).unwrap_or(0)] };
    for run in runs {
        for data in data_ranges(&job.checkpoint.memory, run.clone())? {
            // Holes of a file need not begin with a page.
            let start = Gpa(data.start).page_start().0;
            let end = data.end.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX);
            scan.range(start.max(run.start)..end.min(run.end), &mut found)?;
        }
    }
    Ok(with_pages(found, runs, keep))
}

struct Scan<'a> {
    job: &'a Job<'a>,
    buffer: Vec<u8>,
}

impl Scan<'_> {
    fn range(&mut self, range: Range<u64>, found: &mut Vec<Range<u64>>) -> Result<(), DumpError> {
        let mut at = range.start;
        while at < range.end {
            let next = at.saturating_add(1).checked_next_multiple_of(BLOCK_BYTES);
            let end = next.unwrap_or(u64::MAX).min(range.end);
            if !self.is_zero(at..end)? {
                push(found, at..end);
            }
            if self.job.observer.is_cancelled() {
                return Err(DumpError::Cancelled);
            }
            at = end;
        }
        Ok(())
    }

    fn is_zero(&mut self, block: Range<u64>) -> Result<bool, DumpError> {
        let len = usize::try_from(block.end.saturating_sub(block.start)).unwrap_or(usize::MAX);
        let Some(bytes) = self.buffer.get_mut(..len) else { return Ok(false) };
        self.job.checkpoint.memory.read(Gpa(block.start), bytes)?;
        Ok(bytes.chunks(4096).all(is_zero))
    }
}

/// `found` with single pages of `runs` added.
fn with_pages(found: Vec<Range<u64>>, runs: &[Range<u64>], keep: &[Gpa]) -> Vec<Range<u64>> {
    let is_ram = |gpa: u64| runs.iter().any(|run| run.contains(&gpa));
    let pages = keep.iter().map(|gpa| gpa.page_start().0).filter(|gpa| is_ram(*gpa));
    let pages = pages.map(|gpa| gpa..gpa.saturating_add(PAGE_SIZE));
    let mut all: Vec<Range<u64>> = found.into_iter().chain(pages).collect();
    all.sort_unstable_by_key(|range| range.start);
    let mut joined = Vec::new();
    for range in all {
        push(&mut joined, range);
    }
    joined
}
