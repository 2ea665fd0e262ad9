//! Where the members of the kernel's structures lie.
//!
//! Several sources know: type information in the guest (BTF), a file that the
//! user gave, VMCOREINFO, or what was learned from the data itself. They are
//! asked in the order of their reliability, member by member.

pub(super) mod path;

use std::sync::Arc;

use crate::Found;

/// Where a member lies in its structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the start of the structure.
    pub offset_bytes: u64,
    /// Its size in bytes; `None` if the source does not say.
    pub size_bytes: Option<u64>,
    /// For a bit field: lowest bit (from `offset_bytes`, little endian), and width.
    pub bits: Option<(u8, u8)>,
}

/// A source of structure layouts.
///
/// Structures are named without `struct` or `union`; a `path` names a member,
/// also one inside of embedded structures, unions or arrays: `comm`,
/// `thread.sp`, `f_path.dentry`, `mm_mt.ma_root`. Anonymous members are looked
/// through.
pub trait Types: std::fmt::Debug + Send + Sync {
    /// Where a member lies.
    fn member(&self, structure: &str, path: &str) -> Option<Member>;

    /// Size of a structure in bytes.
    fn size_of(&self, structure: &str) -> Option<u64>;

    /// The value of an enumeration's constant.
    fn enumerator(&self, _name: &str) -> Option<i64> {
        None
    }
}

/// All sources, best first.
#[derive(Debug, Default)]
pub struct Layout {
    sources: Vec<Found<Arc<dyn Types>>>,
}

impl Layout {
    /// Adds a source that is asked after those that are there.
    pub fn push(&mut self, source: Found<Arc<dyn Types>>) {
        self.sources.push(source);
    }

    /// How the sources were found, best first.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|source| source.how.as_str())
    }

    /// Where a member lies, and who says so.
    pub fn member(&self, structure: &str, path: &str) -> Option<Found<Member>> {
        self.first(|types| types.member(structure, path))
    }

    /// The first of several names that a member had over time.
    pub fn any_member(&self, structure: &str, paths: &[&str]) -> Option<Found<Member>> {
        paths.iter().find_map(|path| self.member(structure, path))
    }

    /// Size of a structure in bytes.
    pub fn size_of(&self, structure: &str) -> Option<Found<u64>> {
        self.first(|types| types.size_of(structure))
    }

    /// The value of an enumeration's constant.
    pub fn enumerator(&self, name: &str) -> Option<Found<i64>> {
        self.first(|types| types.enumerator(name))
    }

    fn first<T>(&self, ask: impl Fn(&dyn Types) -> Option<T>) -> Option<Found<T>> {
        self.sources.iter().find_map(|source| {
            let value = ask(source.value.as_ref())?;
            Some(Found::new(value, &source.how))
        })
    }
}
