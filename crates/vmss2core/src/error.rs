//! Why the library cannot do what it was asked.

use std::error::Error as StdError;

use thiserror::Error;
use vmss2core_checkpoint::OpenError;
use vmss2core_dump::{ChoiceError, DumpError};
use vmss2core_guest::linux::{FileError, LinuxError};
use vmss2core_guest::{AskError, Which};

/// Why something could not be opened, answered, written or served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The files are no checkpoint that can be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The guest cannot answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Nobody knows whom to ask.
    #[error("no operating system was recognised in the guest")]
    NoSystem,
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] DumpError),
    /// The question cannot be asked of such a guest.
    #[error("this is a {0} guest, of which this cannot be asked")]
    OtherSystem(&'static str),
    /// Something was chosen that an output format does not offer.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// No output format has this name.
    #[error("no output format is called {0}")]
    NoFormat(String),
    /// Nothing tells the kernel's symbols.
    #[error(
        "no symbol table was found in the kernel's image: it may have none (built without \
         CONFIG_KALLSYMS), have one of a form that cannot be read, or lie where it was not \
         looked for"
    )]
    NoSymbols,
    /// One process is asked for by a name that several have.
    #[error("the guest has {} processes that are called {name}: {}", .pids.len(), listed(.pids))]
    SeveralProcesses {
        /// The name, made safe to print.
        name: String,
        /// Their numbers.
        pids: Vec<u64>,
    },
    /// What is asked for has no memory of its own; in a sentence that is safe to print.
    #[error("{0}")]
    NoProcessMemory(String),
    /// The memory of a process cannot be read.
    #[error("opening the memory of process {pid}")]
    Process {
        /// Its number.
        pid: u32,
        /// Why not.
        source: LinuxError,
    },
    /// The tasks are to be served of a guest that is not Linux.
    #[error("no Linux kernel was found in the guest, and only of Linux tasks can be served")]
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

fn listed(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

impl From<LinuxError> for Error {
    fn from(error: LinuxError) -> Self {
        Self::Ask(error.into())
    }
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        Self::Ask(error.into())
    }
}
