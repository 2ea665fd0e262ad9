//! Every file that this program writes: temporary until it is whole, never
//! readable by others, never an input, never anything but a regular file.
//!
//! A temporary file has a name, as not every file system can give one to an
//! unnamed file. [`abandon`] removes those names, for a program that is about to
//! end in the middle.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{NamedTempFile, TempPath};
use vmss2core_machine::Provenance;

use crate::DumpError;
use crate::engine::host;

/// Treatment of a file that has the output's name already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and nothing is written.
    #[default]
    Stays,
    /// It is replaced; if it is a symbolic link, the file that it leads to. For
    /// names that the user typed, with a word that it may be replaced.
    IsReplaced,
    /// It is replaced if it is a file, and stays if it is a symbolic link. For
    /// names that nobody typed: somebody else may have put the link there.
    IsReplacedUnlessLink,
}

/// An output file under its temporary name; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Output {
    file: File,
    name: TemporaryName,
    path: PathBuf,
    existing: Existing,
}

impl Output {
    /// Makes the temporary file beside `path`, with mode 0600: guest memory is
    /// full of secrets. Fails early if `path` could not be taken in the end.
    pub(crate) fn create(
        path: &Path,
        existing: Existing,
        inputs: &Provenance,
    ) -> Result<Self, DumpError> {
        let path = destination(path, existing, inputs)?;
        let (file, name) = TemporaryName::take(&path, |builder, dir| builder.tempfile_in(dir))?;
        Ok(Self { file, name, path, existing })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
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
        self.name.persist(&self.path, self.existing)
    }
}

/// Writes a small file whose content is there already.
pub fn write(
    path: &Path,
    existing: Existing,
    inputs: &Provenance,
    bytes: &[u8],
) -> Result<(), DumpError> {
    let output = Output::create(path, existing, inputs)?;
    output.write_all_at(bytes, 0)?;
    output.persist()
}

/// Writes a file without secrets, which everybody may read whom the user's umask lets,
/// under a name that nobody typed.
pub fn write_readable(path: &Path, bytes: &[u8]) -> Result<(), DumpError> {
    let existing = Existing::IsReplacedUnlessLink;
    check_existing(path, existing)?;
    let (mut file, name) =
        TemporaryName::take(path, |builder, directory| readable(builder).tempfile_in(directory))?;
    let written = io::Write::write_all(&mut file, bytes);
    written.map_err(|source| DumpError::Write { path: path.to_owned(), source })?;
    name.persist(path, existing)
}

#[cfg(unix)]
fn readable<'b, 's>(
    builder: &'b mut tempfile::Builder<'s, 's>,
) -> &'b mut tempfile::Builder<'s, 's> {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable<'b, 's>(
    builder: &'b mut tempfile::Builder<'s, 's>,
) -> &'b mut tempfile::Builder<'s, 's> {
    builder
}

/// Error: no file can be made beside `path`. That of the temporary file names that one, which
/// nobody asked for.
fn not_made(path: &Path, error: io::Error) -> DumpError {
    let directory = directory(path);
    if error.kind() == io::ErrorKind::NotFound && !directory.exists() {
        return DumpError::NoDirectory { path: path.into(), directory: directory.into() };
    }
    let cause = error.get_ref().and_then(std::error::Error::source);
    let code = cause.and_then(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
    let source = code.map_or(error, io::Error::from_raw_os_error);
    DumpError::Write { path: path.into(), source }
}

/// Gives an output a second name; on file systems without hard links, a copy.
pub fn link(
    output: &Path,
    name: &Path,
    existing: Existing,
    inputs: &Provenance,
) -> Result<(), DumpError> {
    let path = destination(name, existing, inputs)?;
    // Renaming one name of a file over another does nothing and leaves both.
    if is_same_file(output, &path) {
        return Ok(());
    }
    let second = TemporaryName::take(&path, |builder, dir| {
        builder.make_in(dir, |temporary| fs::hard_link(output, temporary))
    });
    match second {
        Ok(((), second)) => second.persist(&path, existing),
        Err(_) => copy(output, name, existing, inputs),
    }
}

fn copy(
    output: &Path,
    name: &Path,
    existing: Existing,
    inputs: &Provenance,
) -> Result<(), DumpError> {
    let second = Output::create(name, existing, inputs)?;
    let copied = File::open(output).and_then(|mut from| io::copy(&mut from, &mut second.file()));
    copied.map_err(|source| second.error(source))?;
    second.persist()
}

/// Removes all temporary files for a program that is about to end. Until the
/// answer is dropped no output gets its name, and no new one begins.
pub fn abandon() -> Abandoned {
    let unfinished = unfinished();
    for path in unfinished.iter() {
        // One that cannot be removed cannot be helped.
        let _ = fs::remove_file(path);
    }
    Abandoned { _unfinished: unfinished }
}

/// Keeps outputs from going on.
#[derive(Debug)]
pub struct Abandoned {
    _unfinished: MutexGuard<'static, BTreeSet<PathBuf>>,
}

/// Names of temporary files.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The temporary name of a file, which is gone when this is.
#[derive(Debug)]
struct TemporaryName {
    /// `None` once the file has its name.
    path: Option<TempPath>,
}

impl TemporaryName {
    /// Makes something beside `path`.
    fn take<T>(
        path: &Path,
        make: impl FnOnce(
            &mut tempfile::Builder<'static, 'static>,
            &Path,
        ) -> io::Result<NamedTempFile<T>>,
    ) -> Result<(T, Self), DumpError> {
        let mut unfinished = unfinished();
        let made = make(tempfile::Builder::new().prefix(".vmss2core-"), directory(path));
        let made = made.map_err(|source| not_made(path, source))?;
        let (made, path) = made.into_parts();
        unfinished.insert(path.to_path_buf());
        Ok((made, Self { path: Some(path) }))
    }

    fn persist(mut self, name: &Path, existing: Existing) -> Result<(), DumpError> {
        let Some(temporary) = self.path.take() else { return Ok(()) };
        let mut unfinished = unfinished();
        unfinished.remove(temporary.as_ref() as &Path);
        let persisted = match existing {
            Existing::Stays => temporary.persist_noclobber(name),
            Existing::IsReplaced | Existing::IsReplacedUnlessLink => temporary.persist(name),
        };
        let Err(error) = persisted else { return Ok(()) };
        let path = name.to_owned();
        Err(match error.error.kind() {
            io::ErrorKind::AlreadyExists => DumpError::Exists { path },
            _ => DumpError::Write { path, source: error.error },
        })
    }
}

impl Drop for TemporaryName {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        let mut unfinished = unfinished();
        unfinished.remove(path.as_ref() as &Path);
        drop(path);
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Where an output called `path` goes, if it may go there.
fn destination(path: &Path, existing: Existing, inputs: &Provenance) -> Result<PathBuf, DumpError> {
    let path = match existing {
        Existing::IsReplaced => fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
        Existing::Stays | Existing::IsReplacedUnlessLink => path.to_owned(),
    };
    check_existing(&path, existing)?;
    if inputs.host_files.iter().any(|input| is_same_file(input, &path)) {
        return Err(DumpError::IsInput { path });
    }
    Ok(path)
}

/// Whether an output called `path` would be in somebody's way. Writers look, too:
/// this is to say it before the work, not after it.
pub fn check_existing(path: &Path, existing: Existing) -> Result<(), DumpError> {
    let path_buf = || path.to_owned();
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(DumpError::Write { path: path_buf(), source }),
    };
    let is_link = metadata.is_symlink();
    match existing {
        // Renaming over a device or a pipe would remove it from the system.
        _ if !metadata.is_file() && !is_link => Err(DumpError::NotAFile { path: path_buf() }),
        Existing::Stays => Err(DumpError::Exists { path: path_buf() }),
        Existing::IsReplacedUnlessLink if is_link => Err(DumpError::IsLink { path: path_buf() }),
        Existing::IsReplaced | Existing::IsReplacedUnlessLink => Ok(()),
    }
}

/// Whether two names are of one file, by whatever links.
#[cfg(unix)]
fn is_same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let identity = |path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    identity(one).is_some_and(|one| Some(one) == identity(other))
}

/// Whether two names are of one file, by whatever symbolic links.
#[cfg(not(unix))]
fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::canonicalize(path).ok();
    identity(one).is_some_and(|one| Some(one) == identity(other))
}

#[cfg(test)]
mod tests;
