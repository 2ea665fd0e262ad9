//! Members that were learned so far.

use std::collections::BTreeMap;

use vmss2core_mem::{Found, Problem};

use super::radix::PageArray;
use crate::linux::Member;

/// Members by structure and path.
#[derive(Debug, Default)]
pub(in crate::linux) struct Members {
    pub(super) found: BTreeMap<(&'static str, &'static str), Found<Member>>,
    pub(super) problems: Vec<Problem>,
    pub(super) page_array: Option<PageArray>,
    pub(super) has_guard_pages: bool,
    pub(super) has_one_cpu: bool,
}

impl Members {
    /// Notes where a member lies.
    pub(in crate::linux) fn put(
        &mut self,
        structure: &'static str,
        path: &'static str,
        (offset_bytes, size_bytes): (u64, u64),
        how: &str,
    ) {
        let member = Member { offset_bytes, size_bytes: Some(size_bytes), bits: None };
        self.found.insert((structure, path), Found::new(member, how));
    }

    /// Takes back members that turned out to be others.
    pub(super) fn forget(&mut self, structure: &'static str, paths: &[&'static str]) {
        for path in paths {
            self.found.remove(&(structure, *path));
        }
    }

    /// A member whose size the data does not show.
    pub(super) fn put_unsized(
        &mut self,
        structure: &'static str,
        path: &'static str,
        offset_bytes: u64,
        how: &str,
    ) {
        let member = Member { offset_bytes, size_bytes: None, bits: None };
        self.found.insert((structure, path), Found::new(member, how));
    }

    /// Where a member lies, if that was found.
    pub(super) fn at(&self, structure: &'static str, path: &'static str) -> Option<u64> {
        self.found.get(&(structure, path)).map(|found| found.value.offset_bytes)
    }

    /// Where a member of `task_struct` lies.
    pub(in crate::linux) fn task(&self, path: &'static str) -> Option<u64> {
        self.at("task_struct", path)
    }

    /// Says that something was looked for in vain.
    pub(in crate::linux) fn miss(&mut self, what: &str, why: &str) {
        self.problems.push(Problem::note(format!("{what} was not learned: {why}")));
    }
}

/// The offsets of a range, one alignment apart, for which `holds`.
pub(super) fn offsets(
    range: std::ops::Range<u64>,
    step: u64,
    holds: impl Fn(u64) -> bool,
) -> impl Iterator<Item = u64> {
    let step_len = usize::try_from(step).unwrap_or(8).max(1);
    let start = range.start.checked_next_multiple_of(step.max(1)).unwrap_or(u64::MAX);
    (start..range.end).step_by(step_len).filter(move |offset| holds(*offset))
}

/// The only element; `None` also if there are more.
pub(super) fn only<T>(mut of: impl Iterator<Item = T>) -> Option<T> {
    let first = of.next()?;
    of.next().is_none().then_some(first)
}
