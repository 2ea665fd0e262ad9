//! Writers of the files that debuggers open.
//!
//! A format plans a layout (header bytes, and which guest memory lies at which
//! file offset); one engine writes it: sparse, cloned where the file system
//! can, to a temporary name first. This crate never opens an input file.

#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use vmss2core_guest::Facts;
use vmss2core_mem::{Checkpoint, Problem};

/// Told how far a writer has come, and asked whether to go on.
pub trait Monitor: Sync {
    /// `done` of `total` bytes of memory are in the file.
    fn progress(&self, done: u64, total: u64);

    /// Whether the user wants to stop; the writer then leaves nothing behind.
    fn is_cancelled(&self) -> bool;
}

/// What a writer works from.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The guest.
    pub checkpoint: &'a Checkpoint,
    /// What is known of its operating system.
    pub facts: &'a Facts,
}

/// What a user may choose about the output.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Replace an existing file.
    pub overwrite: bool,
    /// Linear view: index of the vCPU whose address space to write.
    pub vcpu: u32,
    /// Linear view: the file lists the other vCPUs as threads too.
    pub all_threads: bool,
    /// Linear view: every range copied as the original did, nothing shared.
    pub no_dedup: bool,
    /// Linear view: use these page tables instead of the vCPU's.
    pub cr3: Option<u64>,
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
}

/// All output formats.
pub static DUMP_FORMATS: &[&dyn DumpFormat] = &[];

/// Why a file could not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The output exists and may not be replaced.
    #[error("{} exists; use --force to replace it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The user stopped it; nothing was left behind.
    #[error("stopped; nothing was written")]
    Cancelled,
    /// The output could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}
