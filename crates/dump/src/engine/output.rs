//! The file being written: temporary until [`Output::persist`], never readable
//! by others, never an input, never anything but a regular file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use vmss2core_mem::Checkpoint;

use super::host;
use crate::DumpError;

/// An output file under its temporary name; dropping it removes it.
pub(crate) struct Output {
    file: NamedTempFile,
    path: PathBuf,
    overwrite: bool,
}

impl Output {
    /// Makes the temporary file beside `path`, with mode 0600: guest memory is
    /// full of secrets. Fails early if `path` could not be taken in the end.
    pub(crate) fn create(
        path: &Path,
        overwrite: bool,
        checkpoint: &Checkpoint,
    ) -> Result<Self, DumpError> {
        // The file behind a link is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        check_destination(&path, overwrite)?;
        refuse_input(&path, checkpoint)?;
        let file = tempfile::Builder::new()
            .prefix(".vmss2core-")
            .tempfile_in(directory(&path))
            .map_err(|source| DumpError::Write { path: path.clone(), source })?;
        Ok(Self { file, path, overwrite })
    }

    pub(crate) fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Directory the file lies in.
    pub(crate) fn directory(&self) -> &Path {
        directory(&self.path)
    }

    pub(crate) fn set_len(&self, len_bytes: u64) -> Result<(), DumpError> {
        self.file().set_len(len_bytes).map_err(|source| self.error(source))
    }

    pub(crate) fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), DumpError> {
        host::write_all_at(self.file(), bytes, offset).map_err(|source| self.error(source))
    }

    /// How long it has become.
    pub(crate) fn len_bytes(&self) -> Result<u64, DumpError> {
        self.file().metadata().map(|file| file.len()).map_err(|source| self.error(source))
    }

    pub(crate) fn error(&self, source: io::Error) -> DumpError {
        DumpError::Write { path: self.path.clone(), source }
    }

    /// Gives the file its name in one step. Whether the name is free is decided
    /// by the same system call that takes it.
    pub(crate) fn persist(self) -> Result<(), DumpError> {
        let Self { file, path, overwrite } = self;
        let persisted = if overwrite { file.persist(&path) } else { file.persist_noclobber(&path) };
        match persisted {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Err(DumpError::Exists { path })
            }
            Err(error) => Err(DumpError::Write { path, source: error.error }),
        }
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn check_destination(path: &Path, overwrite: bool) -> Result<(), DumpError> {
    match fs::symlink_metadata(path) {
        // Renaming over a device or a pipe would remove it from the system.
        Ok(metadata) if !metadata.is_file() && !metadata.is_symlink() => {
            Err(DumpError::NotAFile { path: path.to_owned() })
        }
        Ok(_) if !overwrite => Err(DumpError::Exists { path: path.to_owned() }),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(DumpError::Write { path: path.to_owned(), source }),
    }
}

fn refuse_input(path: &Path, checkpoint: &Checkpoint) -> Result<(), DumpError> {
    let is_input = |file: &Path| fs::canonicalize(file).is_ok_and(|file| file == path);
    if checkpoint.provenance.files.iter().any(|file| is_input(&file.path)) {
        return Err(DumpError::IsInput { path: path.to_owned() });
    }
    Ok(())
}
