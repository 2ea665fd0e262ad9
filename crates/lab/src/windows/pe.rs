//! Portable Executable images, as they lie in memory.
//!
//! Source: Microsoft's "PE Format" document.

use super::bytes::align;
use crate::bytes::Bytes;

/// A section: name, address in the image, length, characteristics.
pub(super) type Section = (&'static str, u32, u32, u32);

pub(super) const CODE: u32 = 0x6800_0020;
pub(super) const CONSTANT: u32 = 0x4800_0040;
pub(super) const DATA: u32 = 0xc800_0040;
/// Data and code in one.
pub(super) const MIXED: u32 = 0xe800_0060;
pub(super) const DISCARDABLE: u32 = 0x6200_0020;

/// Offset of `PE\0\0` in the kernel.
const PE: u64 = 0x110;

/// What the headers say.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) bits: u32,
    pub(super) base: u64,
    pub(super) size: u32,
    pub(super) timestamp: u32,
    pub(super) entry: u32,
    pub(super) sections: Vec<Section>,
    /// Address and length of the export directory.
    pub(super) exports: (u32, u32),
    /// Address and length of the debug directory.
    pub(super) debug: (u32, u32),
}

impl Image {
    /// The first page.
    pub(super) fn headers(&self) -> Vec<u8> {
        let mut out = Bytes::zeroed(0x1000);
        out.put(0, b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8");
        out.u32(0x3c, PE).put(PE, b"PE\0\0");
        let wide = self.bits == 64;
        let optional_len = if wide { 0xf0 } else { 0xe0 };
        out.u16(PE + 4, if wide { 0x8664 } else { 0x14c });
        out.u16(PE + 6, self.sections.len() as u64).u32(PE + 8, self.timestamp.into());
        out.u16(PE + 0x14, optional_len).u16(PE + 0x16, if wide { 0x22 } else { 0x102 });
        self.optional(&mut out, PE + 0x18);
        for (index, section) in (0..).zip(&self.sections) {
            Self::section(&mut out, PE + 0x18 + optional_len + index * 40, *section);
        }
        out.0
    }

    fn optional(&self, out: &mut Bytes, at: u64) {
        let wide = self.bits == 64;
        out.u16(at, if wide { 0x20b } else { 0x10b }).u8(at + 2, 14);
        out.u32(at + 0x10, self.entry.into()).u32(at + 0x14, 0x1000);
        if wide {
            out.u64(at + 0x18, self.base);
        } else {
            out.u32(at + 0x1c, self.base);
        }
        out.u32(at + 0x20, 0x1000).u32(at + 0x24, 0x200);
        out.u16(at + 0x28, 10).u16(at + 0x30, 10);
        out.u32(at + 0x38, self.size.into()).u32(at + 0x3c, 0x800);
        out.u32(at + 0x40, (self.size ^ 0x1234).into()).u16(at + 0x44, 1);
        let directories = at + if wide { 0x6c } else { 0x5c };
        out.u32(directories, 16);
        for (index, (address, len)) in [(0, self.exports), (6, self.debug)] {
            out.u32(directories + 4 + index * 8, address.into());
            out.u32(directories + 8 + index * 8, len.into());
        }
    }

    fn section(out: &mut Bytes, at: u64, (name, address, len, flags): Section) {
        out.put(at, name.as_bytes());
        out.u32(at + 8, len.into()).u32(at + 12, address.into());
        out.u32(at + 16, align(len.into(), 0x200)).u32(at + 20, address.into());
        out.u32(at + 36, flags.into());
    }
}

/// An export directory at `rva`, with these names and addresses.
pub(super) fn exports(rva: u32, image: &str, symbols: &[(&str, u32)]) -> Vec<u8> {
    let mut symbols = symbols.to_vec();
    symbols.sort_unstable();
    let (rva, count) = (u64::from(rva), symbols.len() as u64);
    let (functions, names) = (0x28, 0x28 + count * 4);
    let ordinals = names + count * 4;
    let mut text = ordinals + count * 2;
    let mut out = Bytes::default();
    out.u32(0xc, rva + text).u32(0x10, 1).u32(0x14, count).u32(0x18, count);
    out.u32(0x1c, rva + functions).u32(0x20, rva + names).u32(0x24, rva + ordinals);
    text = put_text(&mut out, text, image);
    for (index, (name, address)) in (0..).zip(&symbols) {
        out.u32(functions + index * 4, (*address).into());
        out.u32(names + index * 4, rva + text).u16(ordinals + index * 2, index);
        text = put_text(&mut out, text, name);
    }
    out.0
}

fn put_text(out: &mut Bytes, at: u64, text: &str) -> u64 {
    out.put(at, text.as_bytes()).u8(at + text.len() as u64, 0);
    at + text.len() as u64 + 1
}

/// A debug directory at `rva` and after it what it points to. Entries are
/// (type, data).
pub(super) fn debug_directory(rva: u32, timestamp: u32, entries: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut out = Bytes::default();
    let mut data = align(entries.len() as u64 * 28, 16);
    for (index, (kind, bytes)) in (0..).zip(entries) {
        let at = index * 28;
        out.u32(at, 0).u32(at + 4, timestamp.into()).u32(at + 0xc, (*kind).into());
        out.u32(at + 0x10, bytes.len() as u64);
        out.u32(at + 0x14, u64::from(rva) + data).u32(at + 0x18, u64::from(rva) + data);
        out.put(data, bytes);
        data = align(data + bytes.len() as u64, 4);
    }
    out.0
}

/// A CodeView record. `guid` has 32 digits, as a symbol store writes it.
pub(super) fn code_view(guid: &str, age: u32, name: &str) -> Vec<u8> {
    let digits = u128::from_str_radix(guid, 16).unwrap_or_default().to_be_bytes();
    let [a0, a1, a2, a3, b0, b1, c0, c1, rest @ ..] = digits;
    let mut out = b"RSDS".to_vec();
    // The first three numbers of a GUID are little-endian.
    out.extend_from_slice(&[a3, a2, a1, a0, b1, b0, c1, c0]);
    out.extend_from_slice(&rest);
    out.extend_from_slice(&age.to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out
}
