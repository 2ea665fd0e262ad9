//! Images (PE) in memory: identity, exports, sections, tables of functions.
//!
//! Source of the layouts: Microsoft, "PE Format". Whatever an image says is
//! bounded: counts, lengths of names, places.

use vmss2core_mem::Gva;

use super::view::{View, element};
use super::{PdbIdentity, Section};

const MAX_SECTIONS: u64 = 96;
const MAX_EXPORTS: u64 = 65_536;
/// Longest CodeView record: 24 bytes and a name.
const MAX_CODE_VIEW: usize = 24 + 512;
const MAX_DEBUG_ENTRIES: u64 = 32;
/// Longest name of an export.
const MAX_EXPORT_NAME: usize = 128;
/// `IMAGE_DEBUG_TYPE_CODEVIEW`.
const CODE_VIEW: u64 = 2;
const EXPORTS: usize = 0;
const EXCEPTIONS: usize = 3;
const DEBUG: usize = 6;

/// The beginning of an image.
pub(super) const MZ: u16 = 0x5a4d;
/// `IMAGE_SCN_MEM_DISCARDABLE`.
pub(super) const DISCARDABLE: u32 = 0x0200_0000;
/// `IMAGE_SCN_MEM_EXECUTE`.
pub(super) const EXECUTE: u32 = 0x2000_0000;
/// `IMAGE_SCN_MEM_WRITE`.
pub(super) const WRITE: u32 = 0x8000_0000;

/// The headers of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    /// Processor that the code is for.
    pub(super) machine: u16,
    pub(super) timestamp: u32,
    /// `SizeOfImage`.
    pub(super) size: u32,
    pub(super) checksum: u32,
    pub(super) sections: Vec<Section>,
    /// RVA and length of data directories by number.
    directories: Vec<(u32, u32)>,
}

impl Headers {
    /// Those of the image at `base`; `None` if it is none or not in memory.
    pub(super) fn read(view: &View, base: Gva) -> Option<Self> {
        if view.uint(base, 2)? != u64::from(MZ) {
            return None;
        }
        let pe = view.uint(base.checked_add(0x3c)?, 4)?;
        let at = Fields { view, base: base.checked_add(pe)? };
        if pe > 0x800 || at.u32(0)? != 0x4550 {
            return None;
        }
        Some(Self {
            machine: at.u16(4)?,
            timestamp: at.u32(8)?,
            size: at.u32(0x50)?,
            checksum: at.u32(0x58)?,
            sections: at.sections()?,
            directories: at.directories()?,
        })
    }

    /// Address and length of a data directory that is not empty and lies inside.
    fn directory(&self, base: Gva, index: usize) -> Option<(Gva, u64)> {
        let (rva, len) = *self.directories.get(index)?;
        let fits = rva != 0 && len != 0 && rva.checked_add(len)? <= self.size;
        fits.then_some((base.checked_add(u64::from(rva))?, u64::from(len)))
    }

    /// Whether there is code at a distance from the image's start.
    pub(super) fn is_code(&self, rva: u64) -> bool {
        let mut code =
            self.sections.iter().filter(|section| section.characteristics & EXECUTE != 0);
        code.any(|section| {
            let at = rva.checked_sub(u64::from(section.rva));
            at.is_some_and(|at| at < u64::from(section.size_bytes))
        })
    }

    /// The table of functions (`.pdata`): address and length in bytes.
    pub(super) fn functions(&self, base: Gva) -> Option<(Gva, u64)> {
        self.directory(base, EXCEPTIONS)
    }
}

/// Numbers at distances from an address.
struct Fields<'a> {
    view: &'a View,
    base: Gva,
}

impl Fields<'_> {
    fn uint(&self, offset: u64, len: u64) -> Option<u64> {
        self.view.uint(self.base.checked_add(offset)?, len)
    }

    fn u16(&self, offset: u64) -> Option<u16> {
        u16::try_from(self.uint(offset, 2)?).ok()
    }

    fn u32(&self, offset: u64) -> Option<u32> {
        u32::try_from(self.uint(offset, 4)?).ok()
    }

    /// The section headers that are in memory, of an image whose `PE\0\0` is here.
    fn sections(&self) -> Option<Vec<Section>> {
        let first = self.base.checked_add(0x18)?.checked_add(self.uint(0x14, 2)?)?;
        let count = self.uint(6, 2)?.min(MAX_SECTIONS);
        let section = |index| Self { base: element(first, index, 40)?, ..*self }.section();
        Some((0..count).map_while(section).collect())
    }

    /// The section whose header is here.
    fn section(&self) -> Option<Section> {
        Some(Section {
            name: text(&self.view.bytes(self.base, 8)?),
            size_bytes: self.u32(8)?,
            rva: self.u32(12)?,
            characteristics: self.u32(36)?,
        })
    }

    fn directories(&self) -> Option<Vec<(u32, u32)>> {
        let (count_at, first) =
            if self.uint(0x18, 2)? == 0x20b { (0x84, 0x88) } else { (0x74, 0x78) };
        let first = self.base.checked_add(first)?;
        let count = self.uint(count_at, 4)?.min(16);
        let directory = |index: u64| {
            let entry = Self { base: element(first, index, 8)?, ..*self };
            Some((entry.u32(0)?, entry.u32(4)?))
        };
        Some((0..count).map_while(directory).collect())
    }
}

/// Identity of the PDB of an image: any entry of its debug directory.
pub(super) fn pdb(view: &View, base: Gva, headers: &Headers) -> Option<PdbIdentity> {
    let (directory, len) = headers.directory(base, DEBUG)?;
    (0..(len / 28).min(MAX_DEBUG_ENTRIES)).find_map(|index| {
        let entry = Fields { view, base: element(directory, index, 28)? };
        if entry.uint(0xc, 4)? != CODE_VIEW {
            return None;
        }
        let len = usize::try_from(entry.uint(0x10, 4)?).ok()?.min(MAX_CODE_VIEW);
        code_view(&view.prefix(base.checked_add(entry.uint(0x14, 4)?)?, len))
    })
}

/// A CodeView record: `RSDS`, GUID, age, name.
pub(super) fn code_view(record: &[u8]) -> Option<PdbIdentity> {
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

/// The name by which an image exports, such as `ntoskrnl.exe`.
pub(super) fn export_name(view: &View, base: Gva, headers: &Headers) -> Option<String> {
    let (directory, _) = headers.directory(base, EXPORTS)?;
    let rva = Fields { view, base: directory }.uint(0xc, 4)?;
    let name = text(&view.prefix(base.checked_add(rva)?, MAX_EXPORT_NAME));
    (!name.is_empty()).then_some(name)
}

/// Names that an image exports, by ascending distance from its start. What is not
/// in memory is left out.
pub(super) fn exports(view: &View, base: Gva) -> Vec<(u32, String)> {
    let headers = Headers::read(view, base);
    let found = headers.and_then(|headers| read_exports(view, base, &headers));
    let mut found = found.unwrap_or_default();
    found.sort_unstable();
    found
}

/// The address of one export.
pub(super) fn export(view: &View, base: Gva, name: &str) -> Option<Gva> {
    let all = exports(view, base);
    let (rva, _) = all.into_iter().find(|(_, known)| known == name)?;
    base.checked_add(u64::from(rva))
}

fn read_exports(view: &View, base: Gva, headers: &Headers) -> Option<Vec<(u32, String)>> {
    let (directory, len) = headers.directory(base, EXPORTS)?;
    let own = directory.0..directory.0.checked_add(len)?;
    let fields = Fields { view, base: directory };
    let place = |offset: u64| base.checked_add(fields.uint(offset, 4)?);
    let (functions, count) = (fields.uint(0x14, 4)?, fields.uint(0x18, 4)?.min(MAX_EXPORTS));
    let (addresses, names, ordinals) = (place(0x1c)?, place(0x20)?, place(0x24)?);
    let entry = |index: u64| {
        let ordinal = view.uint(element(ordinals, index, 2)?, 2)?;
        let name = base.checked_add(view.uint(element(names, index, 4)?, 4)?)?;
        if ordinal >= functions {
            return None;
        }
        let rva = u32::try_from(view.uint(element(addresses, ordinal, 4)?, 4)?).ok()?;
        // What lies in the directory names an export of another image.
        if own.contains(&base.0.checked_add(u64::from(rva))?) {
            return None;
        }
        let name = text(&view.prefix(name, MAX_EXPORT_NAME));
        (!name.is_empty()).then_some((rva, name))
    };
    Some((0..count).filter_map(entry).collect())
}
