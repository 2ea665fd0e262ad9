//! Listing everything that a set of page tables maps.
//!
//! Page tables may be shared and may loop: KASAN maps 16 TiB through one chain
//! of tables, Linux' espfix clones one table 2048 times, and a crafted set can
//! claim 2^36 pages from a handful of tables. So a table is entered a few times
//! per level at most, the number of tables entered and of runs reported is
//! capped, and runs are merged while walking: time and memory do not depend on
//! what the tables claim.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use vmss2core_mem::{Gpa, Gva, PAGE_SIZE, little_endian};

use super::level::{Entry, Level};
use super::{AccessError, AddressSpace, Permissions};

/// Longest run that one [`Leaf`] describes, in pages.
const MAX_PAGES: u64 = u32::MAX as u64;

/// Size of the largest table.
const TABLE_LEN: usize = 4096;

/// A run of mapped memory: adjacent in virtual and physical addresses, with the
/// same permissions throughout, and held by the checkpoint. 24 bytes, because
/// there may be a million of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// First virtual address.
    pub gva: Gva,
    /// Its physical address.
    pub gpa: Gpa,
    /// Length in pages of 4096 bytes, never 0.
    pub pages: u32,
    /// Rights that the tables give.
    pub permissions: Permissions,
}

const _: () = assert!(size_of::<Leaf>() == 24);

impl Leaf {
    /// Length in bytes. The run may end at 2^64, so add with care.
    pub fn len_bytes(&self) -> u64 {
        u64::from(self.pages) * PAGE_SIZE
    }

    /// First virtual address after the run; of one that ends at 2^64 the last there is.
    pub fn end(&self) -> u64 {
        self.gva.0.saturating_add(self.len_bytes())
    }
}

/// How far a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How often one table may be entered at one level.
    pub visits_per_table: u8,
    /// How many tables may be entered in all: a time limit that does not
    /// depend on the machine, and the limit of the walk's own memory.
    pub tables: u32,
    /// How many runs may be reported.
    pub runs: u32,
}

impl Default for Limits {
    /// Enough for 1 TiB mapped in 4 KiB pages; at most 27 MiB of memory for
    /// the walk and 24 MiB for its [`Leaves`].
    fn default() -> Self {
        Self { visits_per_table: 8, tables: 1 << 19, runs: 1 << 20 }
    }
}

/// Counts of everything that a walk met and did not report.
#[derive(Debug, Default)]
pub struct WalkSummary {
    /// Tables entered.
    pub tables: u64,
    /// Entries that lead to a table already entered as often as allowed.
    pub tables_omitted: u64,
    /// Entries that lead to a table the checkpoint does not hold.
    pub tables_outside_ram: u64,
    /// Tables that could not be read in full, and why the first could not.
    pub tables_unreadable: u64,
    /// The first such failure.
    pub first_error: Option<AccessError>,
    /// Bytes mapped to physical addresses that the checkpoint does not hold:
    /// devices, video memory, or a missing part.
    pub bytes_outside_ram: u64,
    /// Entries skipped because a reserved bit is set.
    pub reserved_skipped: u64,
    /// Whether a limit, or the visitor, ended the walk early.
    pub truncated: bool,
}

/// Everything a set of page tables maps.
#[derive(Debug, Default)]
pub struct Leaves {
    /// The runs, sorted by virtual address.
    pub leaves: Vec<Leaf>,
    /// Counts of what is not among them.
    pub summary: WalkSummary,
}

impl AddressSpace {
    /// All that is mapped to memory of the checkpoint.
    pub fn leaves(&self, limits: &Limits) -> Leaves {
        let mut leaves = Vec::new();
        let summary = self.walk(limits, &mut |leaf| {
            leaves.push(leaf);
            ControlFlow::Continue(())
        });
        Leaves { leaves, summary }
    }

    /// Reports all that is mapped to memory of the checkpoint to `visit`, in the
    /// order of virtual addresses, until that breaks off.
    pub fn walk(
        &self,
        limits: &Limits,
        visit: &mut dyn FnMut(Leaf) -> ControlFlow<()>,
    ) -> WalkSummary {
        self.walk_range(0..self.mode.address_end(), limits, visit)
    }

    /// Walks a range of virtual addresses. A page that
    /// begins before the range or ends after it is reported whole.
    pub fn walk_range(
        &self,
        range: Range<u64>,
        limits: &Limits,
        visit: &mut dyn FnMut(Leaf) -> ControlFlow<()>,
    ) -> WalkSummary {
        let mut walk = Walk {
            space: self,
            range,
            limits: *limits,
            ranges: self.memory.ranges(),
            visits: HashMap::new(),
            pending: None,
            reported: 0,
            visit,
            summary: WalkSummary::default(),
        };
        let end = walk.everything();
        walk.summary.truncated |= end.is_break();
        walk.summary
    }
}

/// A run before it is clipped to what the checkpoint holds.
#[derive(Clone, Copy)]
struct Run {
    gva: u64,
    gpa: u64,
    len: u64,
    permissions: Permissions,
}

struct Walk<'s> {
    space: &'s AddressSpace,
    range: Range<u64>,
    limits: Limits,
    /// The content of the checkpoint.
    ranges: Vec<Range<u64>>,
    /// How often a table was entered, by address and level.
    visits: HashMap<u64, u8>,
    /// The run that the next page may continue.
    pending: Option<Run>,
    reported: u32,
    visit: &'s mut dyn FnMut(Leaf) -> ControlFlow<()>,
    summary: WalkSummary,
}

impl Walk<'_> {
    fn everything(&mut self) -> ControlFlow<()> {
        let levels = self.space.mode.levels();
        if levels.is_empty() {
            let permissions = Permissions::ALL;
            let len = self.space.mode.address_end();
            self.page(Run { gva: 0, gpa: 0, len, permissions })?;
        } else {
            self.table(levels, self.space.root.0, 0, Permissions::ALL)?;
        }
        self.flush()
    }

    /// Walks the table at `gpa`, whose first entry is for the address `base`.
    /// `levels` are its own level and those below: recursion ends with them.
    fn table(
        &mut self,
        levels: &[Level],
        gpa: Gpa,
        base: u64,
        allowed: Permissions,
    ) -> ControlFlow<()> {
        let Some((&level, below)) = levels.split_first() else {
            return ControlFlow::Continue(());
        };
        if !self.may_enter(gpa, level)? {
            return ControlFlow::Continue(());
        }
        let mut bytes = [0; TABLE_LEN];
        let table = bytes.split_at_mut(level.table_len()).0;
        if !self.read_table(gpa, level, base, table) {
            return ControlFlow::Continue(());
        }
        let entries = table.chunks_exact(usize::from(level.entry_len));
        for (entry, index) in entries.zip(0_u64..) {
            let gva = self
                .space
                .mode
                .extended(base.saturating_add(index.unbounded_shl(level.shift.into())));
            if self.in_range(gva, level) {
                self.entry(level, below, little_endian(entry), gva, allowed)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn entry(
        &mut self,
        level: Level,
        below: &[Level],
        entry: u64,
        gva: u64,
        allowed: Permissions,
    ) -> ControlFlow<()> {
        match level.decode(entry, self.space.nx) {
            Entry::NotPresent => {}
            Entry::Reserved => {
                self.summary.reserved_skipped = self.summary.reserved_skipped.saturating_add(1);
            }
            Entry::Table(next, permissions) => {
                self.table(below, next, gva, allowed.and(permissions))?;
            }
            Entry::Page(gpa, permissions) => {
                let permissions = allowed.and(permissions);
                self.page(Run { gva, gpa: gpa.0, len: level.page_len(), permissions })?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Counts the visit; breaks if the walk has gone on for long enough.
    fn may_enter(&mut self, gpa: Gpa, level: Level) -> ControlFlow<(), bool> {
        // Tables are at least 32-byte aligned, which leaves room for the level.
        let visits = self.visits.entry(gpa.0 | u64::from(level.number)).or_default();
        if *visits >= self.limits.visits_per_table {
            self.summary.tables_omitted = self.summary.tables_omitted.saturating_add(1);
            return ControlFlow::Continue(false);
        }
        *visits = visits.saturating_add(1);
        if self.summary.tables >= u64::from(self.limits.tables) {
            return ControlFlow::Break(());
        }
        self.summary.tables = self.summary.tables.saturating_add(1);
        ControlFlow::Continue(true)
    }

    /// Reads a table, what is absent of it as zero; false if nothing is there.
    fn read_table(&mut self, gpa: Gpa, level: Level, base: u64, table: &mut [u8]) -> bool {
        let source = match self.space.memory.read_or_zero(gpa, table) {
            Ok(0) => return true,
            Ok(absent) => {
                self.summary.tables_outside_ram = self.summary.tables_outside_ram.saturating_add(1);
                return absent < table.len() as u64;
            }
            Err(source) => source,
        };
        self.summary.tables_unreadable = self.summary.tables_unreadable.saturating_add(1);
        let gva = Gva(self.space.mode.extended(base));
        let error = AccessError::Table { gva, level: level.number, source };
        self.summary.first_error.get_or_insert(error);
        false
    }

    fn in_range(&self, gva: u64, level: Level) -> bool {
        let last = gva | level.page_len().saturating_sub(1);
        last >= self.range.start && gva < self.range.end
    }

    /// Takes a page, as part of the pending run if it continues that.
    fn page(&mut self, page: Run) -> ControlFlow<()> {
        if let Some(run) = &mut self.pending
            && run.gva.wrapping_add(run.len) == page.gva
            && run.gpa.wrapping_add(run.len) == page.gpa
            && run.permissions == page.permissions
        {
            run.len = run.len.saturating_add(page.len);
            return ControlFlow::Continue(());
        }
        self.flush()?;
        self.pending = Some(page);
        ControlFlow::Continue(())
    }

    /// Reports the pending run, without the parts that the checkpoint lacks.
    fn flush(&mut self) -> ControlFlow<()> {
        let Some(run) = self.pending.take() else {
            return ControlFlow::Continue(());
        };
        let end = run.gpa.saturating_add(run.len);
        let mut at = self.ranges.partition_point(|range| range.end <= run.gpa);
        let mut held = 0_u64;
        while let Some(range) = self.ranges.get(at).filter(|range| range.start < end) {
            let part = whole_pages(range.start.max(run.gpa)..range.end.min(end));
            held = held.saturating_add(part.end.saturating_sub(part.start));
            self.report(run, part)?;
            at = at.saturating_add(1);
        }
        self.summary.bytes_outside_ram =
            self.summary.bytes_outside_ram.saturating_add(run.len.saturating_sub(held));
        ControlFlow::Continue(())
    }

    fn report(&mut self, run: Run, part: Range<u64>) -> ControlFlow<()> {
        let mut at = part.start;
        while at < part.end {
            if self.reported >= self.limits.runs {
                return ControlFlow::Break(());
            }
            self.reported = self.reported.saturating_add(1);
            let pages = (part.end.saturating_sub(at) / PAGE_SIZE).min(MAX_PAGES);
            (self.visit)(Leaf {
                gva: Gva(run.gva.saturating_add(at.saturating_sub(run.gpa))),
                gpa: Gpa(at),
                pages: u32::try_from(pages).unwrap_or(u32::MAX),
                permissions: run.permissions,
            })?;
            at = at.saturating_add(pages.saturating_mul(PAGE_SIZE));
        }
        ControlFlow::Continue(())
    }
}

/// The whole pages in a range; a truncated file may end within one.
fn whole_pages(range: Range<u64>) -> Range<u64> {
    let start = range.start.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX);
    start..(range.end & !(PAGE_SIZE - 1)).max(start)
}
