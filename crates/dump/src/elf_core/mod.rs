//! The parts of ELF cores that several formats are made of: headers, notes, and what
//! makes the dump of a Linux kernel.

use std::ops::Range;

use vmss2core_machine::Arch;
use vmss2core_mem::Gpa;

use self::assemble::MEMORY_ALIGNMENT;
use crate::Job;
use crate::engine::Extent;
use crate::views::{architecture, is_64_bit_guest};

mod assemble;
mod notes;
mod vmcore;

pub(crate) use assemble::{Kind, Segment, assemble, assemble_segments, header_len};
pub(crate) use notes::{Family, Notes, ProcessInfo, ThreadStatus, low};
pub(crate) use vmcore::{VMLINUX, vmcore_notes, vmcore_openers, vmcore_problems};

/// The machine that the file says it is from, which also decides the form of its notes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) arch: &'static dyn Arch,
    pub(crate) is_64_bit: bool,
}

/// Width of the file's own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Elf32,
    Elf64,
}

/// The machine of a file about the whole guest.
pub(crate) fn guest_machine(job: &Job<'_>) -> Machine {
    Machine { arch: architecture(job.checkpoint), is_64_bit: is_64_bit_guest(job) }
}

/// Where memory is going to lie in the core of a 64-bit guest whose `parts`
/// these are, unless its headers are uncommonly long.
pub(crate) fn expected_extents(parts: impl Iterator<Item = Range<u64>>) -> Vec<Extent> {
    let mut offset = MEMORY_ALIGNMENT;
    let extent = |part: Range<u64>| {
        let len_bytes = part.end.saturating_sub(part.start);
        let extent = Extent { offset, gpa: Gpa(part.start), len_bytes };
        offset = offset.saturating_add(len_bytes);
        extent
    };
    parts.map(extent).collect()
}
