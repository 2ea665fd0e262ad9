//! The physical view: guest memory at its physical addresses.

use std::ops::Range;

use vmss2core_mem::{Gpa, PAGE_SIZE, PhysicalMemory};

use super::segments::{Access, Body, Load};
use crate::{DumpError, Job};

/// Video memory and option ROMs of a PC; never RAM, though VMware's memory file
/// has bytes there.
const VIDEO: Range<u64> = 0xa_0000..0xc_0000;

/// The whole pages that the checkpoint holds. A file cut short may end within
/// one, which no debugger could show.
pub(crate) fn page_ranges(memory: &PhysicalMemory) -> Vec<Range<u64>> {
    memory
        .ranges()
        .into_iter()
        .filter_map(|range| {
            let start = range.start.checked_next_multiple_of(PAGE_SIZE)?;
            let end = range.end & !(PAGE_SIZE - 1);
            (start < end).then_some(start..end)
        })
        .collect()
}

/// The guest's memory in whole pages, less the video memory of a PC.
pub(crate) fn ram(job: &Job<'_>) -> Vec<Range<u64>> {
    page_ranges(&job.checkpoint.memory).into_iter().flat_map(without_video).collect()
}

fn without_video(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let below = range.start..range.end.min(VIDEO.start);
    let above = range.start.max(VIDEO.end)..range.end;
    [below, above].into_iter().filter(|part| part.start < part.end)
}

/// One segment for each stretch of memory.
pub(crate) fn physical_body(job: &Job<'_>) -> Result<Body, DumpError> {
    let mut body = Body::default();
    for range in page_ranges(&job.checkpoint.memory) {
        let len_bytes = range.end.saturating_sub(range.start);
        let offset = body.append(Gpa(range.start), len_bytes)?;
        let (vaddr, paddr) = (range.start, range.start);
        body.loads.push(Load { vaddr, paddr, offset, len_bytes, access: Access::ALL });
    }
    if body.loads.is_empty() {
        return Err(DumpError::NoMemory { why: "the checkpoint holds no whole page".to_owned() });
    }
    Ok(body)
}
