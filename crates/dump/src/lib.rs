//! Writers of the files that debuggers open.
//!
//! A format plans a layout (header bytes, and which guest memory lies at which
//! file offset); one engine writes it: sparse, cloned where the file system
//! can, to a temporary name first. This crate never opens an input file.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

use std::io::Write;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use vmss2core_guest::Facts;
use vmss2core_machine::Checkpoint;
use vmss2core_mem::Problem;

mod elf;
mod engine;
mod error;
pub mod files;
mod kdump;
pub mod output;
pub mod process;
mod raw;
#[cfg(test)]
mod test_support;
mod windbg;

pub use error::DumpError;
pub use kdump::{Compression, CompressionError, DumpLevel, KdumpOptions};
pub use output::Existing;
pub use windbg::{MemoryRuns, WindbgOptions};

/// Told how far a writer has come, and asked whether to go on.
pub trait Monitor: Sync {
    /// `done` of `total` bytes of memory are in the file.
    fn progress(&self, done: u64, total: u64);

    /// Whether the user wants to stop; the writer then leaves nothing behind.
    fn is_cancelled(&self) -> bool;
}

/// A monitor that shows nothing and never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn progress(&self, _done: u64, _total: u64) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// What a writer works from.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The guest.
    pub checkpoint: &'a Checkpoint,
    /// What is known of its operating system. It may still be on the way when a
    /// writer starts (a `LazyLock`): look at it when it is needed, not before.
    pub facts: &'a (dyn Deref<Target = Facts> + Sync),
}

/// What a user may choose about the output.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// What happens to an existing file.
    pub existing: Existing,
    /// Linear view: index of the vCPU whose address space to write.
    pub vcpu: u32,
    /// Linear view: the file lists the other vCPUs as threads too.
    pub all_threads: bool,
    /// Linear view: every range copied as the original did, nothing shared.
    pub no_dedup: bool,
    /// Linear view: use these page tables instead of the vCPU's.
    pub cr3: Option<u64>,
    /// ELF: also write `<core>.gdb`, a gdb script that sets the registers which
    /// a core cannot hold.
    pub gdb_script: bool,
    /// kdump: how pages are stored, and which are left out.
    pub kdump: KdumpOptions,
    /// Windows dumps: what they hold and say.
    pub windbg: WindbgOptions,
}

/// What was written.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub len_bytes: u64,
    /// Bytes of guest memory in it.
    pub memory_bytes: u64,
    /// What could not be written, or is odd.
    pub problems: Vec<Problem>,
    /// Sentences for the user: how to open the file.
    pub hints: Vec<String>,
}

/// An output format.
///
/// To add one:
///
/// 1. A folder `src/NAME/` here: raw structures in `raw.rs` (zerocopy, sizes
///    asserted, the document they come from in the module's first line), the
///    plan in `mod.rs`. Never open or write a file: fill an `engine::Layout`
///    with header bytes and extents of guest memory, and let `engine::write` do
///    the rest; or, if memory does not go into the file as it is, write through
///    an `engine::Output`. What cannot be expressed becomes a [`Problem`] of the summary,
///    how to open the file a hint.
/// 2. One line in [`DUMP_FORMATS`]. Nothing else needs to know the name.
/// 3. Tests: the bytes against an independent reader, awkward sizes, a guest
///    without the facts that the format would like; then the real debugger.
/// 4. A row in the README's table of outputs, and an entry in the changelog.
pub trait DumpFormat: Sync {
    /// Name for `convert --format`.
    fn name(&self) -> &'static str;

    /// One line for `--help`.
    fn about(&self) -> &'static str;

    /// Writes the file.
    fn write(
        &self,
        input: Input<'_>,
        options: &WriteOptions,
        path: &Path,
        monitor: &dyn Monitor,
    ) -> Result<Summary, DumpError>;

    /// Whether [`write_stream`](Self::write_stream) works.
    fn is_stream(&self) -> bool {
        false
    }

    /// Writes a form of the file that needs no going back, for a pipe.
    fn write_stream(
        &self,
        input: Input<'_>,
        options: &WriteOptions,
        out: &mut (dyn Write + Send),
        monitor: &dyn Monitor,
    ) -> Result<Summary, DumpError> {
        let _ = (input, options, out, monitor);
        Err(DumpError::NotAStream { format: self.name() })
    }
}

/// All output formats.
pub static DUMP_FORMATS: &[&dyn DumpFormat] = &[
    &elf::LinuxCore,
    &kdump::KdumpCore,
    &elf::LinearCore,
    &elf::PhysicalCore,
    &raw::RawImage,
    &windbg::WindowsDump,
    &windbg::WindowsBitmapDump,
];

/// The format of that name.
pub fn format(name: &str) -> Option<&'static dyn DumpFormat> {
    DUMP_FORMATS.iter().copied().find(|format| format.name() == name)
}
