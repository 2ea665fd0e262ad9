//! Layouts learned from the data itself, for kernels without type information:
//! 32-bit ones of Debian, and those before 5.2.
//!
//! Nothing is assumed of an offset. What is known is what the members must hold:
//! the names of the first processes, that `kthreadd` is number 2 and the parent of
//! all threads of the kernel, that a stack ends in a magic number, that the page
//! tables of a process map the kernel as the kernel's own do, and so on. A member is
//! where this holds for all processes that were looked at. One that is not certain is
//! left out: an answer must never be wrong.
//!
//! Sources: the structures' definitions in Linux (`include/linux/sched.h`,
//! `mm_types.h`, `fs.h`, `cred.h`, `maple_tree.h`, `xarray.h`), for the order of their
//! members only. Limits: kernels since 2.6.22, whose processes are in one ring.

use std::collections::BTreeMap;

use vmss2core_mem::{Found, Gva, Problem};

use super::{Kernel, Member, Types, arch};

mod areas;
mod cpu;
mod cred;
mod files;
mod inode;
mod members;
mod memory;
mod page_cache;
mod page_lists;
mod process;
mod radix;
mod ring;
mod sample;
mod stack;
mod tasks;
#[cfg(test)]
mod tests;
mod threads;
mod times;

pub(in crate::linux) use members::Members;
pub(in crate::linux) use memory::{Memory, Shot};
pub(in crate::linux) use process::Process;
pub use radix::PageArray;
pub(in crate::linux) use radix::{MappedPage, members_of_pages};
use sample::Sample;
pub(in crate::linux) use tasks::{STACK_END_MAGIC, THREAD_INFO};

/// Structures as the data of a kernel shows them.
#[derive(Debug)]
pub struct Learned {
    init_task: Found<Gva>,
    members: BTreeMap<(&'static str, &'static str), Found<Member>>,
    problems: Vec<Problem>,
    thread_size: Option<u64>,
    page_array: Option<PageArray>,
    has_guard_pages: bool,
    has_one_cpu: bool,
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

    /// How large the kernel's stacks are (`THREAD_SIZE`).
    pub fn thread_size(&self) -> Option<u64> {
        self.thread_size
    }

    /// The array of `struct page`, as page caches and processes show it.
    pub fn page_array(&self) -> Option<PageArray> {
        self.page_array
    }

    /// Whether the area of a stack has a page more than the process can read, at which it
    /// grows (2010 to 4.12).
    pub fn has_guard_pages(&self) -> bool {
        self.has_guard_pages
    }

    /// Whether there are threads for each CPU, and only for the first.
    pub fn has_one_cpu(&self) -> bool {
        self.has_one_cpu
    }

    /// Things that were looked for in vain.
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

/// Facts about the guest itself that were found on the way.
struct Facts<'a> {
    sample: &'a Sample,
    processes: &'a [Process],
    thread_size: u64,
}

/// Learns where the members of the structures of tasks lie.
pub(super) fn learn(kernel: &Kernel) -> Option<Learned> {
    let memory = Memory::new(kernel);
    let ring = ring::find(kernel, &memory)?;
    let mut members = Members::default();
    let sample = Sample::of_ring(&memory, &ring, &mut members)?;
    tasks::learn(&memory, &sample, &mut members);
    times::learn(memory.word_len(), &sample, &mut members);
    cred::learn(&memory, &sample, &mut members);
    threads::learn(&memory, &sample, &mut members);
    let thread_size = stack::learn(&memory, &sample, &mut members);
    let processes = process::learn(&memory, &sample, &mut members);
    arch::learn_tls(&memory, &processes, &mut members);
    if let Some(thread_size) = thread_size {
        let known = Facts { sample: &sample, processes: &processes, thread_size };
        cpu::learn(kernel, &memory, &known, &mut members);
    }
    areas::learn(&memory, &processes, &mut members);
    if memory.is_exhausted() {
        members.miss("more", "the limit of memory to look at was met");
    }
    let init_task = Gva(sample.first()?.gva);
    let how = "the ring of processes that begins at swapper/0";
    Some(Learned {
        init_task: Found::new(init_task, how),
        members: members.found,
        problems: members.problems,
        thread_size,
        page_array: members.page_array,
        has_guard_pages: members.has_guard_pages,
        has_one_cpu: members.has_one_cpu,
    })
}
