//! Why the library cannot do what it was asked.

use std::error::Error as StdError;

use thiserror::Error;
use vmss2core_checkpoint::OpenError;
use vmss2core_dump::{ChoiceError, DumpError};
use vmss2core_guest::linux::{FileError, LinuxError};
use vmss2core_guest::windows::WindowsError;
use vmss2core_guest::{OperatingSystem, Which};

/// Why something could not be opened, answered, written or served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The files are no checkpoint that can be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file of the kernel, which was given, cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A Linux kernel cannot answer.
    #[error(transparent)]
    Linux(#[from] LinuxError),
    /// A Windows kernel cannot answer.
    #[error(transparent)]
    Windows(#[from] WindowsError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] DumpError),
    /// The question cannot be asked of such a guest.
    #[error("this is a {} guest, of which this cannot be asked", system_name(*.0))]
    OtherSystem(OperatingSystem),
    /// Something was chosen that an output format does not offer.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// No output format has this name.
    #[error("no output format is called {0}")]
    NoFormat(String),
    /// The guest has no process of this number or name.
    #[error("the guest has no process {0}")]
    NoProcess(Which),
    /// One process is asked for by a name that several have.
    #[error("the guest has {} processes that are called {name}: {}", .pids.len(), listed(.pids))]
    SeveralProcesses {
        /// The name, made safe to print.
        name: String,
        /// Their numbers.
        pids: Vec<u32>,
    },
    /// The guest has neither a process nor a thread of this number.
    #[error("the guest has no process or thread {0}")]
    NoTask(u32),
    /// What has this number has no memory of its own.
    #[error("process {number} ({name}) has no memory to look at: {why}")]
    NoProcessMemory {
        /// The number.
        number: u32,
        /// What it is called, made safe to print.
        name: String,
        /// What it is, or what has become of it.
        why: String,
    },
    /// The memory of a process cannot be read.
    #[error("opening the memory of process {pid}")]
    Process {
        /// Its number.
        pid: u32,
        /// Why not.
        source: LinuxError,
    },
    /// No processor of the checkpoint is known to be this one of the guest.
    #[error("{}", no_cpu(*.cpu, .known))]
    NoCpu {
        /// As the guest numbers its processors.
        cpu: u32,
        /// Those that are known.
        known: Vec<u32>,
    },
    /// The tasks are to be served of a guest that is not Linux.
    #[error("the guest is no Linux that is known, and only its tasks can be listed")]
    NoTasks,
    /// The tasks that are to be served cannot be listed.
    #[error("the tasks of this guest cannot be listed")]
    TaskList(#[source] LinuxError),
    /// One process is to be served of a guest whose processes cannot be.
    #[error("no process {0}: only processes of Linux guests can be served")]
    NoProcesses(Which),
    /// The one process that is to be served cannot be.
    #[error("{why}")]
    NotServed {
        /// Its number.
        pid: u32,
        /// Why not.
        why: String,
    },
}

impl Error {
    /// The error with all that caused it, on one line.
    pub fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        text
    }
}

fn system_name(system: OperatingSystem) -> &'static str {
    match system {
        OperatingSystem::Linux => "Linux",
        OperatingSystem::Windows => "Windows",
        OperatingSystem::MacOs => "macOS",
        _ => "strange",
    }
}

fn no_cpu(cpu: u32, known: &[u32]) -> String {
    match known {
        [] => format!("which vCPU is CPU {cpu} of the guest is not known"),
        known => format!("no vCPU is CPU {cpu} of the guest, but CPU {}", listed(known)),
    }
}

fn listed(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}
