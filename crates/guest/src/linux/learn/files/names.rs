//! Names of files: directory entries, which lead up to the root of their file system.

use vmss2core_mem::Sums;

use super::super::members::offsets;
use super::super::memory::{Memory, Shot};
use super::FILE_LEN;

/// How much of a `struct dentry` is looked at.
const DENTRY_LEN: u64 = 0x80;
/// How far into a `struct dentry` of 2.4 its parent is, at most.
const PARENT_WITHIN: u64 = 0x20;
/// `NAME_MAX`, and how deep paths are at most.
const LONGEST_NAME: u64 = 255;
const DEEPEST: usize = 64;

/// Where a `dentry` has its name and its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// `d_name.name`.
    pub(super) text: u64,
    /// `d_name.len`.
    pub(super) len: u64,
    /// `d_name.hash`.
    pub(super) hash: u64,
    pub(super) parent: u64,
}

impl Name {
    /// All that there can be: since 2.6 the parent, the hash and the length come before the
    /// text; in 2.4 the length and the hash follow it, and the parent is among the first members.
    fn all(word_len: u64) -> impl Iterator<Item = Self> {
        let texts = move || offsets(word_len.times(4)..DENTRY_LEN, word_len, |_| true);
        let since_2_6 = texts().map(move |text| Self {
            text,
            len: text.minus(4),
            hash: text.minus(8),
            parent: text.minus(8).minus(word_len),
        });
        let of_2_4 = texts().flat_map(move |text| {
            offsets(word_len..PARENT_WITHIN, word_len, |_| true).map(move |parent| Self {
                text,
                len: text.plus(word_len),
                hash: text.plus(word_len).plus(4),
                parent,
            })
        });
        since_2_6.chain(of_2_4)
    }

    pub(super) fn is_of_2_4(self) -> bool {
        self.len > self.text
    }
}

/// Where in all these files there is a `dentry` with a name, and where that is in it:
/// the first place, as what follows a file may be another one.
pub(super) fn path_of(memory: &Memory<'_>, files: &[Shot]) -> Option<(u64, Name)> {
    let word_len = memory.word_len();
    let dentries = |at: u64| files.iter().filter_map(move |file| file.word(at));
    let are_pointers = |at: u64| {
        dentries(at).count() == files.len() && dentries(at).all(|gva| memory.is_pointer(gva))
    };
    offsets(word_len..FILE_LEN, word_len, are_pointers).find_map(|at| {
        let are_names = |name: &Name| dentries(at).all(|gva| path(memory, gva, *name).is_some());
        Some((at, Name::all(word_len).find(are_names)?))
    })
}

/// From a `dentry` up to the root of its file system, which is its own parent.
pub(super) fn path(memory: &Memory<'_>, dentry: u64, name: Name) -> Option<Vec<u64>> {
    let mut path = vec![dentry];
    let mut at = dentry;
    while path.len() < DEEPEST {
        let len = memory.u32(at.checked_add(name.len)?)?;
        let text = memory.word(at.plus(name.text)).filter(|text| memory.is_pointer(*text))?;
        if len == 0 || len > LONGEST_NAME || memory.text(text, len.plus(1))?.len() as u64 != len {
            return None;
        }
        let parent = memory.word(at.plus(name.parent))?;
        if parent == at {
            return Some(path);
        }
        memory.is_pointer(parent).then_some(())?;
        path.push(parent);
        at = parent;
    }
    None
}
