//! Readers of virtual machine checkpoints: files in, a [`Checkpoint`] out.
//!
//! [`open`] takes what the user typed (files in any order, or a directory),
//! recognises each by its content, finds what belongs to it and hands the whole
//! to the [`Format`] that knows it. This crate does not know what runs in the
//! guest, and never prints.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use vmss2core_mem::Checkpoint;

#[allow(dead_code, unused_imports, reason = "open() is wired to it next")]
mod codec;
mod error;
mod inventory;
mod source;
#[allow(dead_code, unused_imports, reason = "open() is wired to it next")]
mod vmware;

pub use error::OpenError;
pub use inventory::{Inventory, Item, ItemKind};
pub use vmware::VmwareError;

/// What a caller may decide about opening.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Where unnamed temporary files may be made for inputs that cannot be read
    /// in place (gzip'd memory, bundles). `None` means such inputs are refused
    /// with a message that says so.
    pub spill_dir: Option<PathBuf>,
}

/// An opened checkpoint.
#[derive(Debug)]
pub struct Opened {
    /// The guest.
    pub checkpoint: Checkpoint,
    /// Everything the state file holds, item by item, if the format has items.
    pub inventory: Option<Inventory>,
}

/// Opens the checkpoint that `inputs` name: one or two files in any order, or a
/// directory.
pub fn open(inputs: &[PathBuf], options: &OpenOptions) -> Result<Opened, OpenError> {
    let _ = options;
    Err(OpenError::NotACheckpoint { path: inputs.first().cloned().unwrap_or_default() })
}
