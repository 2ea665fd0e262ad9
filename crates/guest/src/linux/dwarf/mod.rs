//! DWARF: the types that a debug file of the kernel describes.
//!
//! Such a file has hundreds of megabytes of entries, of which a few dozen are
//! wanted. So nothing is decoded before it is asked for: the section with the
//! entries is searched for the place where a structure's name is referred to, and
//! only the unit around it is read and parsed. Units, and what cross-unit
//! references lead to, are those of DWARF 2 to 5; split units (`.dwo`) are told
//! and type units (`.debug_types`) are not followed, kernels are not built with
//! them.

mod entries;
mod search;
mod section;
mod unit;

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

pub(in crate::linux) use section::{DebugSections, Section};

use super::layout::path::{self, Field, Shape, TypeGraph};
use super::{Member, Types};
use search::Wanted;
use unit::Unit;

/// Typedefs of typedefs and qualifiers, one after the other.
const LONGEST_CHAIN: usize = 32;
/// What a compiler leaves of a split unit is shorter than this.
const LONGEST_SKELETON: u64 = 1024;
/// Units kept; each has up to a megabyte.
const KEPT_UNITS: usize = 8;

/// The types of a debug file.
pub(in crate::linux) struct Dwarf {
    sections: DebugSections,
    /// Where the units begin in `.debug_info`, sorted.
    starts: Vec<u64>,
    /// Units used last, the latest at the end.
    units: Mutex<Vec<Arc<Unit>>>,
    found: Mutex<HashMap<(Wanted, String), Option<u64>>>,
}

impl Dwarf {
    /// The types in some sections; nothing is read but where the units begin.
    pub(in crate::linux) fn new(sections: DebugSections) -> Self {
        let starts = unit::starts(&sections.info);
        Self { sections, starts, units: Mutex::default(), found: Mutex::default() }
    }

    /// Whether types are in files of their own, and units only say in which.
    pub(in crate::linux) fn is_split(&self) -> bool {
        let ends = self.starts.iter().skip(1).copied().chain([self.sections.info.len()]);
        let mut short = self
            .starts
            .iter()
            .zip(ends)
            .filter(|(start, end)| end.saturating_sub(**start) < LONGEST_SKELETON);
        short.any(|(start, end)| {
            Unit::read(&self.sections, *start..end).is_some_and(|unit| unit.is_skeleton())
        })
    }

    /// The unit that holds an offset of `.debug_info`.
    fn unit_of(&self, at: u64) -> Option<Arc<Unit>> {
        let behind = self.starts.partition_point(|start| *start <= at);
        let start = *self.starts.get(behind.checked_sub(1)?)?;
        let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = units.iter().position(|unit| unit.start == start) {
            let unit = units.remove(known);
            units.push(unit.clone());
            return Some(unit);
        }
        let end = self.starts.get(behind).copied().unwrap_or(self.sections.info.len());
        let unit = Arc::new(Unit::read(&self.sections, start..end)?);
        if units.len() == KEPT_UNITS {
            units.remove(0);
        }
        units.push(unit.clone());
        Some(unit)
    }

    /// The complete description of something, by its name.
    fn find(&self, wanted: Wanted, name: &str) -> Option<u64> {
        let key = (wanted, name.to_owned());
        let lock = || self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&key) {
            return *known;
        }
        let found = search::find(self, wanted, name.as_bytes());
        lock().insert(key, found);
        found
    }
}

impl fmt::Debug for Dwarf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dwarf").field("units", &self.starts.len()).finish_non_exhaustive()
    }
}

impl Types for Dwarf {
    fn member(&self, structure: &str, path: &str) -> Option<Member> {
        path::member(self, self.find(Wanted::Type, structure)?, path)
    }

    fn size_of(&self, structure: &str) -> Option<u64> {
        path::size_of(self, self.find(Wanted::Type, structure)?)
    }

    fn enumerator(&self, name: &str) -> Option<i64> {
        let at = self.find(Wanted::Enumerator, name)?;
        self.unit_of(at)?.constant(at)
    }
}

impl TypeGraph for Dwarf {
    fn shape(&self, ty: u64) -> Option<Shape> {
        let mut at = ty;
        for _ in 0..LONGEST_CHAIN {
            match self.unit_of(entries::offset_of(at))?.shape(at)? {
                entries::Described::As(shape) => return Some(shape),
                entries::Described::Like(other) => at = other,
            }
        }
        None
    }

    fn fields(&self, ty: u64, visit: &mut dyn FnMut(&Field<'_>) -> ControlFlow<()>) {
        let mut at = ty;
        for _ in 0..LONGEST_CHAIN {
            let Some(unit) = self.unit_of(entries::offset_of(at)) else { return };
            match unit.shape(at) {
                Some(entries::Described::Like(other)) => at = other,
                Some(_) => return unit.fields(&self.sections, at, visit),
                None => return,
            }
        }
    }
}
