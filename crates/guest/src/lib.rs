//! The operating system inside a guest.
//!
//! [`analyse`] looks at a [`Checkpoint`] and returns [`Facts`], each with how it
//! was found. This crate does not know checkpoint formats or debugger files.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

use vmss2core_machine::paging::PagingError;
use vmss2core_machine::{Checkpoint, Vcpu, VcpuView};
use vmss2core_mem::{Found, Problem};

mod cpu;
mod facts;
mod fit;
#[doc(hidden)]
pub mod fuzzing;
pub mod linux;
pub mod macos;
pub mod model;
mod scan;
mod system;
mod which;
pub mod windows;

use cpu::Cpu;

pub use facts::Facts;
pub use fit::leave_out_misfits;
pub use linux::{CrashKernel, KernelText, LinuxFacts, VmcoreInfo};
pub use system::{AskError, Boot, Effort, Look, Now, SYSTEMS, Seen, System, Told};
pub use which::Which;

/// Finds out what can be known about the guest. Best effort: what could not be
/// found is `None`, and `problems` says why where that is of use.
pub fn analyse(checkpoint: &Checkpoint) -> Facts {
    analyse_with(checkpoint, &windows::Options::default())
}

/// [`analyse`] with what the user says of a Windows guest.
pub fn analyse_with(checkpoint: &Checkpoint, options: &windows::Options) -> Facts {
    let mut facts = look(checkpoint, options);
    // What was not found may lie there.
    facts.problems.extend(unreadable(checkpoint));
    facts
}

/// Problem: part of the memory could not be read, if that has happened.
pub fn unreadable(checkpoint: &Checkpoint) -> Option<Problem> {
    let failure = checkpoint.memory.failure()?;
    Some(Problem::incomplete(format!("{failure}; what lies there is missing from every answer")))
}

fn look(checkpoint: &Checkpoint, windows: &windows::Options) -> Facts {
    let mut problems = Vec::new();
    let mut vcpus = views(checkpoint, &mut problems);
    let cpus = cpus(checkpoint, &vcpus);
    let lost = Vec::new();
    let mut look = Look { checkpoint, cpus: &cpus, vcpus: &mut vcpus, windows, lost };
    let seen = system::look(&mut look);
    if seen.is_none() && !checkpoint.memory.segments().is_empty() {
        let none_seen = Problem::note(system::none_seen(&look));
        problems.append(&mut look.lost);
        problems.push(none_seen);
    }
    let boot = seen.map(|seen| {
        problems.extend(seen.problems);
        Found::new(seen.boot, seen.how)
    });
    let mut facts = Facts { boot, vcpus: vcpus.into(), problems };
    let boot = facts.boot.as_ref();
    let missing = boot.and_then(|boot| boot.value.missing_memory(checkpoint, &facts));
    facts.problems.extend(missing);
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
