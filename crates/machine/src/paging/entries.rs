//! Visiting page table entries one by one, those that are not present included:
//! an operating system keeps there where a page is instead.
//!
//! Only the entries for the range that was asked for are read, so that a small
//! range costs a few bytes and an empty one of any size costs as little.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use vmss2core_mem::{Gpa, little_endian};

use super::AddressSpace;
use super::level::{Entry, Level};

/// A part of the range, as one entry has it. What no entry has is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First address, not before the range.
    pub gva: u64,
    /// Length in bytes; the part does not go on after the range.
    pub len: u64,
    /// The entry, decoded.
    pub state: PartState,
}

/// A decoded entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartState {
    /// Mapped to physical memory that the checkpoint may hold or not.
    Present(Gpa),
    /// Not present, but not empty either.
    Absent {
        /// The entry.
        entry: u64,
        /// Bytes that the entry is for.
        page_len: u64,
        /// Where in these the part begins.
        skip: u64,
    },
    /// The table is not available, or leads in a circle.
    Broken,
}

/// Limits and memory of visits.
#[derive(Debug)]
pub struct Visits {
    /// For each table and level, the address that it was entered for: no table
    /// of a process serves two.
    entered: HashMap<(u64, u8), u64>,
    /// How many tables may still be read.
    left: u64,
}

impl Visits {
    /// Visits that may read this many tables.
    pub fn new(tables: u64) -> Self {
        Self { entered: HashMap::new(), left: tables }
    }

    /// How many tables may still be read.
    pub fn left(&self) -> u64 {
        self.left
    }

    fn may_enter(&mut self, table: Gpa, level: Level, base: u64) -> bool {
        let known = *self.entered.entry((table.0, level.number)).or_insert(base);
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        known == base
    }
}

impl AddressSpace {
    /// Reports the entries for `range` that are not empty, in order. Addresses
    /// are those of the lower half: nothing is sign extended.
    pub fn visit_entries(
        &self,
        range: Range<u64>,
        visits: &mut Visits,
        visit: &mut dyn FnMut(Part) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let levels = self.mode.levels();
        if range.is_empty() || levels.is_empty() {
            return ControlFlow::Continue(());
        }
        let mut walk = Walk { space: self, range, visits, visit };
        walk.table(levels, self.root.0, 0)
    }
}

struct Walk<'w> {
    space: &'w AddressSpace,
    range: Range<u64>,
    visits: &'w mut Visits,
    visit: &'w mut dyn FnMut(Part) -> ControlFlow<()>,
}

impl Walk<'_> {
    /// Walks the table at `gpa`, whose first entry is for the address `base`.
    /// `levels` are its own level and those below: recursion ends with them.
    fn table(&mut self, levels: &[Level], gpa: Gpa, base: u64) -> ControlFlow<()> {
        let Some((&level, below)) = levels.split_first() else {
            return ControlFlow::Continue(());
        };
        let covered = base..base.saturating_add(u64::from(level.entries) << level.shift);
        let (first, last) =
            (self.range.start.max(base), self.range.end.min(covered.end).saturating_sub(1));
        if first > last {
            return ControlFlow::Continue(());
        }
        let entry_len = usize::from(level.entry_len);
        let skip = level.entry_offset(first);
        let len = level
            .entry_offset(last)
            .saturating_sub(skip)
            .saturating_add(u64::from(level.entry_len));
        let mut bytes = [0; 4096];
        let wanted = bytes.split_at_mut(usize::try_from(len).unwrap_or(0).min(4096)).0;
        let is_new = self.visits.may_enter(gpa, level, base);
        if !is_new || self.space.memory.read(Gpa(gpa.0.saturating_add(skip)), wanted).is_err() {
            return self.part(covered, |_| PartState::Broken);
        }
        let mut at = first & !level.page_len().saturating_sub(1);
        for entry in wanted.chunks_exact(entry_len) {
            self.entry(level, below, little_endian(entry), at)?;
            at = at.wrapping_add(level.page_len());
        }
        ControlFlow::Continue(())
    }

    fn entry(&mut self, level: Level, below: &[Level], entry: u64, at: u64) -> ControlFlow<()> {
        let page_len = level.page_len();
        let page = at..at.saturating_add(page_len);
        match level.decode(entry, self.space.nx) {
            Entry::NotPresent if entry == 0 => ControlFlow::Continue(()),
            Entry::NotPresent => {
                self.part(page, |skip| PartState::Absent { entry, page_len, skip })
            }
            Entry::Reserved => self.part(page, |_| PartState::Broken),
            Entry::Table(next, _) => self.table(below, next, at),
            Entry::Page(gpa, _) => {
                self.part(page, |skip| PartState::Present(Gpa(gpa.0.saturating_add(skip))))
            }
        }
    }

    /// Reports what of `page` lies in the range; `state` gets how far into the
    /// page that begins.
    fn part(&mut self, page: Range<u64>, state: impl Fn(u64) -> PartState) -> ControlFlow<()> {
        let start = page.start.max(self.range.start);
        let end = page.end.min(self.range.end);
        (self.visit)(Part {
            gva: start,
            len: end.saturating_sub(start),
            state: state(start.saturating_sub(page.start)),
        })
    }
}
