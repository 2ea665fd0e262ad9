//! Finding the entry of a name without parsing all entries.
//!
//! A name is a reference into the table of strings, or, if it is as short as
//! one, written out. Either way it is the first attribute of its entry (GCC and
//! LLVM write it so), so the entry begins with its abbreviation code right before
//! it. What is found this way is then checked. Only files whose strings are
//! numbered (`.debug_str_offsets`) have their units searched one by one.

use std::collections::HashSet;

use gimli::constants as dw;
use memchr::memmem;

use super::Dwarf;
use super::unit::{Depth, Entry, Unit};

/// Bytes searched at a time.
const CHUNK: usize = 1 << 20;
/// Longest reference or short name.
const LONGEST_NEEDLE: usize = 4;
/// Longest abbreviation code.
const LONGEST_CODE: u64 = 3;

/// The thing looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    /// A structure, union, enumeration, typedef or number.
    Type,
    /// A constant of an enumeration.
    Enumerator,
}

impl Wanted {
    /// Where such things are: types in the scope of the file, constants within
    /// their types.
    fn depth(self) -> Depth {
        match self {
            Self::Type => Depth::File,
            Self::Enumerator => Depth::Any,
        }
    }

    /// Whether an entry describes such a thing completely.
    fn is(self, entry: &Entry<'_>) -> bool {
        match self {
            Self::Type => match entry.tag() {
                dw::DW_TAG_structure_type
                | dw::DW_TAG_union_type
                | dw::DW_TAG_class_type
                | dw::DW_TAG_enumeration_type
                | dw::DW_TAG_base_type => entry.has_attr(dw::DW_AT_byte_size),
                dw::DW_TAG_typedef => entry.has_attr(dw::DW_AT_type),
                _ => false,
            },
            Self::Enumerator => entry.tag() == dw::DW_TAG_enumerator,
        }
    }
}

/// Where the first entry is that describes a name completely.
pub(super) fn find(dwarf: &Dwarf, wanted: Wanted, name: &[u8]) -> Option<u64> {
    if name.is_empty() {
        return None;
    }
    let search = Search { dwarf, wanted, name };
    let ways = Spelling::all(&dwarf.sections.strings, name);
    let by_reference = || ways.iter().find_map(|spelling| search.by(spelling));
    let by_units = || (!dwarf.sections.string_offsets.is_empty()).then(|| search.by_units())?;
    by_reference().or_else(by_units)
}

/// Form of a name in an entry.
enum Spelling {
    /// Written out, or as a reference to the string that it is.
    Bytes(Vec<u8>),
    /// As a reference to the tail of one of many longer strings: linkers let
    /// strings share their ends.
    Tails(Tails),
}

/// References to the tails of strings.
struct Tails {
    references: HashSet<u32>,
    /// Which values their lower halves have.
    lower: Vec<bool>,
}

impl Spelling {
    fn all(strings: &[u8], name: &[u8]) -> Vec<Self> {
        let text = [name, &[0]].concat();
        let (mut whole, mut tails) = (Vec::new(), HashSet::new());
        for at in memmem::find_iter(strings, &text) {
            let Ok(reference) = u32::try_from(at) else { break };
            let before = at.checked_sub(1).and_then(|before| strings.get(before));
            if before.is_none_or(|before| *before == 0) {
                whole.push(Self::Bytes(reference.to_le_bytes().to_vec()));
            } else {
                tails.insert(reference);
            }
        }
        let mut spellings = whole;
        if text.len() <= LONGEST_NEEDLE {
            spellings.insert(0, Self::Bytes(text));
        }
        if !tails.is_empty() {
            spellings.push(Self::Tails(Tails::new(tails)));
        }
        spellings
    }

    /// Where it lies in some bytes.
    fn hits<'a>(&'a self, bytes: &'a [u8]) -> Box<dyn Iterator<Item = usize> + 'a> {
        match self {
            Self::Bytes(needle) => Box::new(memmem::find_iter(bytes, needle)),
            Self::Tails(tails) => Box::new(tails.hits(bytes)),
        }
    }
}

impl Tails {
    fn new(references: HashSet<u32>) -> Self {
        let mut lower = vec![false; 1 << 16];
        for reference in &references {
            if let Some(seen) = lower.get_mut((reference & 0xffff) as usize) {
                *seen = true;
            }
        }
        Self { references, lower }
    }

    fn hits<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let words = bytes.array_windows::<4>().enumerate();
        let is_one = |[a, b, c, d]: [u8; 4]| {
            let lower = usize::from(u16::from_le_bytes([a, b]));
            self.lower.get(lower).is_some_and(|seen| *seen)
                && self.references.contains(&u32::from_le_bytes([a, b, c, d]))
        };
        words.filter_map(move |(at, word)| is_one(*word).then_some(at))
    }
}

struct Search<'d> {
    dwarf: &'d Dwarf,
    wanted: Wanted,
    name: &'d [u8],
}

impl Search<'_> {
    /// The first entry whose name is written in one way.
    fn by(&self, spelling: &Spelling) -> Option<u64> {
        let info = &self.dwarf.sections.info;
        let mut buf = vec![0; CHUNK + LONGEST_NEEDLE];
        let mut at = 0_u64;
        while at < info.len() {
            let left = usize::try_from(info.len().saturating_sub(at)).unwrap_or(usize::MAX);
            let piece = buf.split_at_mut(left.min(CHUNK + LONGEST_NEEDLE)).0;
            info.read(at, piece).ok()?;
            let hits = spelling.hits(piece).filter(|hit| *hit < CHUNK);
            if let Some(found) =
                hits.map(|hit| at.saturating_add(hit as u64)).find_map(|hit| self.around(hit))
            {
                return Some(found);
            }
            at = at.saturating_add(CHUNK as u64);
        }
        None
    }

    /// The entry whose name lies at `hit`. How long its code is cannot be told from
    /// after, so what looks like the entry is looked for from the unit's start.
    fn around(&self, hit: u64) -> Option<u64> {
        let unit = self.dwarf.unit_of(hit)?;
        let starts = (1..=LONGEST_CODE).filter_map(|code| hit.checked_sub(code));
        let is_it = |at: &u64| unit.entry(*at).is_some_and(|entry| self.is(&unit, &entry));
        let candidates: Vec<u64> = starts.filter(is_it).collect();
        if candidates.is_empty() {
            return None;
        }
        unit.find(self.wanted.depth(), &mut |at, _| candidates.contains(&at))
    }

    fn is(&self, unit: &Unit, entry: &Entry<'_>) -> bool {
        self.wanted.is(entry) && unit.name(&self.dwarf.sections, entry) == self.name
    }

    /// The first entry of all units.
    fn by_units(&self) -> Option<u64> {
        self.dwarf.starts.iter().find_map(|start| {
            let unit = self.dwarf.unit_of(*start)?;
            unit.find(self.wanted.depth(), &mut |_, entry| self.is(&unit, entry))
        })
    }
}
