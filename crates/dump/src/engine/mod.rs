//! Writes a [`Layout`] to a file: sparse, cloned where the file system can,
//! under a temporary name until it is whole.
//!
//! A format says which bytes are its own (headers, notes) and which guest
//! memory lies at which file offset; everything else is a hole. How the bytes
//! get there is decided here alone, so that every format is equally fast and
//! none can leave half a file behind.

use std::path::{Path, PathBuf};

use vmss2core_mem::{Gpa, PhysicalMemory};

use crate::{DumpError, Input, Monitor, WriteOptions};

mod copy;
mod host;
mod output;
#[cfg(test)]
mod tests;

use output::Output;

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

/// A text file that goes with the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Companion {
    /// What its name has behind the output's.
    pub(crate) suffix: &'static str,
    /// Its content.
    pub(crate) text: String,
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
    /// Files that appear together with it.
    pub(crate) companions: Vec<Companion>,
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
    let create = |path: &Path| Output::create(path, options.overwrite, input.checkpoint);
    let output = create(path)?;
    output.set_len(layout.len_bytes)?;
    for literal in &layout.literals {
        output.write_all_at(&literal.bytes, literal.offset)?;
    }
    // Before the long part, so that one that is in the way is found early.
    let mut companions = Vec::new();
    for companion in &layout.companions {
        let file = create(&with_suffix(path, companion.suffix))?;
        file.write_all_at(companion.text.as_bytes(), 0)?;
        companions.push(file);
    }
    copy_memory(layout, &input.checkpoint.memory, &output, monitor)?;
    output.persist()?;
    companions.into_iter().try_for_each(Output::persist)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn copy_memory(
    layout: &Layout,
    memory: &PhysicalMemory,
    output: &Output,
    monitor: &dyn Monitor,
) -> Result<(), DumpError> {
    let mut copier = copy::Copier::new(memory, output, monitor, layout.memory_bytes());
    for extent in &layout.extents {
        copier.copy(*extent)?;
    }
    copier.finish()
}
