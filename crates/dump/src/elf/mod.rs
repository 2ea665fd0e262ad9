//! ELF cores: the linear view of one vCPU, the physical view, and the Linux
//! vmcore that crash, drgn and makedumpfile open.

use std::ops::Range;

use vmss2core_guest::Facts;
use vmss2core_machine::paging::PagingMode;
use vmss2core_machine::{Architecture, Checkpoint, Vcpu, VcpuView};
use vmss2core_mem::{Gpa, PAGE_SIZE, PhysicalMemory, Problem};

use self::assemble::MEMORY_ALIGNMENT;
use crate::Job;
use crate::engine::Extent;

pub(crate) mod assemble;
pub(crate) mod fpu;
mod hints;
mod linear;
mod linux;
pub(crate) mod notes;
mod physical;
mod policy;
mod script;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use hints::kdump as kdump_hints;
pub(crate) use linear::LinearCore;
pub(crate) use linux::{LinuxCore, notes as linux_notes, problems as linux_problems, ram};
pub(crate) use physical::PhysicalCore;

/// What the file says it is from, which also decides the form of its notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    X86_64,
    I386,
    Arm64,
}

/// Width of the file's own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Elf32,
    Elf64,
}

/// The machine of a file about the whole guest: what its kernel is, not what
/// happens to run. A 64-bit kernel may be running a 32-bit program.
fn guest_machine(job: &Job<'_>) -> Machine {
    let (checkpoint, facts) = (job.checkpoint, job.facts);
    if checkpoint.about.machine.architecture == Some(Architecture::Arm64) {
        return Machine::Arm64;
    }
    let is_64_bit = runs_64_bit(checkpoint) || is_64_bit(checkpoint, facts);
    if is_64_bit { Machine::X86_64 } else { Machine::I386 }
}

/// Whether the registers alone tell that this is a 64-bit guest.
pub(crate) fn runs_64_bit(checkpoint: &Checkpoint) -> bool {
    let mode = |vcpu: &Vcpu| vcpu.registers.paging(&checkpoint.memory).ok();
    let mut modes = checkpoint.vcpus.iter().filter_map(mode);
    modes.any(|paging| paging.mode.value.is_64_bit())
}

/// Where memory is going to lie in the core of a 64-bit guest whose `parts`
/// these are, unless its headers are uncommonly long.
fn expected_extents(parts: impl Iterator<Item = Range<u64>>) -> Vec<Extent> {
    let mut offset = MEMORY_ALIGNMENT;
    let extent = |part: Range<u64>| {
        let len_bytes = part.end.saturating_sub(part.start);
        let extent = Extent { offset, gpa: Gpa(part.start), len_bytes };
        offset = offset.saturating_add(len_bytes);
        extent
    };
    parts.map(extent).collect()
}

/// Whether the guest's kernel has 64 bits.
pub(crate) fn is_64_bit_guest(job: &Job<'_>) -> bool {
    guest_machine(job) != Machine::I386
}

fn is_64_bit(checkpoint: &Checkpoint, facts: &Facts) -> bool {
    let modes: Vec<bool> =
        facts.vcpus.iter().filter_map(VcpuView::mode).map(PagingMode::is_64_bit).collect();
    let by_processor = checkpoint.vcpus.iter().any(in_long_mode) || modes.contains(&true);
    match &facts.linux {
        _ if by_processor => true,
        Some(linux) => linux.is_64_bit,
        // Without any evidence the wider form is the safer one.
        None => modes.is_empty() && checkpoint.vcpus.iter().all(|vcpu| efer(vcpu).is_none()),
    }
}

fn efer(vcpu: &Vcpu) -> Option<u64> {
    vcpu.x86().and_then(|x86| x86.msrs.efer)
}

/// EFER.LMA.
fn in_long_mode(vcpu: &Vcpu) -> bool {
    efer(vcpu).is_some_and(|efer| efer & (1 << 10) != 0)
}

/// The whole pages that the checkpoint holds. A file cut short may end within
/// one, which no debugger could show.
pub(crate) fn page_ranges(memory: &PhysicalMemory) -> Vec<Range<u64>> {
    memory
        .ranges()
        .into_iter()
        .filter_map(|range| {
            let start = range.start.checked_next_multiple_of(PAGE_SIZE)?;
            let end = range.end & !(PAGE_SIZE - 1);
            (start < end).then_some(start..end)
        })
        .collect()
}

/// Thread id of a vCPU: unique, and never 0, which gdb takes for "no thread".
fn thread_id(index: u32) -> u32 {
    index.saturating_add(1)
}

/// Says which vCPUs are not listed, or listed with zeroes.
fn missing_registers<'a>(
    vcpus: impl Iterator<Item = &'a Vcpu>,
    consequence: &str,
) -> Option<Problem> {
    let missing: Vec<String> = vcpus
        .filter(|vcpu| !notes::has_registers(vcpu))
        .map(|vcpu| vcpu.index.to_string())
        .collect();
    (!missing.is_empty()).then(|| {
        let list = missing.join(", ");
        Problem::incomplete(format!(
            "no registers in the checkpoint for vCPU {list}: {consequence}"
        ))
    })
}
