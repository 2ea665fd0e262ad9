//! Which tag of group `cpu` holds which register.
//!
//! Sources: tags of three state files of 2012, 2016 and 2022, published listings
//! of ESX 4 files. The first index is always the processor's number.

use std::fmt;

use super::msrs::{self, Msr};
use crate::inventory::{Item, ItemKind};

/// One register, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Register {
    /// By hardware number.
    General(u8),
    Rip,
    /// `eflags`: the arithmetic ones.
    Flags,
    /// `EFLAGS`: those of the system. Both together are the register.
    MoreFlags,
    Control(u8),
    Debug(u8),
    Table(Table, TablePart),
    /// By position in the segment tags: ES CS SS DS FS GS LDTR TR.
    Selector(u8),
    Base(u8),
    /// The 20 bits of the descriptor.
    Limit(u8),
    /// The upper word of the descriptor without base and limit.
    Rights(u8),
    /// Those of the code segment once more.
    CsRights,
    Msr(Msr),
    Halted,
    /// Whether the processor is in system management mode.
    InSmm,
    /// Not 0 while it runs a guest of its own.
    InNestedGuest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Gdtr,
    Idtr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TablePart {
    Limit,
    BaseLow,
    BaseHigh,
}

/// The names of processor manuals.
impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SEGMENTS: [&str; 8] = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"];
        let segment = |n: u8| SEGMENTS.get(usize::from(n)).copied().unwrap_or_default();
        match *self {
            Self::General(n) => {
                f.write_str(GENERAL.get(usize::from(n)).map_or("", |(name, _)| name))
            }
            Self::Rip => f.write_str("rip"),
            Self::Flags | Self::MoreFlags => f.write_str("rflags"),
            Self::Control(n) => write!(f, "cr{n}"),
            Self::Debug(n) => write!(f, "dr{n}"),
            Self::Table(table, TablePart::Limit) => write!(f, "{table} limit"),
            Self::Table(table, TablePart::BaseLow) => write!(f, "{table} base, lower half"),
            Self::Table(table, TablePart::BaseHigh) => write!(f, "{table} base, upper half"),
            Self::Selector(n) => write!(f, "{} selector", segment(n)),
            Self::Base(n) => write!(f, "{} base", segment(n)),
            Self::Limit(n) => write!(f, "{} limit", segment(n)),
            Self::Rights(n) => write!(f, "{} rights", segment(n)),
            Self::CsRights => f.write_str("cs rights"),
            Self::Msr(msr) => write!(f, "{msr}"),
            Self::Halted => f.write_str("the halt state"),
            Self::InSmm => f.write_str("system management mode"),
            Self::InNestedGuest => f.write_str("the state of nested guests"),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gdtr => "gdtr",
            Self::Idtr => "idtr",
        })
    }
}

/// In what shape a value came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Its own tag, full width.
    Tag,
    /// Part of a block of registers.
    Block,
    /// Its own tag, under the 32-bit name: the low half of a 64-bit register.
    LowHalf,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tag => "its own tag",
            Self::Block => "a register block",
            Self::LowHalf => "its 32-bit tag",
        })
    }
}

/// A value for a register.
pub(super) type Reading = (Register, Form, u64);

/// The meaning of a tag.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    /// One register.
    One(Register, Form),
    /// Consecutive registers of `width` bytes each in one block.
    Array { width: usize, register: fn(u8) -> Option<Register> },
    /// Limit and base of a descriptor table.
    TableBlock(Table),
    /// The sixteen general registers.
    GeneralBlock,
    /// A part of the floating point and vector state.
    Fpu(FpuPart),
}

/// Parts of an XSAVE area.
#[derive(Clone, Copy, Debug)]
pub(super) enum FpuPart {
    /// The FXSAVE image.
    Image,
    /// One byte of it.
    Byte(u32),
    /// The header after it.
    Header,
    /// A component by number.
    Component(u32),
}

/// Hardware order; the 32-bit names go with it.
const GENERAL: [(&str, &str); 16] = [
    ("rax", "eax"),
    ("rcx", "ecx"),
    ("rdx", "edx"),
    ("rbx", "ebx"),
    ("rsp", "esp"),
    ("rbp", "ebp"),
    ("rsi", "esi"),
    ("rdi", "edi"),
    ("r8", ""),
    ("r9", ""),
    ("r10", ""),
    ("r11", ""),
    ("r12", ""),
    ("r13", ""),
    ("r14", ""),
    ("r15", ""),
];

/// The meaning of `item` of group `cpu`; `None` if it is not known.
pub(super) fn meaning(item: &Item) -> Option<Meaning> {
    let whole = |register, form| Some(Meaning::One(register, form));
    match (item.name.as_str(), item.indices.as_slice()) {
        ("gpregs", [_]) => Some(Meaning::GeneralBlock),
        ("rip", [_]) => whole(Register::Rip, Form::Tag),
        ("eip", [_]) => whole(Register::Rip, Form::LowHalf),
        ("eflags" | "rflags", [_]) => whole(Register::Flags, Form::Tag),
        ("EFLAGS" | "RFLAGS", [_]) => whole(Register::MoreFlags, Form::Tag),
        ("halted", [_]) => whole(Register::Halted, Form::Tag),
        ("CR64", [_]) => Some(Meaning::Array { width: 8, register: control }),
        ("CR64", [_, n]) => whole(control(narrow(*n)?)?, Form::Tag),
        ("CR", [_, n]) => whole(control(narrow(*n)?)?, Form::LowHalf),
        ("DR64", [_]) => Some(Meaning::Array { width: 8, register: debug }),
        ("DR64", [_, n]) => whole(debug(narrow(*n)?)?, Form::Tag),
        ("DR", [_, n]) => whole(debug(narrow(*n)?)?, Form::LowHalf),
        ("GDTR", indices) => table(Table::Gdtr, indices),
        ("IDTR", indices) => table(Table::Idtr, indices),
        ("S", [_, n]) => whole(Register::Selector(segment(*n)?), Form::Tag),
        ("S.base64", [_, n]) => whole(Register::Base(segment(*n)?), Form::Tag),
        ("S.base", [_, n]) => whole(Register::Base(segment(*n)?), Form::LowHalf),
        ("S.limit", [_, n]) => whole(Register::Limit(segment(*n)?), Form::Tag),
        ("S.rights", [_, n]) => whole(Register::Rights(segment(*n)?), Form::Tag),
        ("csRights", [_]) => whole(Register::CsRights, Form::Tag),
        ("syscallMSR", [_]) => Some(Meaning::Array { width: 8, register: system_call }),
        ("fpu:fxstate", [_]) => Some(Meaning::Fpu(FpuPart::Image)),
        ("fpu:fxstate", [_, n]) => Some(Meaning::Fpu(FpuPart::Byte(*n))),
        ("xsave:xheader", [_]) => Some(Meaning::Fpu(FpuPart::Header)),
        ("xsave:subleaf", [_, n]) => Some(Meaning::Fpu(FpuPart::Component(*n))),
        (name, [_]) if is_last_word(name, "inSMM") => whole(Register::InSmm, Form::Tag),
        (name, [_]) if is_last_word(name, "hvState") => whole(Register::InNestedGuest, Form::Tag),
        (name, [_]) => general(name),
        _ => None,
    }
    .or_else(|| msr(item))
}

fn general(name: &str) -> Option<Meaning> {
    let at = GENERAL.iter().position(|(wide, low)| *wide == name || *low == name)?;
    let (wide, _) = GENERAL.get(at)?;
    let form = if *wide == name { Form::Tag } else { Form::LowHalf };
    Some(Meaning::One(Register::General(u8::try_from(at).ok()?), form))
}

fn table(table: Table, indices: &[u32]) -> Option<Meaning> {
    let part = match indices {
        [_] => return Some(Meaning::TableBlock(table)),
        [_, 0] => TablePart::Limit,
        [_, 1] => TablePart::BaseLow,
        [_, 2] => TablePart::BaseHigh,
        _ => return None,
    };
    Some(Meaning::One(Register::Table(table, part), Form::Tag))
}

/// A model-specific register, by name or by number.
fn msr(item: &Item) -> Option<Meaning> {
    if item.kind != ItemKind::Value || !matches!(item.size_in_file, 4 | 8) {
        return None;
    }
    let msr = match item.indices.as_slice() {
        [_] => msrs::by_tag(&item.name).or_else(|| msrs::by_spelling(&item.name))?,
        [_, number] => msrs::by_number(&item.name, *number)?,
        _ => return None,
    };
    Some(Meaning::One(Register::Msr(msr), Form::Tag))
}

/// Whether a name is `word`, alone or after a colon or full stop.
fn is_last_word(name: &str, word: &str) -> bool {
    name.rsplit([':', '.']).next() == Some(word)
}

/// `STAR LSTAR CSTAR SFMASK`, whose numbers follow one another.
fn system_call(n: u8) -> Option<Register> {
    (n < 4).then(|| Register::Msr(Msr(Msr::STAR.0.saturating_add(n.into()))))
}

/// CR1 and CR5 to CR7 do not exist; blocks have room for them.
fn control(n: u8) -> Option<Register> {
    matches!(n, 0 | 2 | 3 | 4 | 8).then_some(Register::Control(n))
}

fn debug(n: u8) -> Option<Register> {
    (n < 8).then_some(Register::Debug(n))
}

fn segment(n: u32) -> Option<u8> {
    narrow(n).filter(|&n| n < 8)
}

fn narrow(n: u32) -> Option<u8> {
    u8::try_from(n).ok()
}

/// The registers in an array block.
pub(super) fn array(
    bytes: &[u8],
    width: usize,
    register: fn(u8) -> Option<Register>,
) -> Vec<Reading> {
    let numbered = (0..=u8::MAX).zip(bytes.chunks_exact(width.max(1)));
    numbered.filter_map(|(n, b)| Some((register(n)?, Form::Block, number(b)?))).collect()
}

/// Limit and base of a descriptor table: 10 bytes, or 6 with a 32-bit base.
pub(super) fn table_block(table: Table, bytes: &[u8]) -> Option<[Reading; 3]> {
    let (limit, base) = bytes.split_at_checked(2)?;
    if !matches!(base.len(), 4 | 8) {
        return None;
    }
    let (limit, base) = (number(limit)?, number(base)?);
    let reading = |part, value| (Register::Table(table, part), Form::Block, value);
    Some([
        reading(TablePart::Limit, limit),
        reading(TablePart::BaseLow, base & 0xffff_ffff),
        reading(TablePart::BaseHigh, base >> 32),
    ])
}

fn number(bytes: &[u8]) -> Option<u64> {
    let mut wide = [0; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(wide))
}
