//! Which pages are left out (`-d`).

use std::ops::Range;

use vmss2core_guest::linux::{Kernel, LinuxError, PageClass, PageClasses};
use vmss2core_mem::{PAGE_SIZE, Problem};

use crate::DumpError;

/// Which kinds of pages are left out: the sum of makedumpfile's numbers.
///
/// 1, pages of zeroes, changes nothing: as in makedumpfile's files they share
/// one, because crash takes a page that is not there for an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpLevel(u8);

impl DumpLevel {
    /// Nothing is left out.
    pub const NOTHING: Self = Self(0);
    /// Everything that can be left out.
    pub const MOST: u8 = 31;

    const CACHE: u8 = 2;
    /// Cache pages with private data; for makedumpfile these include the others.
    const ALL_CACHE: u8 = 4;
    const USER: u8 = 8;
    const FREE: u8 = 16;

    /// The level of that number, 0 to 31.
    pub fn new(level: u8) -> Option<Self> {
        (level <= Self::MOST).then_some(Self(level))
    }

    /// The number.
    pub fn number(self) -> u8 {
        self.0
    }

    fn has_any(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    /// Whether it matters what pages are used for.
    pub(super) fn asks_for_classes(self) -> bool {
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

/// Decides what is kept.
pub(super) struct Filter<'a> {
    level: DumpLevel,
    /// Only if the level asks for it.
    classes: Option<PageClasses<'a>>,
    left_out: u64,
}

impl<'a> Filter<'a> {
    pub(super) fn new(level: DumpLevel, kernel: Option<&'a Kernel<'a>>) -> Result<Self, DumpError> {
        let classes = if level.asks_for_classes() {
            let classes = kernel.ok_or(LinuxError::NoPageTables).and_then(Kernel::page_classes);
            Some(classes.map_err(|source| DumpError::NoPageClasses { source })?)
        } else {
            None
        };
        Ok(Self { level, classes, left_out: 0 })
    }

    /// The pages of the window that are kept. Windows come in ascending order.
    pub(super) fn kept(&mut self, window: Range<u64>) -> Vec<Range<u64>> {
        let Some(classes) = &mut self.classes else { return vec![window] };
        let mut kept: Vec<Range<u64>> = Vec::new();
        for (pfn, class) in window.clone().zip(classes.classify(window)) {
            if self.level.leaves_out(class) {
                self.left_out += 1;
                continue;
            }
            match kept.last_mut() {
                Some(last) if last.end == pfn => last.end = pfn + 1,
                _ => kept.push(pfn..pfn + 1),
            }
        }
        kept
    }

    /// What was left out, and what could not be told.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let Some(classes) = self.classes else { return Vec::new() };
        let mib = (self.left_out * PAGE_SIZE) >> 20;
        let mut problems =
            vec![Problem::note(format!("left out for what it is used for: {mib} MiB"))];
        let unreadable = classes.unreadable_pages();
        if unreadable != 0 {
            problems.push(Problem::warning(format!(
                "the kernel's descriptions of {unreadable} pages cannot be read: these are kept"
            )));
        }
        problems
    }
}
