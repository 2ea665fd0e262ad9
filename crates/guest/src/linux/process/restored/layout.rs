//! Which sections a file has, from its segments.

use std::ops::Range;

use object::elf::{
    PF_W, PF_X, PT_DYNAMIC, PT_GNU_EH_FRAME, PT_INTERP, PT_NOTE, PT_TLS, ProgramType, SHF_ALLOC,
    SHF_EXECINSTR, SHF_TLS, SHF_WRITE, SHT_DYNAMIC, SHT_NOBITS, SHT_NOTE, SHT_PROGBITS, SHT_STRTAB,
    SectionFlags, SectionType,
};

use vmss2core_mem::range_len;

use super::class::Class;
use super::dynamic::Dynamic;
use super::frames;
use super::image::{Image, Segment};
use super::patch::Patch;
use super::take;

/// Segments that are a section each.
const AS_THEY_ARE: [(ProgramType, &str, SectionType); 5] = [
    (PT_INTERP, ".interp", SHT_PROGBITS),
    (PT_NOTE, ".note", SHT_NOTE),
    (PT_DYNAMIC, ".dynamic", SHT_DYNAMIC),
    (PT_GNU_EH_FRAME, ".eh_frame_hdr", SHT_PROGBITS),
    (PT_TLS, ".tdata", SHT_PROGBITS),
];

/// A section that is in memory when the file is loaded.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) kind: SectionType,
    pub(super) flags: SectionFlags,
    pub(super) address: u64,
    /// Where in the file it is.
    pub(super) file: Range<u64>,
    /// Length in bytes in memory.
    pub(super) len_bytes: u64,
    pub(super) align: u64,
}

/// The sections of a file.
pub(super) struct Layout {
    /// In order of their addresses.
    pub(super) sections: Vec<Section>,
    /// Patches over bytes of theirs.
    pub(super) patches: Vec<Patch>,
}

impl Layout {
    pub(super) fn of<E: Class>(image: &Image<'_>, dynamic: Option<&Dynamic>) -> Self {
        let mut named = as_they_are(image);
        if let Some(dynamic) = dynamic {
            let (address, file) = (dynamic.names_address, dynamic.names.clone());
            named.extend(part(image, (".dynstr", SHT_STRTAB), address, file));
        }
        let mut patches = Vec::new();
        if let Some(found) = frames::find(image, E::MACHINE) {
            let align = u64::from(E::MACHINE.address_bytes);
            let frames = part(image, (".eh_frame", SHT_PROGBITS), found.address, found.file);
            named.extend(frames.map(|section| Section { align, ..section }));
            patches = found.patches;
        }
        named.sort_by_key(|section| section.file.start);
        let mut sections = without_overlaps(named);
        let rest: Vec<Section> =
            image.loads().flat_map(|load| rest(image, load, &sections)).collect();
        sections.extend(rest);
        sections.extend(image.segments.iter().filter_map(without_bytes));
        sections.sort_by_key(|section| section.address);
        Self { sections, patches }
    }
}

/// A section of a loaded segment; `None` if it has no bytes or is in none.
fn part(
    image: &Image<'_>,
    (name, kind): (&'static str, SectionType),
    address: u64,
    file: Range<u64>,
) -> Option<Section> {
    let len_bytes = file.end.checked_sub(file.start).filter(|len| *len > 0)?;
    let load = image.load_with(&file, address)?;
    Some(Section { name, kind, flags: flags(load), address, file, len_bytes, align: 1 })
}

fn flags(load: &Segment) -> SectionFlags {
    let mut flags = SHF_ALLOC;
    for (of_segment, of_section) in [(PF_W, SHF_WRITE), (PF_X, SHF_EXECINSTR)] {
        if load.flags.0 & of_segment.0 != 0 {
            flags = SectionFlags(flags.0 | of_section.0);
        }
    }
    flags
}

fn as_they_are(image: &Image<'_>) -> Vec<Section> {
    let mut sections = Vec::new();
    for segment in &image.segments {
        let Some(&(_, name, kind)) = AS_THEY_ARE.iter().find(|row| row.0 == segment.kind) else {
            continue;
        };
        let file = segment.offset..segment.offset.saturating_add(segment.file_len);
        if image.source.available(file.start) < range_len(&file) {
            continue;
        }
        let Some(mut section) = part(image, (name, kind), segment.address, file) else { continue };
        section.align = segment.align;
        match segment.kind {
            PT_NOTE if has_build_id(image, &section) => section.name = ".note.gnu.build-id",
            PT_TLS => section.flags = SectionFlags(section.flags.0 | SHF_TLS.0),
            _ => {}
        }
        sections.push(section);
    }
    sections
}

/// Whether one of the notes is the file's build ID: its type and owner.
fn has_build_id(image: &Image<'_>, section: &Section) -> bool {
    let bytes = take(image.source, section.file.start, section.len_bytes).unwrap_or_default();
    bytes.windows(8).any(|part| part == b"\x03\0\0\0GNU\0")
}

fn without_overlaps(sorted: Vec<Section>) -> Vec<Section> {
    let mut end = 0;
    let mut kept = sorted;
    kept.retain(|section| {
        let is_free = section.file.start >= end;
        if is_free {
            end = section.file.end;
        }
        is_free
    });
    kept
}

/// Gaps between the sections of a segment that are known. Most of an executable
/// one is code.
fn rest(image: &Image<'_>, load: &Segment, known: &[Section]) -> Vec<Section> {
    let end = load.offset.saturating_add(load.file_len);
    let mut start = load.offset.max(if load.offset == 0 { image.headers_end } else { 0 });
    let mut gaps = Vec::new();
    let within = known.iter().filter(|section| section.file.start < end);
    let behind = std::iter::once(end..end);
    for next in within.map(|section| section.file.clone()).chain(behind) {
        gaps.extend((start < next.start).then_some(start..next.start));
        start = start.max(next.end);
    }
    let largest = gaps.iter().max_by_key(|gap| range_len(gap)).cloned();
    let name = |gap: &Range<u64>| match load.flags {
        flags if flags.0 & PF_X.0 != 0 && Some(gap) == largest.as_ref() => ".text",
        flags if flags.0 & PF_W.0 != 0 => ".data",
        _ => ".rodata",
    };
    let section = |gap: Range<u64>| {
        let address = load.address.checked_add(gap.start.saturating_sub(load.offset))?;
        part(image, (name(&gap), SHT_PROGBITS), address, gap)
    };
    gaps.into_iter().filter_map(section).collect()
}

/// The part of a segment that is in memory only.
fn without_bytes(segment: &Segment) -> Option<Section> {
    let (name, more) = match segment.kind {
        object::elf::PT_LOAD => (".bss", 0),
        PT_TLS => (".tbss", SHF_TLS.0),
        _ => return None,
    };
    let len_bytes = segment.mem_len.checked_sub(segment.file_len).filter(|len| *len > 0)?;
    let at = segment.offset.saturating_add(segment.file_len);
    Some(Section {
        name,
        kind: SHT_NOBITS,
        flags: SectionFlags(flags(segment).0 | SHF_WRITE.0 | more),
        address: segment.address.checked_add(segment.file_len)?,
        file: at..at,
        len_bytes,
        align: 1,
    })
}
