//! Writes a [`FileLayout`] to a file: sparse, cloned where the file system can,
//! under a temporary name until it is whole.
//!
//! A format says which bytes are its own (headers, notes) and which guest
//! memory lies at which file offset; everything else is a hole. How the bytes
//! get there is decided here alone, so that every format is equally fast and
//! none can leave half a file behind.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use vmss2core_mem::{Gpa, PhysicalMemory};

use crate::output::{Existing, Output};
use crate::{DumpError, Job, Observer};

mod copy;
#[cfg(test)]
mod early_tests;
mod holes;
pub(crate) mod host;
#[cfg(test)]
mod tests;

pub(crate) use copy::is_zero;
pub(crate) use holes::data_ranges;

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
    /// Suffix of its name after the output's.
    pub(crate) suffix: &'static str,
    /// Its content.
    pub(crate) text: String,
}

/// The parts of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileLayout {
    /// Headers and tables.
    pub(crate) literals: Vec<Literal>,
    /// Guest memory; every byte of it must be present in the checkpoint.
    pub(crate) extents: Vec<Extent>,
    /// Bytes to write over the memory, in this order: a later one wins. The
    /// input keeps what it has.
    pub(crate) overlay: Vec<Literal>,
    /// Length of the file.
    pub(crate) len_bytes: u64,
    /// Files that appear together with it.
    pub(crate) companions: Vec<Companion>,
}

impl FileLayout {
    /// Bytes of guest memory in the file.
    pub(crate) fn memory_bytes(&self) -> u64 {
        memory_bytes(&self.extents)
    }
}

fn memory_bytes(extents: &[Extent]) -> u64 {
    extents.iter().fold(0, |sum, extent| sum.saturating_add(extent.len_bytes))
}

/// Writes the file that `layout` describes. On any error, and when
/// the user stops it, nothing is left and an existing file is as it was.
///
/// The file is not synced: a power cut may lose it, as it may lose the output
/// of `cp`; syncing would double the time of every conversion.
pub(crate) fn write(layout: &FileLayout, job: &Job<'_>) -> Result<(), DumpError> {
    write_with(layout, &Nothing, job)
}

/// Takes bytes, and where in the file they go.
pub(crate) type Write<'w> = dyn FnMut(&[u8], u64) -> Result<(), DumpError> + 'w;

/// Bytes that lie nowhere in memory as they are, and are made when it is their turn.
pub(crate) trait Made {
    /// Passes on each piece with where it goes.
    fn write(&self, write: &mut Write<'_>) -> Result<(), DumpError>;
}

struct Nothing;

impl Made for Nothing {
    fn write(&self, _: &mut Write<'_>) -> Result<(), DumpError> {
        Ok(())
    }
}

/// Like [`write`], with bytes that are made.
pub(crate) fn write_with(
    layout: &FileLayout,
    made: &dyn Made,
    job: &Job<'_>,
) -> Result<(), DumpError> {
    let output = Output::create(job.path, job.existing, &job.checkpoint.about.provenance)?;
    let companions = write_rest(layout, &output, job)?;
    copy_memory(&layout.extents, &job.checkpoint.memory, &output, job.observer)?;
    made.write(&mut |bytes, offset| output.write_all_at(bytes, offset))?;
    write_literals(&layout.overlay, &output)?;
    output.persist()?;
    companions.into_iter().try_for_each(Output::persist)
}

/// Like [`write`], for a layout that takes its time: memory is copied to where
/// it is expected to lie, side by side with working out the layout. An
/// expectation that proves wrong costs the time, nothing else; an empty one says
/// that there is none. Returns the layout.
pub(crate) fn write_early(
    expected: &[Extent],
    layout: impl FnOnce() -> Result<FileLayout, DumpError> + Send,
    job: &Job<'_>,
) -> Result<FileLayout, DumpError> {
    if expected.is_empty() {
        let layout = layout()?;
        write(&layout, job)?;
        return Ok(layout);
    }
    let output = Output::create(job.path, job.existing, &job.checkpoint.about.provenance)?;
    let stoppable = Stoppable { observer: job.observer, stop: AtomicBool::new(false) };
    let memory = &job.checkpoint.memory;
    let (copied, rest) = thread::scope(|scope| {
        let rest = scope.spawn(|| {
            let rest = layout().and_then(|layout| {
                let companions = write_rest(&layout, &output, job)?;
                Ok((layout, companions))
            });
            let is_wanted = rest.as_ref().is_ok_and(|(layout, _)| layout.extents == expected);
            stoppable.stop.store(!is_wanted, Ordering::Relaxed);
            rest
        });
        // This thread copies and not the other, as signals go to the main thread:
        // it cannot then finish the file before it has heard of one.
        let copied = copy_memory(expected, memory, &output, &stoppable);
        // A panic there goes on here, as it would without the thread.
        (copied, rest.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let (layout, companions) = rest?;
    if layout.extents != expected {
        drop((output, companions));
        write(&layout, job)?;
        return Ok(layout);
    }
    copied?;
    write_literals(&layout.overlay, &output)?;
    output.set_len(layout.len_bytes)?;
    output.persist()?;
    companions.into_iter().try_for_each(Output::persist)?;
    Ok(layout)
}

/// An observer with which we can stop, too.
struct Stoppable<'a> {
    observer: &'a dyn Observer,
    stop: AtomicBool,
}

impl Observer for Stoppable<'_> {
    fn progress(&self, done: u64, total: u64) {
        self.observer.progress(done, total);
    }

    fn is_cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.observer.is_cancelled()
    }
}

/// Writes everything but the memory; returns the files that belong to it.
fn write_rest(
    layout: &FileLayout,
    output: &Output,
    job: &Job<'_>,
) -> Result<Vec<Output>, DumpError> {
    output.set_len(layout.len_bytes)?;
    write_literals(&layout.literals, output)?;
    // Before the long part, so that one that is in the way is found early.
    let companion = |companion: &Companion| {
        let path = with_suffix(job.path, companion.suffix);
        // Nobody typed this name.
        let existing = match job.existing {
            Existing::Stays => Existing::Stays,
            _ => Existing::IsReplacedUnlessLink,
        };
        let file = Output::create(&path, existing, &job.checkpoint.about.provenance)?;
        file.write_all_at(companion.text.as_bytes(), 0)?;
        Ok(file)
    };
    layout.companions.iter().map(companion).collect()
}

fn write_literals(literals: &[Literal], output: &Output) -> Result<(), DumpError> {
    literals.iter().try_for_each(|literal| output.write_all_at(&literal.bytes, literal.offset))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn copy_memory(
    extents: &[Extent],
    memory: &PhysicalMemory,
    output: &Output,
    observer: &dyn Observer,
) -> Result<(), DumpError> {
    let mut copier = copy::Copier::new(memory, output, observer, memory_bytes(extents));
    for extent in extents {
        copier.copy(*extent)?;
    }
    copier.finish()
}
