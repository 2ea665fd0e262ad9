//! Where in the guest's address space an image without description can belong.

use std::ops::Range;

use vmss2core_mem::{Gpa, PAGE_SIZE, PhysicalMemory, Problem};

use crate::source::Source;

/// A part of the address space that machines of some product leave without
/// memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    /// Guest physical addresses.
    pub(crate) range: Range<u64>,
    /// Whose hole it is, for people.
    pub(crate) found: String,
}

/// One way to lay an image out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    hole: Option<Hole>,
    len: u64,
}

impl Layout {
    /// The ways for an image of `len` bytes, likeliest first. A hole after the
    /// end of the memory makes no difference.
    pub(super) fn candidates(len: u64, holes: Vec<Hole>) -> Vec<Self> {
        let mut layouts: Vec<Self> = Vec::new();
        for hole in holes {
            let known =
                layouts.iter().any(|l| l.hole.as_ref().is_some_and(|h| h.range == hole.range));
            let whole_pages = [hole.range.start, hole.range.end].map(|at| at % PAGE_SIZE) == [0; 2];
            let fits = hole.range.start < hole.range.end
                && len.checked_add(hole.range.end.saturating_sub(hole.range.start)).is_some();
            if hole.range.start < len && fits && whole_pages && !known {
                layouts.push(Self { hole: Some(hole), len });
            }
        }
        layouts.push(Self { hole: None, len });
        layouts
    }

    /// The offset in the image of `gpa`, if that is memory.
    pub(super) fn offset(&self, gpa: u64) -> Option<u64> {
        let offset = match &self.hole {
            Some(hole) if hole.range.contains(&gpa) => return None,
            Some(hole) if gpa >= hole.range.end => {
                gpa.saturating_sub(hole.range.end.saturating_sub(hole.range.start))
            }
            _ => gpa,
        };
        (offset < self.len).then_some(offset)
    }

    /// Maps the image.
    pub(super) fn map(&self, source: &Source, problems: &mut Vec<Problem>) -> PhysicalMemory {
        let mut memory = PhysicalMemory::new();
        let low = self.low_len();
        let high =
            self.hole.as_ref().map(|hole| (hole.range.end, low, self.len.saturating_sub(low)));
        for (start, offset, len) in [(0, 0, low)].into_iter().chain(high) {
            if let Err(error) = memory.map(Gpa(start), len, source.bytes.clone(), offset) {
                problems.push(Problem::incomplete(error.to_string()));
            }
        }
        memory
    }

    /// The first guest physical address after the memory.
    pub(super) fn end(&self) -> u64 {
        let hole = self.hole.as_ref().filter(|hole| hole.range.start < self.len);
        let len = hole.map_or(0, |hole| hole.range.end.saturating_sub(hole.range.start));
        self.len.saturating_add(len)
    }

    /// Bytes of the image below the hole.
    pub(super) fn low_len(&self) -> u64 {
        self.hole.as_ref().map_or(self.len, |hole| hole.range.start.min(self.len))
    }
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.hole {
            None => write!(f, "without a hole"),
            Some(Hole { range, found }) => {
                write!(f, "with a hole from {:#x} to {:#x} ({found})", range.start, range.end)
            }
        }
    }
}
