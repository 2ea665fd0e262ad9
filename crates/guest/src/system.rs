//! Systems that may run in a guest, and what each offers to those who ask.
//!
//! To add one: a folder with a [`System`] and a [`Boot`], and a line in [`SYSTEMS`].

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use thiserror::Error;
use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_machine::{Checkpoint, VcpuView};
use vmss2core_mem::{Found, Problem};

use crate::cpu::Cpu;
pub(crate) use crate::linux::GivenFiles;
use crate::linux::{FileError, LinuxError};
use crate::model::{Clock, Images, Log, Stacks, StacksOf, Tasks};
use crate::windows::WindowsError;
use crate::{Facts, Which, linux, macos, which, windows};

/// The systems that are looked for, those that are cheap to see first: Linux never maps
/// the page that proves Windows, nor the header that proves macOS.
pub static SYSTEMS: &[&dyn System] = &[&windows::Windows, &macos::MacOs, &linux::Linux];

/// An operating system that can be recognised.
pub trait System: Debug + Sync {
    /// Its name, such as `Linux`.
    fn name(&self) -> &'static str;

    /// Vendor, system and environment of a target triple, as lldb knows them.
    fn triple(&self) -> &'static str {
        "unknown-unknown"
    }

    /// Looks for it.
    fn look(&self, look: &mut Look<'_>, effort: Effort) -> Option<Seen>;

    /// Says that it was not seen, as a clause of a sentence.
    fn not_seen(&self, look: &Look<'_>) -> String;
}

/// How much a look may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Only where it is cheap to see.
    Quick,
    /// In all of memory.
    Thorough,
}

/// A checkpoint in which systems are looked for.
pub struct Look<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    /// The processors whose registers are known.
    pub(crate) cpus: &'a [Cpu<'a>],
    /// How each vCPU sees memory; the system that is found adds what its kernel sees.
    pub(crate) vcpus: &'a mut [VcpuView],
    /// Options of the user about a Windows guest.
    pub(crate) windows: &'a windows::Options,
    /// Problems to tell if no system is found.
    pub(crate) lost: Vec<Problem>,
}

/// A system that was found.
pub struct Seen {
    /// Facts about it.
    pub boot: Arc<dyn Boot>,
    /// By what it was recognised.
    pub how: String,
    /// Missing facts, and why they matter.
    pub problems: Vec<Problem>,
}

/// A system that runs: what holds from its boot on. It is a [`LinuxFacts`](crate::LinuxFacts),
/// [`WindowsFacts`](windows::WindowsFacts) or [`MacosFacts`](macos::MacosFacts), as
/// [`Facts::linux`] and its like tell.
pub trait Boot: Any + Debug + Send + Sync {
    /// The system.
    fn system(&self) -> &'static dyn System;

    /// Whether its kernel has 64 bits.
    fn is_64_bit(&self) -> bool;

    /// The kernel's own page tables.
    fn kernel_root(&self) -> Option<&Found<(PagingMode, Root)>>;

    /// The system at one moment; `files` know a Linux kernel better than the guest does.
    fn now(
        self: Arc<Self>,
        checkpoint: &Checkpoint,
        facts: &Facts,
        files: &GivenFiles,
    ) -> Result<Arc<dyn Now>, AskError>;

    /// Problem: the kernel counts more memory than the checkpoint holds. Memory that was cut off
    /// while it was copied lacks its end; the state file need not tell, but the kernel does.
    fn missing_memory(&self, _checkpoint: &Checkpoint, _facts: &Facts) -> Option<Problem> {
        None
    }

    /// Where its kernel lies, in lines; empty if that is not known.
    fn location(&self) -> Vec<Told> {
        Vec::new()
    }

    /// Facts for `info`, for a system that has no part of its own there.
    fn told(&self) -> Vec<Told> {
        Vec::new()
    }
}

/// A system at one moment, which can be asked. A question that a system has no answer to
/// gives `None`; what only one system has is asked of its own kernel, as `as_kernel` tells.
pub trait Now: Any + Send + Sync {
    /// Its processes and their threads.
    fn tasks(&self) -> Option<Result<Tasks, AskError>> {
        None
    }

    /// Stacks in its kernel.
    fn stacks(&self, _of: &StacksOf) -> Option<Result<Stacks, AskError>> {
        None
    }

    /// Messages of its kernel.
    fn log(&self) -> Option<Result<Log, AskError>> {
        None
    }

    /// Its clock; its log may help to tell the time.
    fn clock(&self, _log: Option<&Log>) -> Option<Clock> {
        None
    }

    /// Images of its kernel.
    fn images(&self) -> Option<Images> {
        None
    }
}

impl Told {
    /// A fact that is known.
    pub(crate) fn of<T>(
        name: &'static str,
        fact: Option<&Found<T>>,
        show: impl FnOnce(&T) -> String,
    ) -> Option<Self> {
        let fact = fact?;
        Some(Self { name, fact: Found::new(show(&fact.value), fact.how.as_str()) })
    }
}

impl dyn Now {
    /// The kernel of one system: [`linux::Kernel`] or [`windows::Kernel`], if it is that.
    pub fn as_kernel<K: Now>(&self) -> Option<&K> {
        let any: &dyn Any = self;
        any.downcast_ref()
    }
}

/// Why a question to a guest's kernel has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AskError {
    /// A Linux kernel cannot answer.
    #[error(transparent)]
    Linux(#[from] LinuxError),
    /// A Windows kernel cannot answer.
    #[error(transparent)]
    Windows(#[from] WindowsError),
    /// A file of the kernel, which was given, cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The guest has no process of this number or name.
    #[error("{}", which::absent(.0))]
    NoProcess(Which),
    /// No processor of the checkpoint is known to be this one of the guest.
    #[error("{}", no_cpu(*.cpu, .known))]
    NoCpu {
        /// As the guest numbers its processors.
        cpu: u32,
        /// Those that are known.
        known: Vec<u32>,
    },
}

fn no_cpu(cpu: u32, known: &[u32]) -> String {
    match known {
        [] => format!("which vCPU is CPU {cpu} of the guest is not known"),
        known => {
            let known = known.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            format!("CPU {cpu} of the guest is not known, only CPU {known}")
        }
    }
}

/// Guess about a checkpoint that lacks memory.
pub(crate) const CUT_OFF: &str = "was it cut off while it was copied?";

/// A fact for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its subject.
    pub name: &'static str,
    /// The fact, and how it was found.
    pub fact: Found<String>,
}

/// Looks for every system, first for what is cheap to see.
pub(crate) fn look(look: &mut Look<'_>) -> Option<Seen> {
    let quickly = SYSTEMS.iter().find_map(|system| system.look(look, Effort::Quick));
    quickly.or_else(|| SYSTEMS.iter().rev().find_map(|one| one.look(look, Effort::Thorough)))
}

/// Says that no system was found, and what they were looked for by.
pub(crate) fn none_seen(look: &Look<'_>) -> String {
    let mut clauses: Vec<String> = SYSTEMS.iter().rev().map(|one| one.not_seen(look)).collect();
    let last = clauses.pop().unwrap_or_default();
    format!("no operating system was recognised: {}, and {last}", clauses.join(", "))
}
