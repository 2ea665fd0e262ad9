//! Files cut into pieces: `<path>.FRAG-NNNNN`, as vm-support packs big members.
//!
//! The number has five digits or more, counts from 0 and orders the pieces as an
//! integer; the order of a directory listing breaks where the width changes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use vmss2core_mem::ReadAt;

use super::folder::{Entry, Origin};
use super::{Extents, Source};
use crate::OpenError;

const MARK: &str = ".FRAG-";

/// Pieces that are kept open; a process may have 1024 files, or 256.
const MAX_OPEN: usize = 128;

/// The name of the whole file and the number of the piece, if `name` is that of
/// a piece. What lies before the last mark is the file, whatever it contains.
pub(super) fn split_name(name: &str) -> Option<(&str, u64)> {
    let (whole, digits) = name.rsplit_once(MARK)?;
    let numeric = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let named = !whole.is_empty() && !whole.ends_with('/');
    (numeric && named).then(|| digits.parse().ok().map(|number| (whole, number)))?
}

/// Puts one entry in the place of all pieces of a file, and leaves the others.
pub(super) fn gather(entries: Vec<Entry>) -> Vec<Entry> {
    let mut sets: BTreeMap<String, Vec<(u64, Entry)>> = BTreeMap::new();
    let mut rest = Vec::new();
    for entry in entries {
        match split_name(&entry.name).map(|(whole, number)| (whole.to_owned(), number)) {
            Some((whole, number)) => sets.entry(whole).or_default().push((number, entry)),
            None => rest.push(entry),
        }
    }
    rest.extend(sets.into_iter().map(|(name, pieces)| whole(name, pieces)));
    rest
}

fn whole(name: String, mut pieces: Vec<(u64, Entry)>) -> Entry {
    pieces.sort_by_key(|(number, _)| *number);
    let len = pieces.iter().map(|(_, piece)| piece.len).fold(0, u64::saturating_add);
    let path = pieces.first().map_or_else(PathBuf::new, |(_, piece)| without_mark(&piece.path));
    Entry { name, path, len, origin: Origin::Pieces(pieces) }
}

fn without_mark(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    match name.as_deref().and_then(split_name) {
        Some((whole, _)) => path.with_file_name(whole),
        None => path.to_owned(),
    }
}

/// Opens the pieces, sorted by number, as one object.
pub(super) fn join(path: &Path, found: &str, pieces: &[(u64, Entry)]) -> Result<Source, OpenError> {
    check_numbers(path, pieces)?;
    let mut joined = Extents::default();
    let mut host_files = Vec::new();
    let last = Arc::new(Mutex::default());
    for (index, (_, piece)) in pieces.iter().enumerate() {
        let bytes = match piece.origin {
            Origin::File if pieces.len() > MAX_OPEN => {
                host_files.push(piece.path.clone());
                Arc::new(Shelved { path: piece.path.clone(), index, last: Arc::clone(&last) })
            }
            _ => {
                let part = piece.open(found)?;
                host_files.extend(part.host_files);
                part.bytes
            }
        };
        joined.push(bytes, 0, piece.len).ok_or_else(|| OpenError::Pieces {
            path: path.to_owned(),
            detail: "pieces of more than 2^64 bytes".to_owned(),
        })?;
    }
    let found = format!("{found}, joined from {} pieces", pieces.len());
    let len = joined.len();
    Ok(Source { path: path.to_owned(), bytes: Arc::new(joined), len, found, host_files })
}

/// A piece of a file that has more of them than may be open at a time.
struct Shelved {
    path: PathBuf,
    index: usize,
    /// The one that was read last, of all pieces of the file.
    last: Arc<Mutex<Option<(usize, File)>>>,
}

impl ReadAt for Shelved {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match last.take() {
            Some((index, file)) if index == self.index => file,
            _ => File::open(&self.path)?,
        };
        let read = file.read_exact_at(offset, buf);
        *last = Some((self.index, file));
        read
    }
}

fn check_numbers(path: &Path, pieces: &[(u64, Entry)]) -> Result<(), OpenError> {
    let wrong = |detail| OpenError::Pieces { path: path.to_owned(), detail };
    for (expected, (number, piece)) in (0..).zip(pieces) {
        if *number < expected {
            return Err(wrong(format!("piece {number} is there twice, as {}", piece.name)));
        }
        if *number > expected {
            let last = pieces.last().map_or(0, |(last, _)| *last);
            return Err(wrong(format!("piece FRAG-{expected:05} of 0 to {last} is missing")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Folder;
    use crate::testing::put;

    fn joined(numbers: &[&str]) -> Result<Vec<u8>, OpenError> {
        let dir = tempfile::tempdir().unwrap();
        for number in numbers {
            put(dir.path(), &format!("a (1).tgz.FRAG-{number}"), format!("<{number}>").as_bytes());
        }
        let folder = Folder::read(dir.path()).unwrap();
        assert_eq!(folder.entries.len(), 1);
        let entry = &folder.entries[0];
        assert_eq!(
            (entry.name.as_str(), &entry.path),
            ("a (1).tgz", &dir.path().join("a (1).tgz"))
        );
        let source = entry.open("given")?;
        source.start(1 << 20)
    }

    #[test]
    fn pieces_are_joined_in_the_order_of_their_numbers() {
        let numbers: Vec<String> = (0..12).rev().map(|n| format!("{n:05}")).collect();
        let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
        let want: Vec<String> = numbers.iter().rev().map(|n| format!("<{n}>")).collect();
        assert_eq!(joined(&numbers).unwrap(), want.concat().as_bytes());
    }

    /// As many as a process may not have open at a time.
    #[test]
    fn pieces_without_end_are_not_all_open() {
        let dir = tempfile::tempdir().unwrap();
        let count: u64 = 3000;
        for number in 0..count {
            put(dir.path(), &format!("x.FRAG-{number:05}"), &number.to_le_bytes());
        }
        let source = Folder::read(dir.path()).unwrap().entries[0].open("given").unwrap();
        let want: Vec<u8> = (0..count).flat_map(u64::to_le_bytes).collect();
        assert!(source.start(1 << 20).unwrap() == want);
        assert_eq!(source.host_files.len(), 3000);
    }

    /// As text, "100000" sorts before "99999".
    #[test]
    fn a_number_wider_than_the_others_is_still_a_number() {
        let pieces: Vec<(u64, Entry)> = (99_990..100_010_u64)
            .map(|n| (n, format!("x.FRAG-{n:05}")))
            .map(|(n, name)| {
                assert_eq!(split_name(&name), Some(("x", n)));
                (n, Entry { path: name.clone().into(), name, len: 1, origin: Origin::File })
            })
            .collect();
        let mut entries: Vec<Entry> = pieces.iter().map(|(_, entry)| entry.clone()).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(entries[0].name, "x.FRAG-100000");
        let [Entry { origin: Origin::Pieces(sorted), len: 20, .. }] = &gather(entries)[..] else {
            panic!("not one file of 20 bytes");
        };
        assert!(sorted.is_sorted_by_key(|(number, _)| *number));
        assert_eq!((sorted[0].0, sorted[19].0), (99_990, 100_009));
    }

    #[test]
    fn a_missing_piece_is_named() {
        let error = joined(&["00000", "00001", "00003", "00004"]).unwrap_err();
        assert!(error.to_string().contains("piece FRAG-00002 of 0 to 4 is missing"), "{error}");
        let error = joined(&["00001"]).unwrap_err();
        assert!(error.to_string().contains("piece FRAG-00000 of 0 to 1 is missing"), "{error}");
    }

    #[test]
    fn a_piece_that_is_there_twice_is_refused() {
        let error = joined(&["00000", "00001", "1"]).unwrap_err();
        assert!(error.to_string().contains("piece 1 is there twice"), "{error}");
    }

    #[test]
    fn names_that_only_look_like_pieces_are_left_alone() {
        for name in ["x.FRAG-", "x.FRAG-1a", ".FRAG-1", "a/.FRAG-1", "x.FRAG-+1", "xFRAG-1"] {
            assert_eq!(split_name(name), None, "{name}");
        }
        assert_eq!(split_name(&format!("x.FRAG-{}", "9".repeat(40))), None);
        assert_eq!(split_name("a.FRAG-1.FRAG-00002"), Some(("a.FRAG-1", 2)));
    }
}
