//! One set of BTF types, indexed by number and by name.

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use thiserror::Error;
use zerocopy::FromBytes;

use super::raw::{self, kind};
use crate::linux::layout::path::{self, Field, Shape, TypeGraph};
use crate::linux::{Member, Types};

/// Typedefs of typedefs and qualifiers, one after the other.
const LONGEST_CHAIN: usize = 32;

/// Why some bytes are not BTF.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BtfError {
    /// There is no BTF header.
    #[error("these are not BTF data: they do not begin with its header (magic 0xeb9f, version 1)")]
    NotBtf,
    /// A section is not within the data.
    #[error(
        "the {section} section of the BTF data, {start:#x} to {end:#x}, leaves its {len:#x} bytes"
    )]
    Outside {
        /// `type` or `string`.
        section: &'static str,
        /// Where it begins.
        start: u64,
        /// Where it ends.
        end: u64,
        /// Bytes of data.
        len: u64,
    },
    /// There are no names.
    #[error("the string section of the BTF data does not begin and end with a NUL")]
    Strings,
}

/// BTF types.
pub struct Btf {
    bytes: Vec<u8>,
    types: Range<usize>,
    strings: Range<usize>,
    /// Where types begin in their section, the first being number `first_type`.
    starts: Vec<u32>,
    first_type: u32,
    /// Where the numbers of strings begin: after those of the base.
    first_string: u32,
    /// Hash of the name, and number, of all named types, sorted.
    names: Vec<(u32, u32)>,
    word_bytes: u64,
    cut_short: Option<String>,
    base: Option<Arc<Btf>>,
}

impl Btf {
    /// Types that need no others.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        Self::parse_on(None, bytes)
    }

    /// Types of a module, which refer to those of the kernel.
    pub fn parse_split(base: Arc<Self>, bytes: Vec<u8>) -> Result<Self, BtfError> {
        Self::parse_on(Some(base), bytes)
    }

    fn parse_on(base: Option<Arc<Self>>, bytes: Vec<u8>) -> Result<Self, BtfError> {
        let Sections { types, strings, .. } = Sections::of(&bytes)?;
        let (first_type, first_string) = base.as_ref().map_or((1, 0), |base| base.behind());
        let mut btf = Self {
            bytes,
            types,
            strings,
            starts: Vec::new(),
            first_type,
            first_string,
            names: Vec::new(),
            word_bytes: base.as_ref().map_or(8, |base| base.word_bytes),
            cut_short: None,
            base,
        };
        btf.check_strings()?;
        btf.index();
        Ok(btf)
    }

    /// The first numbers that this set's types and strings leave free.
    fn behind(&self) -> (u32, u32) {
        let types = u32::try_from(self.starts.len()).unwrap_or(u32::MAX);
        let strings = u32::try_from(self.strings.len()).unwrap_or(u32::MAX);
        (self.first_type.saturating_add(types), self.first_string.saturating_add(strings))
    }

    fn check_strings(&self) -> Result<(), BtfError> {
        let strings = self.bytes.get(self.strings.clone()).unwrap_or_default();
        // The strings of a module begin with its first name.
        let starts_well = self.base.is_some() || strings.first() == Some(&0);
        let ends_well = strings.last().is_none_or(|last| *last == 0);
        (starts_well && ends_well).then_some(()).ok_or(BtfError::Strings)
    }

    /// The data as they are in the kernel.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many types there are, those of the base not counted.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Bytes of a pointer.
    pub fn word_len(&self) -> u64 {
        self.word_bytes
    }

    /// The error that made the reading end before all types were seen.
    pub fn cut_short(&self) -> Option<&str> {
        self.cut_short.as_deref()
    }

    /// Finds where each type begins, and which have names.
    fn index(&mut self) {
        let section = self.bytes.get(self.types.clone()).unwrap_or_default();
        let (mut starts, mut names) = (Vec::new(), Vec::new());
        let mut rest = section;
        while !rest.is_empty() {
            let at = section.len().saturating_sub(rest.len());
            let Some((ty, behind)) = step(rest) else {
                self.cut_short = Some(format!(
                    "type {} at {at:#x} of the type section is of a kind not known or cut off",
                    (self.first_type as usize).saturating_add(starts.len())
                ));
                break;
            };
            let id =
                self.first_type.saturating_add(u32::try_from(starts.len()).unwrap_or(u32::MAX));
            if has_layout(ty.kind()) && ty.name_off.get() != 0 {
                names.push((hash(self.string(ty.name_off.get())), id));
            }
            starts.push(u32::try_from(at).unwrap_or(u32::MAX));
            rest = behind;
        }
        names.sort_unstable();
        (self.starts, self.names) = (starts, names);
        let long = ["long unsigned int", "unsigned long"].iter().find_map(|n| self.size_of(n));
        self.word_bytes = long.filter(|size| matches!(size, 4 | 8)).unwrap_or(self.word_bytes);
    }

    /// A string by its number; one that is not there is empty.
    fn string(&self, offset: u32) -> &[u8] {
        let Some(own) = offset.checked_sub(self.first_string) else {
            return self.base.as_ref().map_or(&[], |base| base.string(offset));
        };
        let strings = self.bytes.get(self.strings.clone()).unwrap_or_default();
        let rest = usize::try_from(own).ok().and_then(|own| strings.get(own..)).unwrap_or_default();
        let len = memchr::memchr(0, rest).unwrap_or(rest.len());
        rest.split_at(len).0
    }

    /// A type by its number, and the set and bytes that hold what follows it.
    fn type_of(&self, id: u32) -> Option<Entry<'_>> {
        let Some(own) = id.checked_sub(self.first_type) else {
            return self.base.as_ref()?.type_of(id);
        };
        let start = usize::try_from(*self.starts.get(usize::try_from(own).ok()?)?).ok()?;
        let section = self.bytes.get(self.types.clone())?;
        let (ty, extra) = raw::Type::ref_from_prefix(section.get(start..)?).ok()?;
        Some(Entry { ty, extra })
    }

    /// The type under its typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<Entry<'_>> {
        for _ in 0..LONGEST_CHAIN {
            let entry = self.type_of(id)?;
            match entry.ty.kind() {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = entry.ty.size_or_id.get();
                }
                _ => return Some(entry),
            }
        }
        None
    }

    /// The types of a name, structures of a set before those of its base.
    fn named<'s>(&'s self, name: &'s str) -> Box<dyn Iterator<Item = u32> + 's> {
        let hash = hash(name.as_bytes());
        let first = self.names.partition_point(|(other, _)| *other < hash);
        let same_hash = self.names.iter().skip(first).take_while(move |(other, _)| *other == hash);
        let own = same_hash.map(|(_, id)| *id).filter(move |id| {
            let ty = self.type_of(*id).map(|entry| entry.ty.name_off.get());
            ty.is_some_and(|offset| self.string(offset) == name.as_bytes())
        });
        let base = self.base.iter().flat_map(move |base| base.named(name));
        Box::new(own.chain(base))
    }

    /// All constants of enumerations, with their values.
    fn enumerators(&self) -> impl Iterator<Item = (u32, i64)> + '_ {
        let behind = self.behind().0;
        let entries = (self.first_type..behind).filter_map(|id| self.type_of(id));
        entries.flat_map(|entry| entry.enumerators())
    }
}

impl fmt::Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Btf").field("types", &self.starts.len()).finish_non_exhaustive()
    }
}

impl Types for Btf {
    fn member(&self, structure: &str, path: &str) -> Option<Member> {
        self.named(structure).find_map(|id| path::member(self, u64::from(id), path))
    }

    fn size_of(&self, structure: &str) -> Option<u64> {
        self.named(structure).find_map(|id| path::size_of(self, u64::from(id)))
    }

    fn enumerator(&self, name: &str) -> Option<i64> {
        let own = self.enumerators().find(|(offset, _)| self.string(*offset) == name.as_bytes());
        own.map(|(_, value)| value).or_else(|| self.base.as_ref()?.enumerator(name))
    }
}

impl TypeGraph for Btf {
    fn shape(&self, ty: u64) -> Option<Shape> {
        let entry = self.resolve(u32::try_from(ty).ok()?)?;
        let size_bytes = u64::from(entry.ty.size_or_id.get());
        Some(match entry.ty.kind() {
            kind::STRUCT | kind::UNION => Shape::Aggregate { size_bytes },
            kind::INT | kind::ENUM | kind::ENUM64 | kind::FLOAT => Shape::Scalar { size_bytes },
            kind::PTR => Shape::Scalar { size_bytes: self.word_bytes },
            kind::ARRAY => {
                let array = raw::Array::ref_from_prefix(entry.extra).ok()?.0;
                Shape::Array { element: array.ty.get().into(), count: array.nelems.get().into() }
            }
            _ => return None,
        })
    }

    fn fields(&self, ty: u64, visit: &mut dyn FnMut(&Field<'_>) -> ControlFlow<()>) {
        let Some(entry) = u32::try_from(ty).ok().and_then(|id| self.resolve(id)) else { return };
        let kflag = entry.ty.kflag();
        for member in entry.members() {
            let (offset_bits, width_bits) = match member.offset.get() {
                packed if kflag => (packed & 0xff_ffff, (packed >> 24) as u8),
                offset => self.old_bit_field(offset, member.ty.get()),
            };
            let field = Field {
                name: self.string(member.name_off.get()),
                offset_bits: offset_bits.into(),
                width_bits: (width_bits > 0).then_some(width_bits),
                ty: member.ty.get().into(),
            };
            if visit(&field).is_break() {
                return;
            }
        }
    }
}

impl Btf {
    /// Offset and width of a member in a structure without the flag: bit fields
    /// are then members of integers that are narrower than their size.
    fn old_bit_field(&self, offset: u32, ty: u32) -> (u32, u8) {
        let Some(int) = self.resolve(ty).filter(|entry| entry.ty.kind() == kind::INT) else {
            return (offset, 0);
        };
        // u32: encoding 24..28, offset 16..24, bits 0..8.
        let Some(&[bits, _, shift, _]) = int.extra.first_chunk() else { return (offset, 0) };
        if u64::from(bits) == u64::from(int.ty.size_or_id.get()) * 8 {
            return (offset, 0);
        }
        (offset.saturating_add(shift.into()), bits)
    }
}

/// A type, and the bytes after it.
#[derive(Clone, Copy)]
struct Entry<'b> {
    ty: &'b raw::Type,
    extra: &'b [u8],
}

impl<'b> Entry<'b> {
    fn members(&self) -> &'b [raw::Member] {
        let members = match self.ty.kind() {
            kind::STRUCT | kind::UNION => self.ty.vlen().into(),
            _ => 0,
        };
        let read = <[raw::Member]>::ref_from_prefix_with_elems(self.extra, members);
        read.map_or(&[], |(members, _)| members)
    }

    fn enumerators(&self) -> Vec<(u32, i64)> {
        let count = self.ty.vlen().into();
        match self.ty.kind() {
            kind::ENUM => {
                let read = <[raw::Enum]>::ref_from_prefix_with_elems(self.extra, count);
                let signed = self.ty.kflag();
                let value = |raw: &raw::Enum| {
                    if signed { raw.val.get().into() } else { raw.val.get().cast_unsigned().into() }
                };
                let pairs = read.map_or(&[][..], |(read, _)| read).iter();
                pairs.map(|raw| (raw.name_off.get(), value(raw))).collect()
            }
            kind::ENUM64 => {
                let read = <[raw::Enum64]>::ref_from_prefix_with_elems(self.extra, count);
                let value = |raw: &raw::Enum64| {
                    let high = u64::from(raw.val_hi32.get()) << 32;
                    (high | u64::from(raw.val_lo32.get())).cast_signed()
                };
                let pairs = read.map_or(&[][..], |(read, _)| read).iter();
                pairs.map(|raw| (raw.name_off.get(), value(raw))).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Where the sections are in the data.
pub(super) struct Sections {
    pub(super) types: Range<usize>,
    pub(super) strings: Range<usize>,
}

impl Sections {
    pub(super) fn of(bytes: &[u8]) -> Result<Self, BtfError> {
        let sections = Self::stated(bytes).ok_or(BtfError::NotBtf)?;
        let len = bytes.len();
        for (section, range) in [("type", &sections.types), ("string", &sections.strings)] {
            if range.end > len {
                let (start, end) = (range.start as u64, range.end as u64);
                return Err(BtfError::Outside { section, start, end, len: len as u64 });
            }
        }
        Ok(sections)
    }

    /// The header's fields, wherever it is.
    pub(super) fn stated(bytes: &[u8]) -> Option<Self> {
        let (header, _) = raw::Header::ref_from_prefix(bytes).ok()?;
        let header_len = header.hdr_len.get();
        let is_btf = header.magic.get() == raw::MAGIC && header.version == raw::VERSION;
        if !is_btf || (header_len as usize) < size_of::<raw::Header>() {
            return None;
        }
        let section = |offset: u32, len: u32| {
            let start = header_len.checked_add(offset)?;
            let end = start.checked_add(len)?;
            Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
        };
        Some(Self {
            types: section(header.type_off.get(), header.type_len.get())?,
            strings: section(header.str_off.get(), header.str_len.get())?,
        })
    }

    /// Bytes from the header on to the end of what it describes.
    pub(super) fn end(&self) -> usize {
        self.types.end.max(self.strings.end)
    }
}

/// The type that some bytes begin with, and what is after it.
fn step(bytes: &[u8]) -> Option<(&raw::Type, &[u8])> {
    let (ty, rest) = raw::Type::ref_from_prefix(bytes).ok()?;
    Some((ty, rest.get(raw::extra_len(ty)?..)?))
}

/// Kinds of types that have a size.
fn has_layout(kind: u8) -> bool {
    matches!(
        kind,
        kind::INT
            | kind::STRUCT
            | kind::UNION
            | kind::ENUM
            | kind::ENUM64
            | kind::FLOAT
            | kind::TYPEDEF
    )
}

/// FNV-1a: the names are short, and a collision only costs a comparison.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
