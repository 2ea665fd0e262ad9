//! Writes a [`Layout`] to a file: sparse, cloned where the file system can,
//! under a temporary name until it is whole.
//!
//! A format says which bytes are its own (headers, notes) and which guest
//! memory lies at which file offset; everything else is a hole. How the bytes
//! get there is decided here alone, so that every format is equally fast and
//! none can leave half a file behind.

use std::path::Path;

use vmss2core_mem::{Gpa, PhysicalMemory};

use crate::{DumpError, Input, Monitor, WriteOptions};

mod copy;
mod host;
mod output;
#[cfg(test)]
mod tests;

pub(crate) use output::write_small_file;

/// Guest memory at a place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where it lies in the file.
    pub(crate) offset: u64,
    /// First guest physical address.
    pub(crate) gpa: Gpa,
    /// Bytes.
    pub(crate) len_bytes: u64,
}

/// Bytes of the format's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    /// Where they lie in the file.
    pub(crate) offset: u64,
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
}

/// What a file consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Headers and tables.
    pub(crate) literals: Vec<Literal>,
    /// Guest memory; every byte of it must be present in the checkpoint.
    pub(crate) extents: Vec<Extent>,
    /// Length of the file.
    pub(crate) len_bytes: u64,
}

impl Layout {
    /// Bytes of guest memory in the file.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.extents.iter().fold(0, |sum, extent| sum.saturating_add(extent.len_bytes))
    }
}

/// Writes the file that `layout` describes to `path`. On any error, and when
/// the user stops it, nothing is left and an existing file is as it was.
///
/// The file is not synced: a power cut may lose it, as it may lose the output
/// of `cp`; syncing would double the time of every conversion.
pub(crate) fn write(
    layout: &Layout,
    input: Input<'_>,
    options: &WriteOptions,
    path: &Path,
    monitor: &dyn Monitor,
) -> Result<(), DumpError> {
    let output = output::Output::create(path, options.overwrite, input.checkpoint)?;
    output.set_len(layout.len_bytes)?;
    for literal in &layout.literals {
        output.write_all_at(&literal.bytes, literal.offset)?;
    }
    copy_memory(layout, &input.checkpoint.memory, &output, monitor)?;
    output.persist()
}

fn copy_memory(
    layout: &Layout,
    memory: &PhysicalMemory,
    output: &output::Output,
    monitor: &dyn Monitor,
) -> Result<(), DumpError> {
    let mut copier = copy::Copier::new(memory, output, monitor, layout.memory_bytes());
    for extent in &layout.extents {
        copier.copy(*extent)?;
    }
    copier.finish()
}
