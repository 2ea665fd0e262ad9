//! A set of files to choose from: a directory, or the members of an archive.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vmss2core_mem::{Problem, ReadAt};

use super::{Source, frag};
use crate::OpenError;

/// Files looked at most; a vm-support bundle has some ten thousand.
pub(super) const MAX_FILES: usize = 50_000;

/// Directories below the one given; a bundle nests about six.
const MAX_DEPTH: u32 = 24;

/// A directory or an archive, and the files in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folder {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Its regular files, sorted by name, pieces joined to wholes.
    pub(crate) entries: Vec<Entry>,
    /// Entries that could not be looked at.
    pub(crate) problems: Vec<Problem>,
}

/// One file of a [`Folder`].
#[derive(Clone)]
pub(crate) struct Entry {
    /// Path within the folder, with `/` between its parts.
    pub(crate) name: String,
    /// Path for messages.
    pub(crate) path: PathBuf,
    /// Length in bytes as it lies there.
    pub(crate) len: u64,
    pub(super) origin: Origin,
}

/// Where the bytes of an entry are.
#[derive(Clone)]
pub(super) enum Origin {
    /// In the file at the entry's path.
    File,
    /// In an archive.
    Member(Arc<dyn ReadAt>),
    /// In pieces, each with its number, sorted.
    Pieces(Vec<(u64, Entry)>),
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry({}, {:#x} bytes)", self.name, self.len)
    }
}

impl Entry {
    /// Opens the file as it lies there.
    pub(crate) fn open(&self, found: &str) -> Result<Source, OpenError> {
        match &self.origin {
            Origin::File => Source::open(&self.path, found),
            Origin::Pieces(pieces) => frag::join(&self.path, found, pieces),
            Origin::Member(bytes) => Ok(Source {
                path: self.path.clone(),
                bytes: bytes.clone(),
                len: self.len,
                found: found.to_owned(),
                // Those of the archive, which was opened before.
                host_files: Vec::new(),
            }),
        }
    }

    /// The last part of the name, without the `.gz` of a compressed file.
    pub(crate) fn base_name(&self) -> &str {
        base_name(&self.name)
    }

    /// The directory part of the name, empty at the top.
    pub(crate) fn directory(&self) -> &str {
        self.name.rsplit_once('/').map_or("", |(directory, _)| directory)
    }

    /// Whether the file is compressed, going by its name, so that its length
    /// says nothing.
    pub(crate) fn named_gz(&self) -> bool {
        self.base_name().len() != self.name.rsplit('/').next().map_or(0, str::len)
    }
}

/// The last part of a path, without the `.gz` of a compressed file.
pub(crate) fn base_name(name: &str) -> &str {
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    match last.rsplit_once('.') {
        Some((plain, gz)) if gz.eq_ignore_ascii_case("gz") && !plain.is_empty() => plain,
        _ => last,
    }
}

impl Folder {
    /// A folder of `entries`.
    pub(super) fn new(path: &Path, entries: Vec<Entry>, problems: Vec<Problem>) -> Self {
        let mut entries = frag::gather(entries);
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Self { path: path.to_owned(), entries, problems }
    }

    /// The files right in the directory at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, OpenError> {
        Listing::of(path, 0)
    }

    /// The files in the directory at `path` and in all below it.
    pub(crate) fn read_tree(path: &Path) -> Result<Self, OpenError> {
        Listing::of(path, MAX_DEPTH)
    }

    /// The entry that is the file at `path`, or that has it as a piece, in a
    /// folder made by [`read`](Self::read) of its directory.
    pub(crate) fn entry_at(&self, path: &Path) -> Option<&Entry> {
        let same = |entry: &Entry| entry.path.file_name() == path.file_name();
        self.entries.iter().find(|entry| match &entry.origin {
            Origin::Pieces(pieces) => pieces.iter().any(|(_, piece)| same(piece)),
            _ => same(entry),
        })
    }
}

/// A directory tree while it is being listed.
struct Listing {
    entries: Vec<Entry>,
    problems: Vec<Problem>,
    to_do: Vec<(PathBuf, String, u32)>,
}

impl Listing {
    fn of(path: &Path, depth: u32) -> Result<Folder, OpenError> {
        let to_do = vec![(path.to_owned(), String::new(), depth)];
        let mut listing = Self { entries: Vec::new(), problems: Vec::new(), to_do };
        while let Some((dir, prefix, depth)) = listing.to_do.pop() {
            match listing.add_directory(&dir, &prefix, depth) {
                // Only the directory that the user named must be readable.
                Err(OpenError::Open { source, .. }) if !prefix.is_empty() => {
                    let message = format!("{}: not looked into: {source}", dir.display());
                    listing.problems.push(Problem::note(message));
                }
                other => other?,
            }
        }
        Ok(Folder::new(path, listing.entries, listing.problems))
    }

    fn add_directory(&mut self, dir: &Path, prefix: &str, depth: u32) -> Result<(), OpenError> {
        let failed = |source| OpenError::Open { path: dir.to_owned(), source };
        for item in std::fs::read_dir(dir).map_err(failed)? {
            let item = item.map_err(failed)?;
            // Links to directories are not followed: they can form circles.
            let is_directory = item.file_type().is_ok_and(|kind| kind.is_dir());
            let name = format!("{prefix}{}", item.file_name().to_string_lossy());
            if is_directory {
                if depth > 0 {
                    self.to_do.push((item.path(), format!("{name}/"), depth.saturating_sub(1)));
                }
            } else {
                self.add_file(item.path(), name);
            }
            if self.entries.len().saturating_add(self.to_do.len()) > MAX_FILES {
                let path = dir.to_owned();
                return Err(OpenError::TooManyFiles { path, limit: MAX_FILES });
            }
        }
        Ok(())
    }

    /// Follows links to files, and leaves out pipes, sockets and what has gone
    /// meanwhile.
    fn add_file(&mut self, path: PathBuf, name: String) {
        if let Ok(data) = std::fs::metadata(&path)
            && data.is_file()
        {
            self.entries.push(Entry { name, path, len: data.len(), origin: Origin::File });
        }
    }
}

/// The directory that holds the file at `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str() != OsStr::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::put;

    fn names(folder: &Folder) -> Vec<&str> {
        folder.entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    #[test]
    fn a_tree_is_listed_in_the_order_of_names_and_a_directory_without_what_is_below() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "a/c", "a/b/x.FRAG-00000", "a/b/x.FRAG-00001", "a.b"] {
            put(dir.path(), name, b"1");
        }
        assert_eq!(names(&Folder::read(dir.path()).unwrap()), ["a.b", "b"]);
        let tree = Folder::read_tree(dir.path()).unwrap();
        assert_eq!(names(&tree), ["a.b", "a/b/x", "a/c", "b"]);
        assert_eq!((tree.entries[1].len, tree.entries[1].directory()), (2, "a/b"));
        let below = Folder::read(&dir.path().join("a/b")).unwrap();
        assert!(below.entry_at(Path::new("x.FRAG-00001")).is_some());
        assert!(below.entry_at(Path::new("x")).is_none());
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_circles_of_links_do_not_stop_the_listing() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "a/file", b"1");
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/up")).unwrap();
        std::os::unix::fs::symlink("gone", dir.path().join("dangling")).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket"));
        assert_eq!(names(&Folder::read_tree(dir.path()).unwrap()), ["a/file"]);
        drop(socket);
    }

    #[test]
    fn names_are_compared_without_gz() {
        assert_eq!(base_name("a/VM.vmem.GZ"), "VM.vmem");
        assert_eq!(base_name(r"[ds] dir\vm.vmss"), "vm.vmss");
        assert_eq!(base_name(".gz"), ".gz");
    }
}
