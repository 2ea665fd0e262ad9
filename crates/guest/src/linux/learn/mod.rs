//! Layouts learned from the data itself, for kernels without type information.

use std::collections::BTreeMap;

use vmss2core_mem::{Gva, Problem};

use super::{Kernel, Member, Types};
use crate::Found;

/// What the data of a kernel shows of its structures.
#[derive(Debug)]
pub struct Learned {
    init_task: Found<Gva>,
    members: BTreeMap<(&'static str, &'static str), Found<Member>>,
    problems: Vec<Problem>,
}

impl Learned {
    /// The first task, the idle one of CPU 0.
    pub fn init_task(&self) -> &Found<Gva> {
        &self.init_task
    }

    /// All members that were found: structure, path, and where it lies.
    pub fn members(&self) -> impl Iterator<Item = (&'static str, &'static str, &Found<Member>)> {
        self.members.iter().map(|(&(structure, path), found)| (structure, path, found))
    }

    /// What was looked for in vain.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl Types for Learned {
    fn member(&self, structure: &str, path: &str) -> Option<Member> {
        self.members.get(&(structure, path)).map(|found| found.value)
    }

    fn size_of(&self, _structure: &str) -> Option<u64> {
        None
    }
}

/// Learns where the members of the structures of tasks lie.
pub(super) fn learn(_kernel: &Kernel<'_>) -> Option<Learned> {
    None
}
