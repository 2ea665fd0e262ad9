//! The section table of a file whose sections are not all in memory.
//!
//! Debuggers give up a file, or all of its symbols, if one section that they read has
//! lost a page. What is lost is served so that the rest works: tables of symbols and
//! names with nothing where a page was, call frames without the records that are gone,
//! all else as a section that has no bytes. Numbers and addresses of sections stay.

use std::ops::Range;

use object::elf::{
    SHF_ALLOC, SHF_COMPRESSED, SHF_EXECINSTR, SHT_DYNAMIC, SHT_DYNSYM, SHT_GNU_HASH,
    SHT_GNU_VERDEF, SHT_GNU_VERNEED, SHT_GNU_VERSYM, SHT_GROUP, SHT_HASH, SHT_NOBITS, SHT_NOTE,
    SHT_NULL, SHT_REL, SHT_RELA, SHT_STRTAB, SHT_SYMTAB, SHT_SYMTAB_SHNDX, SectionFlags,
    SectionType,
};
use object::read::elf::SectionHeader;
use object::{LittleEndian, pod};

use vmss2core_mem::range_len;

use super::class::{Class, Header};
use super::patch::Patch;
use super::{Source, frames, holes, strings, take, unknown};

/// Types that debuggers read whatever the name.
const READ: [SectionType; 13] = [
    SHT_DYNAMIC,
    SHT_DYNSYM,
    SHT_GNU_HASH,
    SHT_GNU_VERDEF,
    SHT_GNU_VERNEED,
    SHT_GNU_VERSYM,
    SHT_GROUP,
    SHT_HASH,
    SHT_NOTE,
    SHT_REL,
    SHT_RELA,
    SHT_SYMTAB,
    SHT_SYMTAB_SHNDX,
];
/// Parts that they read of that which programs have in memory. Code and data they read from
/// the process.
const READ_BY_NAME: [&str; 7] =
    [".eh_frame", ".interp", ".plt", ".stapsdt", ".probes", ".gdb", ".gnu"];
const FRAMES: &str = ".eh_frame";
const DEBUG_FRAMES: &str = ".debug_frame";
const FRAMES_HEADER: &str = ".eh_frame_hdr";

/// A section of the file.
#[derive(Debug)]
struct Section {
    header: Header,
    name: String,
    /// Where its bytes are; empty if it has none.
    file: Range<u64>,
}

/// Part of the table that is served.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Repaired {
    pub(super) patches: Vec<Patch>,
    /// Names of the sections that have lost bytes.
    pub(super) lost: Vec<String>,
}

/// Looks at each section; `None` if the headers or their names cannot be read.
pub(super) fn repair<E: Class>(header: &E, source: &dyn Source) -> Option<Repaired> {
    let table = Table::of::<E>(header, source)?;
    let mut repaired = Repaired::default();
    let lost = |section: &&Section| section.is_read() && !holes(source, &section.file).is_empty();
    let any_version = table.sections.iter().filter(lost).any(Section::is_version);
    for (index, section) in (0_u64..).zip(&table.sections) {
        let is_lost = lost(&section);
        if is_lost {
            repaired.lost.push(section.name.clone());
        }
        // Of versions all is there or nothing: else each name would have a wrong one.
        let has_lost_its_like = any_version && section.is_version();
        if !is_lost && !has_lost_its_like {
            continue;
        }
        let frames = || table.frames::<E>(source, section);
        let changed = match section.header.kind {
            SHT_SYMTAB | SHT_DYNSYM if section.has_any(source) => {
                repaired
                    .patches
                    .extend(section.without_symbols(source, size_of::<E::Sym>() as u64));
                None
            }
            SHT_STRTAB => {
                repaired.patches.extend(strings::repair(source, &section.file));
                None
            }
            _ if section.name == FRAMES => match frames() {
                Some((len_bytes, patches)) => {
                    repaired.patches.extend(patches);
                    Some(Header { len_bytes, ..section.header })
                }
                None => Some(section.without_bytes()),
            },
            _ if section.name == DEBUG_FRAMES => match table.no_frames::<E>(section) {
                Some((header, patch)) => {
                    repaired.patches.push(patch);
                    Some(header)
                }
                None => Some(section.without_bytes()),
            },
            _ => Some(section.without_bytes()),
        };
        if let Some(changed) = changed {
            let at = table.start.checked_add(index.checked_mul(table.entry_len)?)?;
            repaired.patches.push(Patch::given(at, E::section(&changed)?));
        }
    }
    Some(repaired)
}

impl Section {
    fn is_read(&self) -> bool {
        let is_alloc = self.header.flags.0 & SHF_ALLOC.0 != 0;
        READ.contains(&self.header.kind)
            || self.header.kind == SHT_STRTAB
            || !is_alloc
            || READ_BY_NAME.iter().any(|name| self.name.starts_with(name))
    }

    fn is_version(&self) -> bool {
        [SHT_GNU_VERSYM, SHT_GNU_VERDEF, SHT_GNU_VERNEED].contains(&self.header.kind)
    }

    /// Whether any of its bytes is there.
    fn has_any(&self, source: &dyn Source) -> bool {
        let whole = std::slice::from_ref(&self.file);
        holes(source, &self.file) != whole
    }

    /// Nothing in place of symbols that are lost, in part too.
    fn without_symbols(&self, source: &dyn Source, symbol_len: u64) -> Vec<Patch> {
        let mut patches = Vec::new();
        let start = self.file.start;
        for hole in holes(source, &self.file) {
            let symbol = hole.start.checked_sub(start).and_then(|at| at.checked_rem(symbol_len));
            let first = hole.start.saturating_sub(symbol.unwrap_or(0));
            let symbols = hole.end.saturating_sub(start).checked_next_multiple_of(symbol_len);
            let end = symbols.map_or(u64::MAX, |len| start.saturating_add(len));
            for part in [first..hole.start, hole.end..end.min(self.file.end)] {
                let len = usize::try_from(part.end.saturating_sub(part.start)).unwrap_or(0);
                patches.push(Patch::given(part.start, vec![0; len]));
            }
            patches.push(Patch::zeroes(&hole));
        }
        patches
    }

    /// A section that has an address keeps it, as symbols are in it.
    fn without_bytes(&self) -> Header {
        let is_alloc = self.header.flags.0 & SHF_ALLOC.0 != 0;
        let kind = if is_alloc { SHT_NOBITS } else { SHT_NULL };
        Header { kind, ..self.header }
    }
}

struct Table {
    start: u64,
    entry_len: u64,
    sections: Vec<Section>,
}

impl Table {
    fn of<E: Class>(header: &E, source: &dyn Source) -> Option<Self> {
        let start: u64 = header.e_shoff(LittleEndian).into();
        let entry_len = u64::from(header.e_shentsize(LittleEndian));
        if entry_len != size_of::<E::SectionHeader>() as u64 {
            return None;
        }
        let read = |index: u64| {
            let bytes = take(source, start.checked_add(index.checked_mul(entry_len)?)?, entry_len)?;
            Some(*pod::from_bytes::<E::SectionHeader>(&bytes).ok()?.0)
        };
        // Without numbers in the ELF header, the first section header says them.
        let first = read(0)?;
        let said = u64::from(header.e_shnum(LittleEndian));
        let count = if said == 0 { first.sh_size(LittleEndian).into() } else { said };
        let strings = u64::from(header.e_shstrndx(LittleEndian).0);
        let strings = if strings == 0xffff { first.sh_link(LittleEndian).into() } else { strings };
        let table = take(source, start, count.checked_mul(entry_len)?)?;
        let raw = pod::slice_from_bytes::<E::SectionHeader>(&table, usize::try_from(count).ok()?);
        let raw = raw.ok()?.0;
        let of_names = raw.get(usize::try_from(strings).ok()?)?;
        let names = take(
            source,
            of_names.sh_offset(LittleEndian).into(),
            of_names.sh_size(LittleEndian).into(),
        )?;
        let sections = raw.iter().map(|raw| section(raw, &names, source.len_bytes())).collect();
        Some(Self { start, entry_len, sections })
    }

    /// Length of what is left of the call frames, and what goes over them.
    fn frames<E: Class>(&self, source: &dyn Source, frames: &Section) -> Option<(u64, Vec<Patch>)> {
        let header = self.sections.iter().find(|section| section.name == FRAMES_HEADER);
        let starts = header
            .map(|header| {
                frames::starts(source, (header.header.address, &header.file))
                    .into_iter()
                    .filter_map(|address| {
                        let skip = address.checked_sub(frames.header.address)?;
                        frames.file.start.checked_add(skip)
                    })
                    .collect()
            })
            .unwrap_or_default();
        let (address, file) = (frames.header.address, frames.file.clone());
        let place = frames::Section { source, address, file, machine: E::MACHINE };
        let (end, patches) = place.repair(&starts, &self.code());
        (end > frames.file.start).then(|| (end.saturating_sub(frames.file.start), patches))
    }

    /// Addresses of all code.
    fn code(&self) -> Vec<Range<u64>> {
        let is_code = |section: &&Section| {
            let wanted = SHF_ALLOC.0 | SHF_EXECINSTR.0;
            section.header.flags.0 & wanted == wanted
        };
        let code = self.sections.iter().filter(is_code);
        let range =
            |header: Header| header.address..header.address.saturating_add(header.len_bytes);
        code.map(|section| range(section.header)).collect()
    }

    /// A section `.debug_frame` in place of one that has lost bytes, if nothing else
    /// describes call frames: it says nothing of any code.
    fn no_frames<E: Class>(&self, lost: &Section) -> Option<(Header, Patch)> {
        if self.sections.iter().any(|section| section.name == FRAMES) {
            return None;
        }
        let bytes = unknown::debug_frame(&self.code(), E::MACHINE)?;
        let len_bytes = bytes.len() as u64;
        let fits = len_bytes <= range_len(&lost.file);
        let flags = SectionFlags(lost.header.flags.0 & !SHF_COMPRESSED.0);
        let header = Header { flags, len_bytes, ..lost.header };
        fits.then(|| (header, Patch::given(lost.file.start, bytes)))
    }
}

fn section<S: SectionHeader<Endian = LittleEndian>>(raw: &S, names: &[u8], end: u64) -> Section {
    let header = Header {
        name: raw.sh_name(LittleEndian),
        kind: raw.sh_type(LittleEndian),
        flags: raw.sh_flags(LittleEndian),
        address: raw.sh_addr(LittleEndian).into(),
        offset: raw.sh_offset(LittleEndian).into(),
        len_bytes: raw.sh_size(LittleEndian).into(),
        link: raw.sh_link(LittleEndian),
        info: raw.sh_info(LittleEndian),
        align: raw.sh_addralign(LittleEndian).into(),
        entry_bytes: raw.sh_entsize(LittleEndian).into(),
    };
    let name = usize::try_from(header.name).ok().and_then(|at| names.get(at..));
    let name = name.unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
    let has_bytes = ![SHT_NULL, SHT_NOBITS].contains(&header.kind);
    let len = if has_bytes { header.len_bytes } else { 0 };
    let start = header.offset.min(end);
    Section {
        name: String::from_utf8_lossy(name).into_owned(),
        file: start..start.saturating_add(len).min(end),
        header,
    }
}
