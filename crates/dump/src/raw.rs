//! The guest's physical memory as a flat image: the byte at guest physical
//! address A is the byte at file offset A. Holes of the machine are holes of
//! the file, so a reader cannot tell them from zeroes; the summary can.

use std::ops::Range;

use vmss2core_mem::text::shell_path;
use vmss2core_mem::{Gpa, PhysicalMemory, Problem};

use crate::engine::{self, Extent, FileLayout};
use crate::{DumpError, DumpFormat, Job, Summary};

/// Flat physical image.
pub(crate) struct RawImage;

impl DumpFormat for RawImage {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn about(&self) -> &'static str {
        "flat physical memory, file offset = physical address, holes left as holes"
    }

    fn write(&self, job: &Job<'_>) -> Result<Summary, DumpError> {
        let layout = layout(&job.checkpoint.memory)?;
        engine::write(&layout, job)?;
        Ok(Summary {
            path: job.path.to_owned(),
            len_bytes: layout.len_bytes,
            memory_bytes: layout.memory_bytes(),
            problems: holes(&job.checkpoint.memory.ranges()),
            hints: hints(job),
        })
    }
}

/// volatility 3 has plugins for each system.
fn hints(job: &Job<'_>) -> Vec<String> {
    let image = shell_path(job.path);
    if job.facts.windows().is_some() {
        return vec![format!("vol -f {image} windows.pslist")];
    }
    if job.facts.linux().is_some() {
        return vec![format!(
            "vol -f {image} linux.pslist.PsList  # with symbols of this kernel in its own form (ISF)"
        )];
    }
    vec![format!("vol -f {image} banners.Banners")]
}

fn layout(memory: &PhysicalMemory) -> Result<FileLayout, DumpError> {
    let extents: Vec<Extent> = memory
        .ranges()
        .iter()
        .map(|range| Extent {
            offset: range.start,
            gpa: Gpa(range.start),
            len_bytes: range.end.saturating_sub(range.start),
        })
        .collect();
    if extents.is_empty() {
        return Err(DumpError::NoMemory { why: "the checkpoint holds none".to_owned() });
    }
    Ok(FileLayout { extents, len_bytes: memory.end().0, ..FileLayout::default() })
}

fn holes(ranges: &[Range<u64>]) -> Vec<Problem> {
    let first = ranges.first().map(|range| 0..range.start);
    let between = ranges.windows(2).filter_map(|pair| match pair {
        [low, high] => Some(low.end..high.start),
        _ => None,
    });
    first
        .into_iter()
        .chain(between)
        .filter(|hole| !hole.is_empty())
        .map(|hole| {
            Problem::note(format!(
                "no memory at {:#x}..{:#x}: reads as zero in a flat image",
                hole.start, hole.end
            ))
        })
        .collect()
}
