//! The job of a writer, and its summary.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use vmss2core_guest::Facts;
use vmss2core_machine::Checkpoint;
use vmss2core_mem::Problem;

use crate::{Chosen, Existing};

/// One file to write.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The guest.
    pub checkpoint: &'a Checkpoint,
    /// Facts about its operating system. They may still be on the way when a
    /// writer starts (a `LazyLock`): look at it when it is needed, not before.
    pub facts: &'a (dyn Deref<Target = Facts> + Sync),
    /// The file; of a stream, what it is called.
    pub path: &'a Path,
    /// Treatment of an existing file.
    pub existing: Existing,
    /// The user's choices among those of the format.
    pub chosen: &'a Chosen,
    /// Told how far the writer has come.
    pub observer: &'a dyn Observer,
}

/// Told how far a writer has come, and asked whether to go on.
pub trait Observer: Sync {
    /// `done` of `total` bytes of memory are in the file.
    fn progress(&self, done: u64, total: u64);

    /// Whether the user wants to stop; the writer then leaves nothing behind.
    fn is_cancelled(&self) -> bool;
}

/// An observer that shows nothing and never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn progress(&self, _done: u64, _total: u64) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Summary of a file that was written.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub len_bytes: u64,
    /// Bytes of guest memory in it.
    pub memory_bytes: u64,
    /// Parts that could not be written, or are odd.
    pub problems: Vec<Problem>,
    /// Sentences for the user: how to open the file.
    pub hints: Vec<String>,
}
