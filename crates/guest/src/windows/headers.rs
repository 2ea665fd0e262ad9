//! Images (PE) in memory: identity, exports, sections, tables of functions.
//!
//! Source of the layouts: Microsoft, "PE Format". Whatever an image says is
//! bounded: counts, lengths of names, places.

use vmss2core_mem::Gva;

use super::{PdbIdentity, View};

const MAX_SECTIONS: u64 = 96;
const MAX_EXPORTS: u64 = 65_536;
const MAX_NAME: usize = 512;
const MAX_DEBUG_ENTRIES: u64 = 32;
const EXPORTS: u64 = 0;
const EXCEPTIONS: u64 = 3;
const DEBUG: u64 = 6;
const EXECUTE: u32 = 0x2000_0000;

/// The headers of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) timestamp: u32,
    pub(super) size: u32,
    /// RVA and length of data directories by number.
    directories: Vec<(u32, u32)>,
    /// RVA and length of code.
    code: Vec<(u32, u32)>,
}

impl Headers {
    /// Those of the image at `base`; `None` if it is none or not in memory.
    pub(super) fn read(view: &View<'_>, base: Gva) -> Option<Self> {
        let at = |offset: u64| base.0.checked_add(offset).map(Gva);
        if view.uint(base, 2)? != 0x5a4d {
            return None;
        }
        let pe = view.uint(at(0x3c)?, 4)?;
        if pe > 0x800 || view.uint(at(pe)?, 4)? != 0x4550 {
            return None;
        }
        let number = |offset: u64, len| view.uint(at(pe.checked_add(offset)?)?, len);
        let narrow = |value: u64| u32::try_from(value).ok();
        let is_64_bit = number(0x18, 2)? == 0x20b;
        let directories = if is_64_bit { 0x88 } else { 0x78 };
        let count = number(directories - 4, 4)?.min(16);
        let directory = |index: u64| {
            let at = directories + index * 8;
            Some((narrow(number(at, 4)?)?, narrow(number(at + 4, 4)?)?))
        };
        let sections = 0x18 + number(0x14, 2)?;
        let section = |index: u64| {
            let at = sections + index * 40;
            let flags = narrow(number(at + 36, 4)?)?;
            Some((narrow(number(at + 12, 4)?)?, narrow(number(at + 8, 4)?)?, flags))
        };
        let code = (0..number(6, 2)?.min(MAX_SECTIONS)).map_while(section);
        Some(Self {
            timestamp: narrow(number(8, 4)?)?,
            size: narrow(number(0x50, 4)?)?,
            directories: (0..count).map_while(directory).collect(),
            code: code
                .filter(|(_, _, flags)| flags & EXECUTE != 0)
                .map(|(rva, len, _)| (rva, len))
                .collect(),
        })
    }

    /// Address and length of a data directory that is not empty and lies inside.
    fn directory(&self, base: Gva, index: u64) -> Option<(Gva, u64)> {
        let (rva, len) = *self.directories.get(usize::try_from(index).ok()?)?;
        let fits = rva != 0 && len != 0 && rva.checked_add(len)? <= self.size;
        fits.then_some((Gva(base.0.checked_add(u64::from(rva))?), u64::from(len)))
    }

    /// Whether there is code at a distance from the image's start.
    pub(super) fn is_code(&self, rva: u64) -> bool {
        self.code.iter().any(|(start, len)| {
            rva.checked_sub(u64::from(*start)).is_some_and(|at| at < u64::from(*len))
        })
    }

    /// The table of functions (`.pdata`): address and length in bytes.
    pub(super) fn functions(&self, base: Gva) -> Option<(Gva, u64)> {
        self.directory(base, EXCEPTIONS)
    }
}

/// Identity of the PDB of an image: any entry of its debug directory.
pub(super) fn pdb(view: &View<'_>, base: Gva, headers: &Headers) -> Option<PdbIdentity> {
    let (directory, len) = headers.directory(base, DEBUG)?;
    (0..(len / 28).min(MAX_DEBUG_ENTRIES)).find_map(|index| {
        let entry = directory.0.checked_add(index * 28)?;
        let number = |offset: u64| view.uint(Gva(entry.checked_add(offset)?), 4);
        if number(0xc)? != 2 {
            return None;
        }
        let (len, rva) = (number(0x10)?, number(0x14)?);
        let record = view
            .prefix(Gva(base.0.checked_add(rva)?), usize::try_from(len).ok()?.min(24 + MAX_NAME));
        code_view(&record)
    })
}

/// A CodeView record: `RSDS`, GUID, age, name.
fn code_view(record: &[u8]) -> Option<PdbIdentity> {
    let guid = record.strip_prefix(b"RSDS")?;
    let (a, rest) = guid.split_first_chunk::<4>()?;
    let (b, rest) = rest.split_first_chunk::<2>()?;
    let (c, rest) = rest.split_first_chunk::<2>()?;
    let (d, rest) = rest.split_first_chunk::<8>()?;
    let (age, name) = rest.split_first_chunk::<4>()?;
    let (a, b, c) = (u32::from_le_bytes(*a), u16::from_le_bytes(*b), u16::from_le_bytes(*c));
    Some(PdbIdentity {
        name: text(name),
        guid: format!("{a:08X}{b:04X}{c:04X}{:016X}", u64::from_be_bytes(*d)),
        age: u32::from_le_bytes(*age),
    })
}

/// Bytes up to the zero as text.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// Names that an image exports, by ascending distance from its start. What is not
/// in memory is left out.
pub(super) fn exports(view: &View<'_>, base: Gva) -> Vec<(u32, String)> {
    let headers = Headers::read(view, base);
    let mut found =
        headers.and_then(|headers| read_exports(view, base, &headers)).unwrap_or_default();
    found.sort_unstable();
    found
}

/// The address of one export.
pub(super) fn export(view: &View<'_>, base: Gva, name: &str) -> Option<Gva> {
    let all = exports(view, base);
    let (rva, _) = all.into_iter().find(|(_, known)| known == name)?;
    base.0.checked_add(u64::from(rva)).map(Gva)
}

fn read_exports(view: &View<'_>, base: Gva, headers: &Headers) -> Option<Vec<(u32, String)>> {
    let (directory, len) = headers.directory(base, EXPORTS)?;
    let own = directory.0..directory.0.checked_add(len)?;
    let number = |offset: u64| view.uint(Gva(directory.0.checked_add(offset)?), 4);
    let place = |offset: u64| base.0.checked_add(number(offset)?);
    let (functions, count) = (number(0x14)?, number(0x18)?.min(MAX_EXPORTS));
    let (addresses, names, ordinals) = (place(0x1c)?, place(0x20)?, place(0x24)?);
    let entry = |index: u64| {
        let item =
            |table: u64, len| view.uint(Gva(table.checked_add(index.checked_mul(len)?)?), len);
        let ordinal = item(ordinals, 2)?;
        let name = Gva(base.0.checked_add(item(names, 4)?)?);
        if ordinal >= functions {
            return None;
        }
        let rva = view.uint(Gva(addresses.checked_add(ordinal * 4)?), 4)?;
        // What lies in the directory names an export of another image.
        if own.contains(&base.0.checked_add(rva)?) {
            return None;
        }
        let name = text(&view.prefix(name, 128));
        (!name.is_empty()).then_some((u32::try_from(rva).ok()?, name))
    };
    Some((0..count).filter_map(entry).collect())
}
