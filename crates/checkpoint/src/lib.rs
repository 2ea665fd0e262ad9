//! Readers of virtual machine checkpoints: files in, a [`Checkpoint`] out.
//!
//! [`open`] takes what the user typed (files in any order, or a directory),
//! recognises each by its content, finds what belongs to it and hands the whole
//! to the format that knows it. This crate does not know what runs in the
//! guest, and never prints.
//!
//! `source` takes off what carries checkpoints without being one (gzip, tar,
//! pieces, directories), `find` decides which file leads and what belongs to it,
//! and `format` lists the input formats; its trait says how to add one.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

use std::path::PathBuf;

use vmss2core_machine::Checkpoint;

mod codec;
mod companion;
mod elf;
mod error;
mod find;
mod flat;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod guestdump;
mod inventory;
mod pieces;
mod source;
mod stranger;
#[cfg(test)]
mod testing;
mod vmware;

pub use error::{Candidate, ErrorKind, FormatError, OpenError, Other};
pub use inventory::{Inventory, Item, ItemKind};

/// Options of a caller for opening.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Where unnamed temporary files may be made for inputs that cannot be read
    /// in place (gzip'd memory, bundles). `None` means such inputs are refused
    /// with a message that says so.
    pub spill_dir: Option<PathBuf>,
    /// The most that one compressed file may unpack to, in bytes. Pages of
    /// zeroes count although they take no disk.
    pub max_unpacked_bytes: u64,
    /// Accept a state file whose memory is nowhere to be found, for what it says
    /// by itself; the problems then tell what is missing.
    pub without_memory: bool,
}

impl Default for OpenOptions {
    /// No temporary files, and 4 TiB if a directory for them is put in.
    fn default() -> Self {
        Self { spill_dir: None, max_unpacked_bytes: 4 << 40, without_memory: false }
    }
}

/// An opened checkpoint.
#[derive(Debug)]
pub struct Opened {
    /// The guest.
    pub checkpoint: Checkpoint,
    /// Everything the state file holds, item by item, if the format has items.
    pub inventory: Option<Inventory>,
}

/// Opens the checkpoint that `inputs` name: one or two files in any order, a
/// directory, an archive, or a directory or archive and a memory file.
///
/// Compressed and packed files are unpacked. The file that belongs to a single
/// one is found by name, by what a third file says, or by size; how it was found
/// is in the checkpoint's provenance. What is odd but readable is in its
/// problems.
pub fn open(inputs: &[PathBuf], options: &OpenOptions) -> Result<Opened, OpenError> {
    find::open(inputs, options)
}
