//! One unit of `.debug_info`.

use std::ops::Range;

use gimli::constants as dw;
use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugInfo, DebuggingInformationEntry, EndianSlice,
    EntriesTree, LittleEndian, UnitHeader, UnitOffset,
};

use super::section::{DebugSections, Section};

pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;
pub(super) type Entry<'a> = DebuggingInformationEntry<Slice<'a>>;

/// A unit longer than this is not one: the largest of a kernel have a few MiB.
const LONGEST: u64 = 64 << 20;
/// More units than any kernel has source files.
const MOST_UNITS: usize = 1 << 20;

/// Which entries of a unit are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Those in the scope of the file.
    File,
    /// All.
    Any,
}

/// A unit, its bytes and how its entries are written.
pub(super) struct Unit {
    /// Where it begins in `.debug_info`.
    pub(super) start: u64,
    bytes: Vec<u8>,
    abbreviations: Abbreviations,
    /// DW_AT_str_offsets_base.
    string_base: usize,
}

impl Unit {
    pub(super) fn read(sections: &DebugSections, range: Range<u64>) -> Option<Self> {
        let len = range.end.checked_sub(range.start).filter(|len| *len <= LONGEST)?;
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        sections.info.read(range.start, &mut bytes).ok()?;
        let abbrev = DebugAbbrev::new(&sections.abbrev, LittleEndian);
        let abbreviations = header(&bytes)?.abbreviations(&abbrev).ok()?;
        let mut unit = Self { start: range.start, bytes, abbreviations, string_base: 0 };
        unit.string_base = unit.find_string_base().unwrap_or(0);
        Some(unit)
    }

    /// Offset of the first of its strings in `.debug_str_offsets`.
    fn find_string_base(&self) -> Option<usize> {
        let header = header(&self.bytes)?;
        let root = header.entry(&self.abbreviations, header.root_offset()).ok()?;
        match root.attr_value(dw::DW_AT_str_offsets_base)? {
            AttributeValue::DebugStrOffsetsBase(base) => Some(base.0),
            _ => None,
        }
    }

    /// Whether all but the name of a file with the rest was taken out of it.
    pub(super) fn is_skeleton(&self) -> bool {
        let root = || {
            let header = header(&self.bytes)?;
            header.entry(&self.abbreviations, header.root_offset()).ok()
        };
        let names = [dw::DW_AT_dwo_name, dw::DW_AT_GNU_dwo_name];
        root().is_some_and(|root| names.iter().any(|name| root.has_attr(*name)))
    }

    /// Bytes of a pointer.
    pub(super) fn address_size(&self) -> u64 {
        header(&self.bytes).map_or(8, |header| header.address_size().into())
    }

    /// The entry at an offset of `.debug_info`.
    pub(super) fn entry(&self, at: u64) -> Option<Entry<'_>> {
        header(&self.bytes)?.entry(&self.abbreviations, self.offset(at)?).ok()
    }

    /// The entry at an offset of `.debug_info`, with those below it.
    pub(super) fn tree(&self, at: u64) -> Option<EntriesTree<'_, Slice<'_>>> {
        header(&self.bytes)?.entries_tree(&self.abbreviations, Some(self.offset(at)?)).ok()
    }

    /// Where the first entry is that `is_it` takes.
    pub(super) fn find(
        &self,
        depth: Depth,
        is_it: &mut dyn FnMut(u64, &Entry<'_>) -> bool,
    ) -> Option<u64> {
        let header = header(&self.bytes)?;
        let mut entries = header.entries(&self.abbreviations);
        // The unit itself, then the first below it.
        entries.next_entry().ok()?;
        entries.next_entry().ok()?;
        loop {
            match entries.current() {
                Some(entry) => {
                    let at = self.start.saturating_add(entry.offset().0 as u64);
                    if is_it(at, entry) {
                        return Some(at);
                    }
                }
                None if depth == Depth::File => return None,
                // The end of a list of entries.
                None => {}
            }
            match depth {
                Depth::File => drop(entries.next_sibling().ok()?),
                Depth::Any if !entries.next_entry().ok()? => return None,
                Depth::Any => {}
            }
        }
    }

    fn offset(&self, at: u64) -> Option<UnitOffset> {
        usize::try_from(at.checked_sub(self.start)?).ok().map(UnitOffset)
    }

    /// Name of an entry; empty if it has none.
    pub(super) fn name<'e>(&self, sections: &'e DebugSections, entry: &'e Entry<'_>) -> &'e [u8] {
        let text = match entry.attr_value(dw::DW_AT_name) {
            Some(AttributeValue::String(text)) => return text.slice(),
            Some(AttributeValue::DebugStrRef(at)) => text_at(&sections.strings, at.0),
            Some(AttributeValue::DebugLineStrRef(at)) => text_at(&sections.line_strings, at.0),
            Some(AttributeValue::DebugStrOffsetsIndex(index)) => self.indexed(sections, index.0),
            _ => None,
        };
        text.unwrap_or_default()
    }

    fn indexed<'s>(&self, sections: &'s DebugSections, index: usize) -> Option<&'s [u8]> {
        let at = self.string_base.checked_add(index.checked_mul(4)?)?;
        let offset: &[u8; 4] = sections.string_offsets.get(at..)?.first_chunk()?;
        text_at(&sections.strings, usize::try_from(u32::from_le_bytes(*offset)).ok()?)
    }
}

fn text_at(strings: &[u8], at: usize) -> Option<&[u8]> {
    let rest = strings.get(at..)?;
    rest.get(..memchr::memchr(0, rest)?)
}

fn header(unit: &[u8]) -> Option<UnitHeader<Slice<'_>>> {
    DebugInfo::new(unit, LittleEndian).units().next().ok()?
}

/// Where the units of a section begin, as far as their lengths lead.
pub(super) fn starts(info: &Section) -> Vec<u64> {
    let mut starts = Vec::new();
    let mut at = 0_u64;
    while let Some(len) = unit_len(info, at).filter(|_| starts.len() < MOST_UNITS) {
        starts.push(at);
        at = at.saturating_add(len);
    }
    starts
}

/// Bytes of the unit at an offset, with the field that tells it.
fn unit_len(info: &Section, at: u64) -> Option<u64> {
    let mut field = [0; 4];
    info.read(at, &mut field).ok()?;
    let (len, field_len) = match u32::from_le_bytes(field) {
        // The 64-bit format.
        u32::MAX => {
            let mut long = [0; 8];
            info.read(at.saturating_add(4), &mut long).ok()?;
            (u64::from_le_bytes(long), 12)
        }
        len => (len.into(), 4),
    };
    let whole = len.checked_add(field_len)?;
    (len > 0 && at.checked_add(whole)? <= info.len()).then_some(whole)
}
