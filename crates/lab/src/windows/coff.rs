//! An object file with symbols and types, for a linker to make a PDB of.
//!
//! Sources: Microsoft's "PE Format" document for the object file, `cvinfo.h` of
//! microsoft-pdb (MIT) for the type records.

use super::bytes::align;
use crate::bytes::Bytes;

/// A type by its number: below 0x1000 one of the format's own.
pub(super) type Type = u64;

pub(super) const CHAR: Type = 0x70;
pub(super) const WCHAR: Type = 0x71;
pub(super) const U8: Type = 0x20;
pub(super) const U16: Type = 0x21;
pub(super) const U32: Type = 0x22;
pub(super) const U64: Type = 0x23;
/// A pointer of 64 bits to anything.
pub(super) const POINTER: Type = 0x603;

const FIRST: Type = 0x1000;
const POINTER_RECORD: u64 = 0x1002;
const FIELD_LIST: u64 = 0x1203;
const ARRAY: u64 = 0x1503;
const STRUCTURE: u64 = 0x1505;
const MEMBER: u64 = 0x150d;
const PUBLIC: u64 = 3;
/// A number that does not fit 15 bits stands after this.
const LONG_NUMBER: u64 = 0x8004;

/// Type records, numbered in their order.
#[derive(Default)]
pub(super) struct Types {
    records: Vec<u8>,
    count: u64,
}

impl Types {
    /// A structure; members are (name, offset, type).
    pub(super) fn structure(
        &mut self,
        name: &str,
        size: u64,
        members: &[(&str, u64, Type)],
    ) -> Type {
        let mut fields = Bytes::default();
        fields.u16(0, FIELD_LIST);
        for (name, offset, of) in members {
            let mut field = Bytes::default();
            field.u16(0, MEMBER).u16(2, PUBLIC).u32(4, *of);
            number(&mut field, *offset);
            text(&mut field, name);
            pad(&mut field, 0);
            fields.0.append(&mut field.0);
        }
        let fields = self.add(fields);
        let mut out = Bytes::default();
        out.u16(0, STRUCTURE).u16(2, members.len() as u64).u16(4, 0).u32(6, fields);
        out.u32(0xa, 0).u32(0xe, 0);
        number(&mut out, size);
        text(&mut out, name);
        self.add(out)
    }

    pub(super) fn array(&mut self, of: Type, bytes: u64) -> Type {
        let mut out = Bytes::default();
        out.u16(0, ARRAY).u32(2, of).u32(6, U64);
        number(&mut out, bytes);
        text(&mut out, "");
        self.add(out)
    }

    /// A pointer of 64 bits.
    pub(super) fn pointer(&mut self, to: Type) -> Type {
        let mut out = Bytes::default();
        out.u16(0, POINTER_RECORD).u32(2, to).u32(6, 0x1_000c);
        self.add(out)
    }

    fn add(&mut self, mut record: Bytes) -> Type {
        // The length in front counts too for what it is aligned to.
        pad(&mut record, 2);
        let mut len = Bytes::default();
        len.u16(0, record.0.len() as u64);
        self.records.append(&mut len.0);
        self.records.append(&mut record.0);
        self.count += 1;
        FIRST + self.count - 1
    }
}

fn number(out: &mut Bytes, value: u64) {
    let at = out.0.len() as u64;
    if value < 0x8000 {
        out.u16(at, value);
    } else {
        out.u16(at, LONG_NUMBER).u32(at + 2, value);
    }
}

fn text(out: &mut Bytes, text: &str) {
    let at = out.0.len() as u64;
    out.put(at, text.as_bytes()).u8(at + text.len() as u64, 0);
}

/// Each byte of padding says how many are left.
fn pad(out: &mut Bytes, before: u64) {
    let len = out.0.len() as u64;
    for left in (1..=align(len + before, 4) - len - before).rev() {
        out.u8(out.0.len() as u64, 0xf0 | u8::try_from(left).unwrap_or_default());
    }
}

/// An x64 object of one section without contents, `size` bytes long, with
/// symbols at offsets in it.
pub(super) fn object(size: u64, symbols: &[(&str, u64)], types: &Types) -> Vec<u8> {
    const HEADERS: u64 = 20 + 2 * 40;
    let type_bytes = [&4_u32.to_le_bytes(), types.records.as_slice()].concat();
    let symbol_table = HEADERS + type_bytes.len() as u64;
    let mut out = Bytes::default();
    out.u16(0, 0x8664).u16(2, 2).u32(4, 0).u32(8, symbol_table);
    out.u32(0xc, symbols.len() as u64).u16(0x10, 0).u16(0x12, 0);
    section(&mut out, 20, ".data", (size, 0, 0xc000_0080 | 0x0050_0000));
    section(&mut out, 60, ".debug$T", (type_bytes.len() as u64, HEADERS, 0x4210_0040));
    out.put(HEADERS, &type_bytes);
    let mut strings = Bytes::default();
    strings.u32(0, 0);
    for (index, (name, value)) in (0..).zip(symbols) {
        let at = symbol_table + index * 18;
        out.u32(at, 0).u32(at + 4, strings.0.len() as u64).u32(at + 8, *value);
        // In section 1, of no type, external.
        out.u16(at + 12, 1).u16(at + 14, 0).u8(at + 16, 2).u8(at + 17, 0);
        text(&mut strings, name);
    }
    let len = strings.0.len() as u64;
    strings.u32(0, len);
    out.0.append(&mut strings.0);
    out.0
}

fn section(out: &mut Bytes, at: u64, name: &str, (size, pointer, flags): (u64, u64, u64)) {
    out.put(at, &[0; 40]).put(at, name.as_bytes());
    out.u32(at + 16, size).u32(at + 20, pointer).u32(at + 36, flags);
}
