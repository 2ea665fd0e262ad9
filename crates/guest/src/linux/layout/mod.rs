//! Where the members of the kernel's structures lie.
//!
//! Several sources know: type information in the guest (BTF), a file that the
//! user gave, VMCOREINFO, or what was learned from the data itself. They are
//! asked in the order of their reliability, member by member.

mod check;
pub(super) mod path;
mod vmcoreinfo;

pub(super) use check::lists_tasks;
pub(super) use vmcoreinfo::Stated;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use vmss2core_mem::{Found, Problem};

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
    problems: Vec<Problem>,
    /// Earlier answers, by structure and path: tasks are read one after the
    /// other, each by the same names.
    asked: RwLock<HashMap<String, HashMap<String, Option<Answer>>>>,
}

/// A member, and the number of the source that knows it.
type Answer = (Member, usize);

impl Layout {
    /// Adds a source that is asked after those that are there.
    pub fn push(&mut self, source: Found<Arc<dyn Types>>) {
        self.sources.push(source);
        self.asked = RwLock::default();
    }

    /// Adds a source that does not belong to the kernel: it is left out.
    pub(super) fn refuse(&mut self, how: &str, why: &str) {
        self.problems.push(Problem::warning(format!("not used: {how}: {why}")));
    }

    /// How the sources were found, best first.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|source| source.how.as_str())
    }

    /// Which sources were refused, and why.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Where a member lies, and who says so. Where it had several names over
    /// time, `a|b` tries one after the other.
    pub fn member(&self, structure: &str, path: &str) -> Option<Found<Member>> {
        let (member, source) = self.answer(structure, path)?;
        Some(Found::new(member, &self.sources.get(source)?.how))
    }

    /// Where a member lies, as [`Self::member`] has it.
    pub fn place(&self, structure: &str, path: &str) -> Option<Member> {
        self.answer(structure, path).map(|(member, _)| member)
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

    fn answer(&self, structure: &str, path: &str) -> Option<Answer> {
        let asked = self.asked.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = asked.get(structure).and_then(|members| members.get(path)) {
            return *known;
        }
        drop(asked);
        let answer = path.split('|').find_map(|name| self.ask(structure, name));
        let mut asked = self.asked.write().unwrap_or_else(PoisonError::into_inner);
        asked.entry(structure.to_owned()).or_default().insert(path.to_owned(), answer);
        answer
    }

    /// Asks the sources. Who knows only an offset gets the size from those after it.
    fn ask(&self, structure: &str, path: &str) -> Option<Answer> {
        let mut known =
            self.sources.iter().enumerate().filter_map(|(number, source)| {
                Some((source.value.member(structure, path)?, number))
            });
        let (mut member, number) = known.next()?;
        if member.size_bytes.is_none()
            && let Some((other, _)) = known.find(|(other, _)| other.size_bytes.is_some())
        {
            (member.size_bytes, member.bits) = (other.size_bytes, other.bits);
        }
        Some((member, number))
    }
}
