//! Which pages are left out.

use std::collections::BTreeMap;
use std::ops::Range;

use vmss2core_guest::linux::{Kernel, LinuxError, PageClass, Untold};
use vmss2core_mem::{PAGE_SIZE, Problem};

use super::pages::{page_count, windows};
use crate::DumpError;

/// Which kinds of pages are left out: the sum of makedumpfile's numbers.
///
/// 1, pages of zeroes, changes nothing: as in makedumpfile's files they share
/// one, because crash takes a page that is not there for an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DumpLevel(u8);

impl DumpLevel {
    /// Nothing is left out.
    pub(super) const NOTHING: Self = Self(0);
    /// Everything that can be left out.
    pub(super) const MOST: u8 = 31;

    const CACHE: u8 = 2;
    /// Cache pages with private data; for makedumpfile these include the others.
    const ALL_CACHE: u8 = 4;
    const USER: u8 = 8;
    const FREE: u8 = 16;
    /// All of them, by what they leave out.
    const NUMBERS: [(PageClass, u8); 4] = [
        (PageClass::PrivateCache, Self::ALL_CACHE),
        (PageClass::Cache, Self::CACHE),
        (PageClass::User, Self::USER),
        (PageClass::Free, Self::FREE),
    ];

    /// The level of that number, 0 to 31.
    pub(super) fn new(level: u8) -> Option<Self> {
        (level <= Self::MOST).then_some(Self(level))
    }

    /// The number.
    pub(super) fn number(self) -> u8 {
        self.0
    }

    fn has_any(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    /// Whether it matters what pages are used for.
    fn asks_for_classes(self) -> bool {
        self.has_any(Self::CACHE | Self::ALL_CACHE | Self::USER | Self::FREE)
    }

    fn leaves_out(self, class: PageClass) -> bool {
        match class {
            PageClass::Cache => self.has_any(Self::CACHE | Self::ALL_CACHE),
            PageClass::PrivateCache => self.has_any(Self::ALL_CACHE),
            PageClass::User => self.has_any(Self::USER),
            PageClass::Free => self.has_any(Self::FREE),
            _ => false,
        }
    }
}

/// Which pages are kept.
///
/// Found once, before the first page is written, because the file's tables have
/// room for as many pages as are kept. Takes a bit for each page of a window of
/// which some are kept: a 32,768th of memory at most.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Where something is left out: the window's first page, and a bit for each of
    /// its pages. The last words may be missing, their bits are clear.
    partly: BTreeMap<u64, Box<[u64]>>,
    /// How many there are.
    pub(super) pages: u64,
    /// What was left out: less than was asked for if it is not known which pages that is.
    pub(super) level: DumpLevel,
    /// Notes on pages that were left out, and on those that could not be told.
    pub(super) problems: Vec<Problem>,
}

impl Kept {
    /// All pages.
    pub(super) fn all(ranges: &[Range<u64>]) -> Self {
        let pages = page_count(ranges);
        Self { pages, ..Self::default() }
    }

    /// The pages that `level` keeps of these addresses, which ascend.
    pub(super) fn of(
        level: DumpLevel,
        kernel: Option<&Kernel>,
        ranges: &[Range<u64>],
    ) -> Result<Self, DumpError> {
        let mut kept = Self { level, ..Self::all(ranges) };
        if !level.asks_for_classes() {
            return Ok(kept);
        }
        let classes = kernel.ok_or(LinuxError::NoPageTables).and_then(Kernel::page_classes);
        let mut classes = classes.map_err(|source| DumpError::NoPageClasses { source })?;
        let taken = kept.take_back(classes.untold());
        let level = kept.level;
        if !level.asks_for_classes() {
            let untold = classes.into_untold().into_iter().find(|one| Some(one.class) == taken);
            let source = untold.map_or(LinuxError::UnknownPageArray, |untold| untold.why);
            return Err(DumpError::NoPageClasses { source });
        }
        let all = kept.pages;
        for window in windows(ranges) {
            let found = classes.classify(window.clone());
            kept.leave_out(window.start, |class| level.leaves_out(class), &found);
        }
        kept.tell(all.saturating_sub(kept.pages), classes.unreadable_pages());
        Ok(kept)
    }

    /// Takes back from the level what it is not known which pages that is; what was taken
    /// back last.
    fn take_back(&mut self, untold: &[Untold]) -> Option<PageClass> {
        let mut last = None;
        for (class, bit) in DumpLevel::NUMBERS {
            let untold = untold.iter().find(|untold| untold.class == class);
            // What leaves out pages with data of a file system leaves out the others too.
            let is_covered = bit == DumpLevel::CACHE && self.level.has_any(DumpLevel::ALL_CACHE);
            if let Some(Untold { why, .. }) = untold.filter(|_| !is_covered)
                && self.level.has_any(bit)
            {
                self.level.0 &= !bit;
                last = Some(class);
                let message = format!("level {bit} leaves nothing out: {why}");
                self.problems.push(Problem::warning(message));
            }
        }
        last
    }

    fn leave_out(
        &mut self,
        first: u64,
        is_left_out: impl Fn(PageClass) -> bool,
        classes: &[PageClass],
    ) {
        let mut bits = vec![0; classes.len().div_ceil(64)];
        let mut left_out = 0_u64;
        for (classes, word) in classes.chunks(64).zip(&mut bits) {
            for (bit, class) in classes.iter().enumerate() {
                let is_left_out = is_left_out(*class);
                left_out = left_out.saturating_add(u64::from(is_left_out));
                *word |= u64::from(!is_left_out) << bit;
            }
        }
        if left_out != 0 {
            bits.truncate(
                bits.iter().rposition(|word| *word != 0).map_or(0, |last| last.saturating_add(1)),
            );
            self.partly.insert(first, bits.into());
            self.pages = self.pages.saturating_sub(left_out);
        }
    }

    fn tell(&mut self, left_out: u64, unreadable: u64) {
        let mib = left_out.saturating_mul(PAGE_SIZE) >> 20;
        let left_out = format!("{mib} MiB left out, as its dump level asks for");
        self.problems.push(Problem::note(left_out));
        if unreadable != 0 {
            self.problems.push(Problem::warning(format!(
                "the kernel's descriptions of {unreadable} pages cannot be read: these are kept"
            )));
        }
    }

    /// The pages of a window that are kept.
    pub(super) fn within(&self, window: Range<u64>) -> Vec<Range<u64>> {
        let Some(bits) = self.partly.get(&window.start) else { return vec![window] };
        let mut kept: Vec<Range<u64>> = Vec::new();
        let numbers = (window.start..window.end).step_by(64);
        for (first, word) in numbers.zip(bits) {
            let ones = (0..64).filter(|bit| word >> bit & 1 == 1);
            for pfn in ones.map(|bit| first.saturating_add(bit)) {
                match kept.last_mut() {
                    Some(last) if last.end == pfn => last.end = pfn.saturating_add(1),
                    _ => kept.push(pfn..pfn.saturating_add(1)),
                }
            }
        }
        kept
    }
}
