//! Writers of the files that debuggers open.
//!
//! A format plans a layout (header bytes, and which guest memory lies at which
//! file offset); one engine writes it: sparse, cloned where the file system
//! can, to a temporary name first. This crate never opens an input file.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

use std::io::Write;
use vmss2core_guest::Facts;

mod arch;
mod choice;
mod elf;
mod elf_core;
mod engine;
mod error;
pub mod files;
mod job;
mod kdump;
pub mod output;
pub mod process;
mod raw;
#[cfg(test)]
mod tests;
mod views;
mod windbg;

pub use choice::{Choice, ChoiceError, Chosen, Owners, Takes, Value, ValueError, choices};
pub use error::DumpError;
pub use job::{Job, Observer, Silent, Summary};
pub use output::Existing;

/// An output format.
///
/// To add one:
///
/// 1. Its structures in the crate `formats` (zerocopy, sizes asserted, the document they
///    come from in the module's first line); a folder `src/NAME/` here with the plan in
///    `mod.rs`. What of a guest goes into it comes from `views`, the parts of ELF
///    cores from `elf_core`; formats do not know each other. Never open or write a
///    file: fill an `engine::FileLayout` with header bytes and extents of guest memory,
///    and let `engine::write` do the rest; or, if memory does not go into the file as
///    it is, write through an `output::Output`. What cannot be expressed becomes a
///    `Problem` of the summary, how to open the file a hint. What the user may choose
///    is a [`Choice`] each, read from [`Job::chosen`].
/// 2. One line in [`DUMP_FORMATS`]. Nothing else needs to know the name: the command
///    line makes its options, its help and its refusals from the choices.
/// 3. Tests: the bytes against an independent reader, awkward sizes, a guest
///    without the facts that the format would like; then the real debugger.
/// 4. A row in docs/outputs.md, and an entry in the changelog.
pub trait DumpFormat: Sync {
    /// Name for whoever chooses it.
    fn name(&self) -> &'static str;

    /// One line about it.
    fn about(&self) -> &'static str;

    /// Choices that it offers to users.
    fn choices(&self) -> &'static [&'static Choice] {
        &[]
    }

    /// Whether all that was chosen goes together.
    fn check(&self, chosen: &Chosen) -> Result<(), ChoiceError> {
        let _ = chosen;
        Ok(())
    }

    /// Writes the file.
    fn write(&self, job: &Job<'_>) -> Result<Summary, DumpError>;

    /// The format for a pipe, if it has a form that needs no going back.
    fn stream(&self) -> Option<&dyn StreamFormat> {
        None
    }
}

impl dyn DumpFormat + '_ {
    /// Its choice of that name.
    pub fn choice(&self, name: &str) -> Option<&'static Choice> {
        self.choices().iter().copied().find(|choice| choice.name == name)
    }
}

/// A format that can be written from front to back.
pub trait StreamFormat: Sync {
    /// Writes the form of the file that needs no going back.
    fn write(&self, job: &Job<'_>, out: &mut (dyn Write + Send)) -> Result<Summary, DumpError>;
}

/// All output formats; the first is what most users want.
pub static DUMP_FORMATS: &[&dyn DumpFormat] = &[
    &elf::LinuxCore,
    &kdump::KdumpCore,
    &elf::LinearCore,
    &elf::PhysicalCore,
    &raw::RawImage,
    &windbg::WindowsDump,
    &windbg::WindowsBitmapDump,
];

/// Name of the format that this guest's own debuggers open.
pub fn format_for(facts: &Facts) -> &'static str {
    let has_address_space = || facts.vcpus.iter().any(|vcpu| vcpu.mode().is_some());
    if facts.windows().is_some() {
        "windbg"
    } else if facts.linux().is_some() {
        "elf"
    } else if has_address_space() {
        "elf-linear"
    } else {
        "elf-physical"
    }
}

/// Error: the format is one of Linux, and the guest is another system or none.
fn not_linux(format: &'static str, job: &Job<'_>) -> DumpError {
    DumpError::NotLinux { format, system: job.facts.system().map(vmss2core_guest::System::name) }
}

/// The format of that name.
pub fn format(name: &str) -> Option<&'static dyn DumpFormat> {
    DUMP_FORMATS.iter().copied().find(|format| format.name() == name)
}
