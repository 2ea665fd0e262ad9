//! Which files belong together: the rules that all formats share.

use crate::source::{Entry, Folder, base_name};

/// Where a file lies, and so what lies beside it.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    /// The directory or archive.
    pub(crate) folder: &'a Folder,
    /// The file's name in it.
    pub(crate) name: String,
}

/// A file that belongs to another, and why.
#[derive(Clone, Debug)]
pub(crate) struct Tie<'a> {
    /// The file.
    pub(crate) entry: &'a Entry,
    /// How surely.
    pub(crate) strength: Strength,
    /// Why, for people: "same name".
    pub(crate) found: String,
}

/// How surely two files belong together, surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strength {
    /// One has the other's name with another ending.
    SameName,
    /// A third file names both.
    Reference,
    /// It is the only file of the right size.
    Size,
}

impl<'a> Place<'a> {
    /// The other files in the same directory.
    pub(crate) fn siblings<'p>(&'p self) -> impl Iterator<Item = &'a Entry> + use<'a, 'p> {
        let directory = self.name.rsplit_once('/').map_or("", |(directory, _)| directory);
        let others = self.folder.entries.iter().filter(|entry| entry.name != self.name);
        others.filter(move |entry| entry.directory() == directory)
    }

    /// The file's name without directory and without `.gz`.
    pub(crate) fn base_name(&self) -> &str {
        base_name(&self.name)
    }

    /// The siblings with the stem of `name` and one of `endings`. Those that
    /// agree in case come first, then those that are not compressed.
    pub(crate) fn same_stem(&self, name: &str, endings: &[&str]) -> Vec<&'a Entry> {
        let stem = split(name).0;
        let fits = |entry: &&Entry| {
            let (other, ending) = split(entry.base_name());
            let known = endings.iter().any(|known| ending.eq_ignore_ascii_case(known));
            known && other.eq_ignore_ascii_case(stem)
        };
        let mut found: Vec<_> = self.siblings().filter(fits).collect();
        found.sort_by_key(|entry| (split(entry.base_name()).0 != stem, entry.named_gz()));
        found
    }

    /// The siblings of exactly `len` bytes.
    pub(crate) fn same_size(&self, len: u64) -> Vec<&'a Entry> {
        self.siblings().filter(|entry| entry.len == len && !entry.named_gz()).collect()
    }
}

/// The stem and the ending of a file name.
pub(crate) fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or((name, ""))
}
