//! Files of a guest, rebuilt from its page cache: executables and libraries for
//! debuggers.
//!
//! Bytes that the cache does not have are a hole of the file, and said to be missing; a section
//! table that debuggers can use is put in place of one that is not all there.

use std::ops::Range;
use std::path::{Path, PathBuf};

use vmss2core_guest::Facts;
use vmss2core_guest::linux::{
    Content, Counts, FileRun, MappedFile, PatchBytes, Process, SectionTable,
};

use crate::engine::{self, Extent, FileLayout, Literal};
use crate::views::{Made, MadePages};
use crate::{Chosen, DumpError, Existing, Job, Observer};

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
    /// Repair of its section table.
    pub section_table: SectionTable,
}

/// What becomes of a file of which not a byte is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfNothing {
    /// An error.
    Fails,
    /// A hole as long as it: a debugger that has the program's file, whatever is in it, goes on
    /// to its libraries.
    IsAHole,
}

/// Writes a file that `process` has mapped to `path`, with mode 0600 and under a
/// temporary name until it is whole.
pub fn write(
    process: &Process,
    file: &MappedFile,
    path: &Path,
    (existing, of_nothing): (Existing, OfNothing),
    observer: &dyn Observer,
) -> Result<FileSummary, DumpError> {
    let mut summary = FileSummary { path: path.to_owned(), ..FileSummary::default() };
    let (mut layout, mut made) = (FileLayout::default(), Vec::new());
    let restored = process
        .restored_file(file)
        .map_err(|source| DumpError::UnknownLength { path: path.to_owned(), source })?;
    if of_nothing == OfNothing::Fails
        && let Some(why) = why_nothing_is_known(restored.runs())
    {
        return Err(DumpError::NoContents { path: path.to_owned(), why });
    }
    summary.section_table = restored.section_table().clone();
    layout.len_bytes = restored.len_bytes();
    for run in restored.runs() {
        let (offset, len_bytes) = (run.offset_bytes, run.len_bytes);
        summary.counts.count(run.content, len_bytes);
        match run.content {
            Content::Memory(gpa) | Content::PageCache(gpa) => {
                layout.extents.push(Extent { offset, gpa, len_bytes });
            }
            Content::Zero => {}
            Content::Compressed { .. } => {
                made.push(Made { offset, content: run.content, len_bytes });
            }
            Content::Swapped { .. } | Content::Missing(_) => {
                add(&mut summary.missing, offset..offset.saturating_add(len_bytes));
            }
        }
    }
    for patch in restored.patches() {
        // Zeroes are in place of what is missing, which is a hole.
        if let PatchBytes::Given(bytes) = &patch.bytes {
            layout.overlay.push(Literal { offset: patch.offset, bytes: bytes.clone() });
        }
    }
    summary.len_bytes = layout.len_bytes;
    let facts = &Facts::default();
    let job = Job {
        checkpoint: process.kernel().checkpoint(),
        facts: &facts,
        path,
        existing,
        chosen: Chosen::NOTHING,
        observer,
    };
    let made = MadePages { kernel: process.kernel(), made: &made };
    engine::write_with(&layout, &made, &job)?;
    Ok(summary)
}

/// Why a file's first bytes are missing, if all others are too.
fn why_nothing_is_known(runs: &[FileRun]) -> Option<String> {
    let first = runs.first().filter(|_| runs.iter().all(|run| !run.content.is_there()))?;
    Some(match first.content {
        Content::Missing(why) => why.to_string(),
        _ => "it is swapped out".to_owned(),
    })
}

/// Adds a range after the others, joined with the last one where they touch.
fn add(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

#[cfg(test)]
mod tests {
    use vmss2core_guest::linux::Missing;

    use super::*;

    #[test]
    fn a_file_of_nothing_but_holes_is_none() {
        let run = |content| FileRun { offset_bytes: 0, len_bytes: 4096, content };
        let missing = run(Content::Missing(Missing::Cache));
        let swapped = run(Content::Swapped { area: 0, page: 7 });
        let why = why_nothing_is_known(&[missing, swapped]);
        assert_eq!(why.as_deref(), Some("the page cache of its file cannot be read"));
        assert_eq!(why_nothing_is_known(&[swapped]).as_deref(), Some("it is swapped out"));
        assert_eq!(why_nothing_is_known(&[missing, run(Content::Zero)]), None);
        assert_eq!(why_nothing_is_known(&[]), None);
    }
}
