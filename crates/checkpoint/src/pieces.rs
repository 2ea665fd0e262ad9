//! Pieces of a file as `split`, 7-Zip and others leave them: `vm.vmem.00`, `vm.vmem.aa`,
//! `vm.vmem.001`. Such a piece is never opened as if it were the whole.
//!
//! (What vm-support cuts, `FRAG-` pieces, is joined by [`crate::source`].)

use std::path::PathBuf;

use vmss2core_mem::text::shell_path;

use crate::OpenError;
use crate::source::{Entry, Folder};

/// The files of one directory that are pieces of one file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pieces {
    /// The name of the whole, without directory.
    whole: String,
    count: usize,
    /// Whether each follows on the one before.
    is_complete: bool,
    /// The command that joins them.
    join: String,
}

impl Pieces {
    /// Those of which the file `name` of `folder` is one: files whose names differ in a number
    /// at their end, all of one length but the last, which may be shorter.
    pub(crate) fn around(folder: &Folder, name: &str) -> Option<Self> {
        let own = Name::of(name)?;
        let mut pieces: Vec<(u64, &Entry)> = folder
            .entries
            .iter()
            .filter_map(|entry| Some((own.number_of_sibling(&entry.name)?, entry)))
            .collect();
        pieces.sort_by_key(|(number, _)| *number);
        let ((first, start), (_, last)) = (pieces.first()?, pieces.last()?);
        let is_cut = pieces.len() > 1
            && pieces.iter().all(|(_, piece)| piece.len == start.len || piece.name == last.name)
            && last.len <= start.len;
        let is_whole_there = folder.entries.iter().any(|other| other.name == own.whole);
        (is_cut && *first <= own.highest_first() && !is_whole_there).then(|| Self {
            whole: own.whole.rsplit('/').next().unwrap_or(own.whole).to_owned(),
            count: pieces.len(),
            is_complete: (*first..).zip(&pieces).all(|(expected, (number, _))| expected == *number),
            join: own.join(&folder.path),
        })
    }

    /// Those of the file `whole`, a name within `folder`.
    pub(crate) fn of(folder: &Folder, whole: &str) -> Option<Self> {
        let is_piece =
            |entry: &&Entry| Name::of(&entry.name).is_some_and(|name| name.whole == whole);
        let piece = folder.entries.iter().find(is_piece)?;
        Self::around(folder, &piece.name)
    }
}

impl std::fmt::Display for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { whole, count, is_complete, join } = self;
        let gap = if *is_complete { "" } else { ", of which more are missing" };
        write!(f, "{count} pieces of {whole}{gap}; join them: {join}")
    }
}

/// Refuses the file `name` of `folder` if it is a piece.
pub(crate) fn refuse(folder: &Folder, name: &str) -> Result<(), OpenError> {
    match Pieces::around(folder, name) {
        None => Ok(()),
        Some(pieces) => {
            Err(OpenError::Piece { path: folder.path.join(name), pieces: pieces.to_string() })
        }
    }
}

/// The name of a piece.
struct Name<'a> {
    /// The name that all pieces share.
    stem: &'a str,
    /// The form of their numbers.
    number: &'a str,
    /// The name of the whole.
    whole: &'a str,
}

impl<'a> Name<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let digits = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let letters = name.rsplit_once('.').map_or("", |(stem, _)| stem);
        let stem = if digits.len() < name.len() {
            digits
        } else {
            name.get(..letters.len().checked_add(1)?)?
        };
        let number = name.get(stem.len()..)?;
        value(number)?;
        let whole = stem.strip_suffix("part").unwrap_or(stem).strip_suffix('.')?;
        let has_ending = whole.rsplit('/').next().is_some_and(|base| base.contains('.'));
        has_ending.then_some(Self { stem, number, whole })
    }

    /// The number of another piece of the same file.
    fn number_of_sibling(&self, other: &str) -> Option<u64> {
        let number = other.strip_prefix(self.stem)?;
        let is_like = number.len() == self.number.len() && self.has_digits() == is_digits(number);
        value(number).filter(|_| is_like)
    }

    fn has_digits(&self) -> bool {
        is_digits(self.number)
    }

    /// The highest number that a first piece has: letters begin with `aa`, digits with 0 or 1.
    fn highest_first(&self) -> u64 {
        u64::from(self.has_digits())
    }

    fn join(&self, dir: &std::path::Path) -> String {
        let path = |name: &str| shell_path(&dir.join(name).components().collect::<PathBuf>());
        let pattern = "?".repeat(self.number.len());
        format!("cat {}{pattern} > {}", path(self.stem), path(self.whole))
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The number that two to five digits or letters stand for.
fn value(number: &str) -> Option<u64> {
    let in_base = |first: u8, base: u64| {
        number.bytes().fold(0, |value: u64, byte| {
            value.saturating_mul(base).saturating_add(byte.wrapping_sub(first).into())
        })
    };
    let is_letters = number.bytes().all(|byte| byte.is_ascii_lowercase());
    match number.len() {
        2..=5 if is_digits(number) => Some(in_base(b'0', 10)),
        2..=5 if is_letters => Some(in_base(b'a', 26)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::put;

    fn around(files: &[(&str, usize)], name: &str) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, len) in files {
            put(dir.path(), name, &vec![7; *len]);
        }
        let folder = Folder::read_tree(dir.path()).unwrap();
        let said = Pieces::around(&folder, name)?.to_string();
        Some(said.replace(&format!("{}/", dir.path().display()), ""))
    }

    #[test]
    fn pieces_are_noticed_however_they_are_numbered() {
        for (first, second, join) in [
            ("vm.vmem.00", "vm.vmem.01", "cat vm.vmem.?? > vm.vmem"),
            ("vm.vmem.aa", "vm.vmem.ab", "cat vm.vmem.?? > vm.vmem"),
            ("vm.vmss.aaa", "vm.vmss.aab", "cat vm.vmss.??? > vm.vmss"),
            ("vm.vmem.001", "vm.vmem.002", "cat vm.vmem.??? > vm.vmem"),
            ("vm.vmem.part00", "vm.vmem.part01", "cat vm.vmem.part?? > vm.vmem"),
        ] {
            for name in [first, second] {
                let said = around(&[(first, 9), (second, 4), ("vm.log", 9)], name).unwrap();
                assert!(said.starts_with("2 pieces of vm.vm"), "{said}");
                assert!(said.ends_with(&format!("; join them: {join}")), "{said}");
            }
        }
    }

    #[test]
    fn a_gap_is_said() {
        let files = [("vm.vmem.00", 9), ("vm.vmem.02", 9), ("vm.vmem.03", 1)];
        let said = around(&files, "vm.vmem.03").unwrap();
        assert!(said.starts_with("3 pieces of vm.vmem, of which more are missing; "), "{said}");
    }

    #[test]
    fn other_files_with_numbers_are_no_pieces() {
        for (files, name) in [
            (vec![("vm.vmem.00", 9)], "vm.vmem.00"),
            (vec![("vm.vmem.00", 9), ("vm.vmem.01", 9), ("vm.vmem", 18)], "vm.vmem.00"),
            (vec![("vm.vmem.00", 4), ("vm.vmem.01", 9)], "vm.vmem.00"),
            (vec![("core.00", 9), ("core.01", 9)], "core.00"),
            (vec![("vm-1.vmem", 9), ("vm-2.vmem", 9)], "vm-1.vmem"),
            (vec![("a.vmem.gz", 9), ("a.vmem.xz", 9)], "a.vmem.xz"),
        ] {
            assert_eq!(around(&files, name), None);
        }
    }
}
