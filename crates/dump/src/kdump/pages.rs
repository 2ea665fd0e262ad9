//! Which pages go into the file, in portions that can be compressed side by
//! side.

use std::collections::VecDeque;
use std::ops::Range;

use vmss2core_mem::{PAGE_SIZE, PhysicalMemory};

use super::filter::Kept;
use crate::DumpError;
use crate::engine::data_ranges;

/// Pages that are looked at together: the kernel describes 128 MiB in one go.
const WINDOW_PAGES: u64 = 32 << 10;
/// Most pages with data in a portion: 256 KiB, which the caches of a processor
/// hold together with what they become.
pub(super) const PORTION_PAGES: u64 = 64;
/// Most runs in a portion; in a guest full of holes each page may be one.
const PORTION_RUNS: usize = 256;

/// Pages that follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) pfns: Range<u64>,
    /// All zero, without having to look.
    pub(super) is_hole: bool,
}

impl Run {
    fn pages(&self) -> u64 {
        self.pfns.end.saturating_sub(self.pfns.start)
    }
}

/// Pages that are compressed in one go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Portion {
    /// Its number, from 0 on.
    pub(super) index: u64,
    pub(super) runs: Vec<Run>,
    /// Bytes of memory up to its end, with what is left out.
    pub(super) done_bytes: u64,
}

/// Makes the portions, in ascending order of their pages.
pub(super) struct Portions<'a> {
    memory: &'a PhysicalMemory,
    /// The rest of the memory.
    windows: Windows,
    kept: &'a Kept,
    /// The rest of the window.
    runs: VecDeque<Run>,
    next_index: u64,
    /// Bytes of memory up to the window's end.
    window_end_bytes: u64,
}

impl<'a> Portions<'a> {
    /// `ranges` are whole pages that the checkpoint holds, by address.
    pub(super) fn new(memory: &'a PhysicalMemory, ranges: &[Range<u64>], kept: &'a Kept) -> Self {
        Self {
            memory,
            windows: windows(ranges),
            kept,
            runs: VecDeque::new(),
            next_index: 0,
            window_end_bytes: 0,
        }
    }

    /// The next portion; one without runs says only how far it is.
    pub(super) fn next(&mut self) -> Result<Option<Portion>, DumpError> {
        if self.runs.is_empty() && !self.open_window()? {
            return Ok(None);
        }
        let mut portion = Portion { index: self.next_index, ..Portion::default() };
        self.next_index = self.next_index.saturating_add(1);
        let mut room = PORTION_PAGES;
        while room > 0
            && portion.runs.len() < PORTION_RUNS
            && let Some(run) = self.runs.pop_front()
        {
            if !run.is_hole && run.pages() > room {
                let cut = run.pfns.start.saturating_add(room);
                self.runs.push_front(Run { pfns: cut..run.pfns.end, ..run });
                portion.runs.push(Run { pfns: run.pfns.start..cut, ..run });
                break;
            }
            room = room.saturating_sub(if run.is_hole { 0 } else { run.pages() });
            portion.runs.push(run);
        }
        let left = self.runs.front().zip(self.runs.back());
        let left = left.map_or(0, |(first, last)| last.pfns.end.saturating_sub(first.pfns.start));
        portion.done_bytes = self.window_end_bytes.saturating_sub(left.saturating_mul(PAGE_SIZE));
        Ok(Some(portion))
    }

    /// Looks at the next part of memory; `false` if there is none.
    fn open_window(&mut self) -> Result<bool, DumpError> {
        let Some(window) = self.windows.next() else { return Ok(false) };
        let kept = self.kept.within(window.clone());
        let data = data_pages(self.memory, &window)?;
        self.runs.extend(split(&kept, &data));
        self.window_end_bytes = self
            .window_end_bytes
            .saturating_add(window.end.saturating_sub(window.start).saturating_mul(PAGE_SIZE));
        Ok(true)
    }
}

/// The parts of memory that are looked at in one go, as page numbers.
pub(super) struct Windows(VecDeque<Range<u64>>);

/// Parts of these addresses.
pub(super) fn windows(ranges: &[Range<u64>]) -> Windows {
    Windows(page_numbers(ranges).collect())
}

impl Iterator for Windows {
    type Item = Range<u64>;

    /// Windows end where the kernel's sections do, so each is in one.
    fn next(&mut self) -> Option<Self::Item> {
        let range = self.0.front_mut()?;
        let end = range
            .end
            .min((range.start / WINDOW_PAGES).saturating_add(1).saturating_mul(WINDOW_PAGES));
        let window = range.start..end;
        range.start = end;
        if range.is_empty() {
            self.0.pop_front();
        }
        Some(window)
    }
}

/// Ranges of whole pages as page numbers.
pub(super) fn page_numbers(ranges: &[Range<u64>]) -> impl Iterator<Item = Range<u64>> {
    ranges.iter().map(|range| range.start / PAGE_SIZE..range.end / PAGE_SIZE)
}

/// How many whole pages there are in the ranges.
pub(super) fn page_count(ranges: &[Range<u64>]) -> u64 {
    let counts = page_numbers(ranges).map(|pages| pages.end.saturating_sub(pages.start));
    counts.fold(0, u64::saturating_add)
}

/// The pages of a window that are no holes. A hole of a file need not begin
/// where a page of the guest does.
fn data_pages(memory: &PhysicalMemory, window: &Range<u64>) -> Result<Vec<Range<u64>>, DumpError> {
    let mut pages: Vec<Range<u64>> = Vec::new();
    for range in data_ranges(
        memory,
        window.start.saturating_mul(PAGE_SIZE)..window.end.saturating_mul(PAGE_SIZE),
    )? {
        let (start, end) = (range.start / PAGE_SIZE, range.end.div_ceil(PAGE_SIZE));
        match pages.last_mut() {
            Some(last) if start <= last.end => last.end = end,
            _ => pages.push(start..end),
        }
    }
    Ok(pages)
}

/// The pages that are kept, split by whether they are data.
fn split(kept: &[Range<u64>], data: &[Range<u64>]) -> Vec<Run> {
    let mut runs = Vec::new();
    for kept in kept {
        let mut at = kept.start;
        let first = data.partition_point(|data| data.end <= kept.start);
        for data in data.iter().skip(first).take_while(|data| data.start < kept.end) {
            let (start, end) = (data.start.max(at), data.end.min(kept.end));
            runs.push(Run { pfns: at..start, is_hole: true });
            runs.push(Run { pfns: start..end, is_hole: false });
            at = end;
        }
        runs.push(Run { pfns: at..kept.end, is_hole: true });
    }
    runs.retain(|run| !run.pfns.is_empty());
    runs
}
