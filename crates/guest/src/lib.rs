//! What runs inside a guest: its operating system.
//!
//! [`analyse`] looks at a [`Checkpoint`] and returns [`Facts`], each with how it
//! was found. This crate does not know checkpoint formats or debugger files.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

use std::sync::Arc;

use vmss2core_machine::paging::{AddressSpace, PagingMode};
use vmss2core_machine::{Checkpoint, x86};
use vmss2core_mem::{Found, PhysicalMemory, Problem, Severity};

mod extent;
mod facts;
mod fit;
#[doc(hidden)]
pub mod fuzzing;
pub mod linux;
pub mod macos;
mod scan;
pub mod windows;

pub use facts::{
    CrashKernel, Facts, KernelText, LinuxFacts, OperatingSystem, VcpuFacts, VmcoreInfo,
};
pub use fit::leave_out_misfits;

/// Finds out what can be known about the guest. Best effort: what could not be
/// found is `None`, and `problems` says why where that is of use.
pub fn analyse(checkpoint: &Checkpoint) -> Facts {
    analyse_with(checkpoint, &windows::Options::default())
}

/// The same with what the user says of a Windows guest.
pub fn analyse_with(checkpoint: &Checkpoint, options: &windows::Options) -> Facts {
    let mut facts = look(checkpoint, options);
    // What was not found may lie there.
    facts.problems.extend(unreadable(checkpoint));
    facts
}

/// That part of the memory could not be read, if that has happened.
pub fn unreadable(checkpoint: &Checkpoint) -> Option<Problem> {
    let failure = checkpoint.memory.failure()?;
    Some(Problem::incomplete(format!("{failure}; what lies there is missing from every answer")))
}

fn look(checkpoint: &Checkpoint, options: &windows::Options) -> Facts {
    let memory = &checkpoint.memory;
    let mut facts = Facts::default();
    let mut cpus = Vec::new();
    let mut vcpus = Vec::new();
    let mut lost = None;
    for vcpu in checkpoint.vcpus.iter() {
        let Some(x86) = vcpu.x86() else { continue };
        let (of_vcpu, space) = vcpu_facts(memory, vcpu.index, x86, &mut facts.problems);
        vcpus.push(of_vcpu);
        cpus.push(linux::Cpu { index: vcpu.index, vcpu: x86, space });
    }
    // What is cheap to see goes first. Linux never maps the page that proves Windows,
    // nor the header that proves macOS.
    if let Some(found) = windows::quickly(memory, &cpus, options) {
        add_windows(&mut facts, &mut vcpus, found, options);
    } else if let Some(found) = macos::quickly(memory, &cpus) {
        macos::add(&mut facts, found);
    } else if let Some(analysis) = linux::analyse(memory, &cpus, &mut vcpus, &mut lost) {
        add_linux(&mut facts, analysis);
    } else if let Some(found) = macos::thoroughly(checkpoint, &cpus) {
        macos::add(&mut facts, found);
    } else if let Some(found) = windows::thoroughly(memory, &cpus, options) {
        add_windows(&mut facts, &mut vcpus, found, options);
    } else if !memory.segments().is_empty() {
        facts.problems.extend(lost);
        facts.problems.push(Problem::note(looked_for(&cpus)));
    }
    if let Some(found) = &facts.macos {
        macos::set_kernel_roots(found, &cpus, &mut vcpus);
    }
    facts.vcpus = vcpus.into();
    facts.problems.extend(extent::missing(checkpoint, &facts));
    facts
}

/// What an operating system would have been recognised by.
fn looked_for(cpus: &[linux::Cpu<'_>]) -> String {
    let is_paged = |cpu: &linux::Cpu<'_>| {
        cpu.space.as_ref().is_some_and(|space| space.mode() != PagingMode::Identity)
    };
    let no_linux = if cpus.iter().any(is_paged) {
        "no page tables of a vCPU map a kernel with the banner of Linux"
    } else {
        "no VMCOREINFO of Linux leads to page tables of its kernel"
    };
    format!(
        "no operating system was recognised: {no_linux}, none that were found map the page which \
         every Windows shares with its programs, and no header of a macOS kernel is where it lies"
    )
}

fn add_linux(facts: &mut Facts, analysis: linux::Analysis) {
    let banner = analysis.linux.banner.as_ref();
    let how = banner.map_or("VMCOREINFO", |banner| banner.how.as_str());
    facts.os = Some(Found::new(OperatingSystem::Linux, how));
    facts.linux = Some(Arc::new(analysis.linux));
    facts.problems.extend(analysis.problems);
}

fn add_windows(
    facts: &mut Facts,
    vcpus: &mut [VcpuFacts],
    found: windows::WindowsFacts,
    options: &windows::Options,
) {
    facts.os = Some(Found::new(OperatingSystem::Windows, found.kernel_root.how.as_str()));
    windows::set_kernel_roots(&found, vcpus);
    facts.problems.extend(windows::contradiction(&found, options));
    facts.windows = Some(Arc::new(found));
}

fn vcpu_facts(
    memory: &PhysicalMemory,
    index: u32,
    vcpu: &x86::Registers,
    problems: &mut Vec<Problem>,
) -> (VcpuFacts, Option<AddressSpace>) {
    let privilege = privilege(vcpu);
    let mut facts = VcpuFacts { index, privilege, ..VcpuFacts::default() };
    match x86::vcpu_paging(memory, vcpu) {
        Ok(paging) => {
            let space = paging.address_space(memory);
            facts.root = Some(paging.root);
            facts.mode = Some(paging.mode);
            (facts, Some(space))
        }
        Err(error) => {
            let message = format!("paging mode of vCPU {index} is not known: {error}");
            problems.push(Problem { severity: Severity::Warning, message });
            (facts, None)
        }
    }
}

/// The privilege level: that of the code segment, except in real mode (0) and
/// in virtual-8086 mode (3), whose selectors are plain numbers.
fn privilege(vcpu: &x86::Registers) -> Option<u8> {
    const PE: u64 = 1;
    const VM: u64 = 1 << 17;
    if vcpu.control.cr0.is_some_and(|cr0| cr0 & PE == 0) {
        return Some(0);
    }
    if vcpu.rflags.is_some_and(|flags| flags & VM != 0) {
        return Some(3);
    }
    vcpu.segments.cs.selector.map(|selector| (selector & 3) as u8)
}
