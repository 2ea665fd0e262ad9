//! Why a VMware state file could not be opened.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::OpenError;
use crate::codec::CodecError;
use crate::error::FormatError;

/// Why a VMware state file could not be opened. What is merely odd or missing
/// does not stop a reader; it is listed with the result.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum VmwareError {
    /// The file could not be read.
    #[error("{}: cannot read {what} at offset {offset:#x}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The thing to be read there.
        what: &'static str,
        /// Where in the file.
        offset: u64,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The first bytes are not those of a state file.
    #[error("{}: not a VMware state file", path.display())]
    NotState {
        /// The file.
        path: PathBuf,
    },
    /// The group table does not fit the file.
    #[error(
        "{}: cut off or damaged: the table of {groups} groups ends at {needed:#x}, the file at \
         {len:#x}; copy it again",
        path.display()
    )]
    TableTooLong {
        /// The file.
        path: PathBuf,
        /// Groups that the header announces.
        groups: u32,
        /// Where their table would end.
        needed: u64,
        /// Length of the file.
        len: u64,
    },
    /// More groups than any product writes.
    #[error(
        "{}: damaged: the header announces {groups} groups, products write about a hundred",
        path.display()
    )]
    TooManyGroups {
        /// The file.
        path: PathBuf,
        /// Groups that the header announces.
        groups: u32,
    },
    /// A file of the old 32-bit layout whose group table fits neither form.
    #[error(
        "{}: the group table of this old 32-bit file (magic {magic:#x}) has neither 72- nor \
         80-byte entries; please send in the first 4 KiB of the file",
        path.display()
    )]
    UnknownTable {
        /// The file.
        path: PathBuf,
        /// Its first word.
        magic: u32,
    },
    /// A snapshot that was taken without memory.
    #[error(
        "{}: this checkpoint holds neither memory nor processors: it was taken without memory, or \
         of a machine that was off; suspend the machine or take a snapshot with memory",
        path.display()
    )]
    TakenWithoutMemory {
        /// The file.
        path: PathBuf,
    },
    /// The memory lies in another file, which was not given.
    #[error(
        "{}: the guest's memory is in a separate file, which is missing: give it as second \
         argument (a .vmem, or a file named by a UUID){}",
        path.display(),
        expected_size(*expected)
    )]
    MemoryFileMissing {
        /// The state file.
        path: PathBuf,
        /// How long the memory file should be, if known.
        expected: Option<u64>,
    },
    /// The memory lies in another file, which has nothing in it.
    #[error(
        "{}: this memory file is empty{}: copy it again",
        path.display(),
        expected.map_or(String::new(), |len| format!(", it should have {len} bytes"))
    )]
    MemoryFileEmpty {
        /// The memory file.
        path: PathBuf,
        /// How long it should be, if known.
        expected: Option<u64>,
    },
    /// The memory inside the file is compressed and could not be expanded.
    #[error("{}: cannot expand the memory block at offset {offset:#x}", path.display())]
    CompressedMemory {
        /// The file.
        path: PathBuf,
        /// Where the block's data start.
        offset: u64,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl VmwareError {
    pub(super) fn compressed(path: PathBuf, offset: u64, source: CodecError) -> Self {
        Self::CompressedMemory { path, offset, source: Box::new(source) }
    }
}

impl From<VmwareError> for OpenError {
    fn from(error: VmwareError) -> Self {
        Self::Format(FormatError { format: super::NAME, error: Box::new(error) })
    }
}

fn expected_size(len: Option<u64>) -> String {
    len.map_or(String::new(), |len| format!(", {len} bytes long"))
}
