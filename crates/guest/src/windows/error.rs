//! Errors of questions to a Windows kernel.

use thiserror::Error;
use vmss2core_mem::Gva;

use vmss2core_machine::paging::AccessError;

/// Why a question to the kernel has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WindowsError {
    /// The guest does not run Windows, or nothing of it was found.
    #[error("no Windows kernel was found in the guest")]
    NotWindows,
    /// The list of something is not known.
    #[error(
        "where the kernel keeps its list of {of} is not known: its debugger data was not found; \
         vmss2core info says why"
    )]
    NoList {
        /// Of what.
        of: &'static str,
    },
    /// The place of a structure's member is not known.
    #[error(
        "where {member} lies is not known: neither the guest's data shows it nor is it known of \
         this build"
    )]
    UnknownMember {
        /// The member, with its structure.
        member: &'static str,
    },
    /// Memory of the kernel could not be read.
    #[error("reading {what}")]
    Read {
        /// The thing that was read.
        what: String,
        /// Why it could not be.
        source: AccessError,
    },
    /// The guest has no such processor.
    #[error("the guest has no CPU {cpu}: Windows knows {known}")]
    NoCpu {
        /// Windows' number.
        cpu: u32,
        /// How many there are.
        known: usize,
    },
    /// The registers of a processor are not Windows' own.
    #[error("CPU {cpu} has no registers of Windows' own: {why}")]
    NoRegisters {
        /// Windows' number.
        cpu: u32,
        /// Why.
        why: String,
    },
    /// A thread that does not run has no stack that is known.
    #[error("the stack of thread {tid} at {thread} is not known")]
    NoStack {
        /// Its number.
        tid: u64,
        /// Its `ETHREAD`.
        thread: Gva,
    },
}
