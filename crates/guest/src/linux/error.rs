//! Errors of questions to the kernel.

use thiserror::Error;
use vmss2core_mem::Gva;

use vmss2core_machine::paging::AccessError;

use super::files::{BTF, SYSTEM_MAP, VMLINUX};

/// Why a question to the kernel has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinuxError {
    /// The guest does not run Linux, or nothing of it was found.
    #[error("no Linux kernel was found in the guest")]
    NotLinux,
    /// There are no page tables to read the kernel's memory with.
    #[error("the page tables of the kernel were not found")]
    NoPageTables,
    /// The place of a structure's member is not known.
    #[error(
        "where {structure}.{member} lies is not known: neither the guest's type information nor \
         its data shows it; give {VMLINUX} or {BTF} of this kernel"
    )]
    UnknownMember {
        /// The structure.
        structure: String,
        /// The member, or several names it had over time.
        member: String,
    },
    /// A variable or function of the kernel is not known.
    #[error(
        "the address of {name} is not known: no symbol table that was found in the guest has it; \
         give {VMLINUX} or {SYSTEM_MAP} of this kernel"
    )]
    UnknownSymbol {
        /// Its name.
        name: String,
    },
    /// A number that the kernel was built with is not known.
    #[error("{name} is not known: neither VMCOREINFO nor the guest's type information has it")]
    UnknownConstant {
        /// Its name.
        name: String,
    },
    /// Where the descriptions of pages lie is not known.
    #[error(
        "where the kernel's struct pages lie is not known: neither VMCOREINFO nor the guest's type \
         information has it, nor does its data show it"
    )]
    UnknownPageArray,
    /// Which pages are used for something is not known.
    #[error("which pages {what} is not known: {why}")]
    UnknownPages {
        /// The use: `are free`.
        what: &'static str,
        /// Why.
        why: &'static str,
    },
    /// Memory of the kernel could not be read.
    #[error("reading {what}")]
    Read {
        /// The thing that was read: `task_struct.mm at 0xffff888003c50000`.
        what: String,
        /// Why it could not be.
        source: AccessError,
    },
    /// A task has no memory of its own.
    #[error(
        "{comm} (process {pid}) has no memory of its own: it belongs to the kernel or has ended"
    )]
    NoMemory {
        /// Its process number.
        pid: u32,
        /// Its name.
        comm: String,
    },
    /// Memory of a process is not in the checkpoint.
    #[error("process memory at {at} is not available: {why}")]
    Unavailable {
        /// The first address.
        at: Gva,
        /// Where it is instead.
        why: String,
    },
    /// Something that was read makes no sense.
    #[error("{what} at {at} makes no sense: {why}")]
    Corrupt {
        /// Its name.
        what: String,
        /// Where it lies.
        at: Gva,
        /// The fault.
        why: String,
    },
    /// A task that has ended has no stack any more.
    #[error("task {tid} has ended and has no stack any more")]
    NoStack {
        /// Its number.
        tid: u32,
    },
    /// A vCPU executes the second kernel, and what it did before is not known.
    #[error(
        "vCPU {vcpu} executes a second kernel since this one crashed, and no registers were found \
         that it left before"
    )]
    LeftForSecondKernel {
        /// Its index.
        vcpu: u32,
    },
    /// A vCPU is where no kernel can be.
    #[error(
        "vCPU {vcpu} executes no code of the kernel: its paging is off, as it is in firmware and \
         before a system starts a processor"
    )]
    NotStarted {
        /// Its index.
        vcpu: u32,
    },
    /// The checkpoint has no registers of a vCPU.
    #[error("the checkpoint has no registers of vCPU {vcpu}")]
    NoRegisters {
        /// Its index.
        vcpu: u32,
    },
}
