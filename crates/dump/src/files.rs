//! Files of a guest, rebuilt from its page cache: executables and libraries for
//! debuggers.
//!
//! What the cache does not have is a hole of the file, and said to be missing.

use std::ops::Range;
use std::path::{Path, PathBuf};

use vmss2core_guest::Facts;
use vmss2core_guest::linux::{Content, Counts, MappedFile, Process};

use crate::engine::{self, Extent, Layout};
use crate::{DumpError, Existing, Input, Monitor, WriteOptions};

/// A file that was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSummary {
    /// Where.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// Where its bytes were.
    pub counts: Counts,
    /// Offsets whose bytes the checkpoint does not have, in order.
    pub missing: Vec<Range<u64>>,
}

/// Writes a file that `process` has mapped to `path`, with mode 0600 and under a
/// temporary name until it is whole.
pub fn write(
    process: &Process<'_>,
    file: &MappedFile,
    path: &Path,
    existing: Existing,
    monitor: &dyn Monitor,
) -> Result<FileSummary, DumpError> {
    let mut summary = FileSummary { path: path.to_owned(), ..FileSummary::default() };
    let mut layout = Layout { len_bytes: file.len_bytes.unwrap_or(0), ..Layout::default() };
    summary.len_bytes = layout.len_bytes;
    for run in process.file_runs(file) {
        let (offset, len_bytes) = (run.offset_bytes, run.len_bytes);
        summary.counts.count(run.content, len_bytes);
        match run.content {
            Content::Memory(gpa) | Content::PageCache(gpa) => {
                layout.extents.push(Extent { offset, gpa, len_bytes });
            }
            Content::Zero => {}
            Content::Swapped { .. } | Content::Missing(_) => {
                add(&mut summary.missing, offset..offset + len_bytes);
            }
        }
    }
    let facts: &Facts = process.kernel().facts();
    let input = Input { checkpoint: process.kernel().checkpoint(), facts: &facts };
    let options = WriteOptions { existing, ..WriteOptions::default() };
    engine::write(&layout, input, &options, path, monitor)?;
    Ok(summary)
}

/// Adds a range behind the others, joined with the last one where they touch.
fn add(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}
