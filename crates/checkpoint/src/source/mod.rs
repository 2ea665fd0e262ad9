//! Byte objects: files, and what is unpacked from files.
//!
//! Everything that carries checkpoints without being one lives here: plain
//! files, directories, gzip, tar, and files cut into `FRAG` pieces. Nothing here
//! knows a checkpoint format.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vmss2core_mem::{Problem, ReadAt};

use crate::OpenError;

mod extents;
mod folder;
mod frag;
mod gzip;
mod room;
mod spill;
mod stream;
mod tar;
mod unpack;

pub(crate) use extents::Extents;
pub(crate) use folder::{Entry, Folder, base_name, parent};
pub(crate) use room::Room;
pub(crate) use spill::{is_zero, write_sparse};
pub(crate) use unpack::{Content, Ledger, Peek, Unpacker};

/// Bytes of an object that are looked at to tell what it is.
pub(crate) const HEAD_LEN: usize = 8192;

/// One opened byte object: a file, or something unpacked from one.
#[derive(Clone)]
pub(crate) struct Source {
    /// Where it lies, for messages; a member of an archive has the path of the
    /// archive with its own name after it.
    pub(crate) path: PathBuf,
    /// Its bytes.
    pub(crate) bytes: Arc<dyn ReadAt>,
    /// How many there are.
    pub(crate) len: u64,
    /// How it was found: "given", "same name", "named in x.vmx".
    pub(crate) found: String,
    /// The files of the host that it was opened from.
    pub(crate) host_files: Vec<PathBuf>,
}

/// A byte object ready to be read, with what went wrong on the way to it.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The object.
    pub(crate) source: Source,
    /// Problems of unpacking it.
    pub(crate) problems: Vec<Problem>,
}

impl From<Source> for Item {
    fn from(source: Source) -> Self {
        Self { source, problems: Vec::new() }
    }
}

impl Source {
    /// Opens the regular file at `path`.
    ///
    /// Anything else is refused before it is opened: opening a pipe would wait
    /// for a writer forever.
    pub(crate) fn open(path: &Path, found: &str) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Open { path: path.to_owned(), source };
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(OpenError::NotAFile { path: path.to_owned() });
        }
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        Ok(Self {
            path: path.to_owned(),
            bytes: Arc::new(file),
            len,
            found: found.to_owned(),
            host_files: vec![path.to_owned()],
        })
    }

    /// Fills `buf` with the bytes at `offset`.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), OpenError> {
        self.bytes.read_exact_at(offset, buf).map_err(|source| self.read_error(offset, source))
    }

    /// The first `max` bytes, or all if there are fewer.
    pub(crate) fn start(&self, max: usize) -> Result<Vec<u8>, OpenError> {
        let mut head = vec![0; usize::try_from(self.len).map_or(max, |len| len.min(max))];
        self.read(0, &mut head)?;
        Ok(head)
    }

    fn read_error(&self, offset: u64, source: io::Error) -> OpenError {
        OpenError::Read { path: self.path.clone(), offset, source }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({}, {:#x} bytes, {})", self.path.display(), self.len, self.found)
    }
}
