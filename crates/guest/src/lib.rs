//! What runs inside a guest: its operating system.
//!
//! [`analyse`] looks at a [`Checkpoint`] and returns [`Facts`], each with how it
//! was found. This crate does not know checkpoint formats or debugger files.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

use std::sync::Arc;

use vmss2core_machine::paging::{PagingError, PagingMode};
use vmss2core_machine::{Checkpoint, Vcpu, VcpuView};
use vmss2core_mem::{Found, Problem};

mod cpu;
mod extent;
mod facts;
mod fit;
#[doc(hidden)]
pub mod fuzzing;
pub mod linux;
pub mod macos;
mod scan;
mod which;
pub mod windows;

use cpu::Cpu;

pub use facts::{CrashKernel, Facts, KernelText, LinuxFacts, OperatingSystem, VmcoreInfo};
pub use fit::leave_out_misfits;
pub use which::Which;

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
    let mut vcpus = views(checkpoint, &mut facts.problems);
    let cpus = cpus(checkpoint, &vcpus);
    let mut lost = None;
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

/// How each vCPU sees memory.
fn views(checkpoint: &Checkpoint, problems: &mut Vec<Problem>) -> Vec<VcpuView> {
    let view = |vcpu: &Vcpu| {
        let (view, error) = VcpuView::new(&checkpoint.memory, vcpu);
        let problem = error.map(|error| unknown_paging(vcpu.index, &error));
        // Of an architecture it is said once.
        problems.extend(problem.filter(|problem| !problems.contains(problem)));
        view
    };
    checkpoint.vcpus.iter().map(view).collect()
}

fn unknown_paging(vcpu: u32, error: &PagingError) -> Problem {
    match error {
        PagingError::UnknownArchitecture(name) => Problem::warning(format!(
            "page tables of {name} processors cannot be read: memory is known by its physical \
             address only"
        )),
        error => Problem::warning(format!("paging mode of vCPU {vcpu} is not known: {error}")),
    }
}

/// The processors that an operating system is recognised by.
fn cpus<'a>(checkpoint: &'a Checkpoint, views: &[VcpuView]) -> Vec<Cpu<'a>> {
    let cpu = |(vcpu, view): (&'a Vcpu, &VcpuView)| {
        let space = view.space(&checkpoint.memory);
        Cpu { index: vcpu.index, registers: &vcpu.registers, space }
    };
    checkpoint.vcpus.iter().zip(views).map(cpu).collect()
}

/// What an operating system would have been recognised by.
fn looked_for(cpus: &[Cpu<'_>]) -> String {
    let is_paged = |cpu: &Cpu<'_>| {
        cpu.space.as_ref().is_some_and(|space| space.mode() != PagingMode::IDENTITY)
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
    vcpus: &mut [VcpuView],
    found: windows::WindowsFacts,
    options: &windows::Options,
) {
    facts.os = Some(Found::new(OperatingSystem::Windows, found.kernel_root.how.as_str()));
    windows::set_kernel_roots(&found, vcpus);
    facts.problems.extend(windows::contradiction(&found, options));
    facts.windows = Some(Arc::new(found));
}
