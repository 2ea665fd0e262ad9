//! A program's file as far as the guest's page cache has it, with what debuggers need in
//! place of what is lost.
//!
//! A loader reads program headers and never sections, and under memory pressure a page
//! of a file is dropped here and there. Debuggers find nothing without section headers:
//! no symbols, no addresses, nothing to unwind by; and one that is there but cannot be
//! read costs them the others. Sections that have lost bytes are served without them
//! ([`own`]). Without section headers a table is made from program headers and the
//! dynamic section, which say too what debuggers need most; it goes after the end of the
//! file, and the ELF header points there. Without an ELF header, one is made from what
//! the process has mapped.
//!
//! Source of the layouts: System V ABI, chapters 4 and 5; Linux Standard Base,
//! "`.eh_frame_hdr`" and "`DT_GNU_HASH`".

use std::ops::Range;

use object::LittleEndian;
use object::elf::{ELFCLASS32, ELFCLASS64, FileHeader32, FileHeader64};
use object::pod;

mod class;
mod dynamic;
mod file;
mod frames;
mod header;
mod image;
mod layout;
mod own;
mod patch;
mod strings;
mod table;
#[cfg(test)]
mod tests;
mod unknown;

use class::Class;
pub use file::RestoredFile;
pub(super) use header::Mapped;
use image::Image;
use patch::Patches;
pub use patch::{Patch, PatchBytes};
pub(in crate::linux) use unknown::FrameMachine;

/// More of one thing is not read: symbols of the largest libraries have a few.
const MOST_BYTES: u64 = 16 << 20;

/// A file of which parts may be missing.
pub(super) trait Source {
    /// Its length in bytes.
    fn len_bytes(&self) -> u64;

    /// How many bytes are there from an offset on, before the first that is missing.
    fn available(&self, offset: u64) -> u64;

    /// How many bytes are missing from an offset on, before the first that is there.
    fn missing(&self, offset: u64) -> u64;

    /// Fills all of `buf`; `None` if a byte is missing.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Option<()>;
}

/// Repair of a file's section table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SectionTable {
    /// Nothing: all that debuggers read is there, or it is no program.
    #[default]
    Own,
    /// It is the file's own; these sections have lost bytes.
    Reduced(Vec<String>),
    /// It was lost. One was made from the program headers.
    Made,
    /// It was lost, and none could be made.
    Lost,
}

/// Result of restoring a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Restored {
    table: SectionTable,
    /// The ELF header was lost, and made.
    is_header_made: bool,
    /// Patches over the file's bytes and after them.
    patches: Vec<Patch>,
}

/// Restores a file. How a process has mapped it is asked for if its ELF header is lost.
fn restore(source: &dyn Source, mapped: &dyn Fn() -> Option<Mapped>) -> Restored {
    let is_lost = source.available(0) < size_of::<FileHeader64<LittleEndian>>() as u64;
    let lost = if is_lost && source.len_bytes() > 0 { mapped() } else { None };
    let Some(header) = lost.and_then(|mapped| header::make(&mapped, source)) else {
        let (table, patches) = look(source);
        return Restored { table, is_header_made: false, patches };
    };
    let whole = WithHeader { source, header: &header };
    let (table, patches) = look(&whole);
    let mut all = vec![Patch::given(0, header)];
    all.extend(patches);
    Restored { table, is_header_made: true, patches: all }
}

/// A file whose first bytes were made.
struct WithHeader<'s> {
    source: &'s dyn Source,
    header: &'s [u8],
}

impl WithHeader<'_> {
    fn len(&self) -> u64 {
        self.header.len() as u64
    }
}

impl Source for WithHeader<'_> {
    fn len_bytes(&self) -> u64 {
        self.source.len_bytes()
    }

    fn available(&self, offset: u64) -> u64 {
        match self.len().checked_sub(offset).filter(|left| *left > 0) {
            Some(left) => left.saturating_add(self.source.available(self.len())),
            None => self.source.available(offset),
        }
    }

    fn missing(&self, offset: u64) -> u64 {
        if offset < self.len() { 0 } else { self.source.missing(offset) }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Option<()> {
        let start = usize::try_from(offset).ok()?;
        let own = self.header.get(start..).unwrap_or_default();
        let len = own.len().min(buf.len());
        let (front, rest) = buf.split_at_mut(len);
        front.copy_from_slice(own.get(..len)?);
        if rest.is_empty() {
            Some(())
        } else {
            self.source.read(offset.saturating_add(len as u64), rest)
        }
    }
}

fn look(source: &dyn Source) -> (SectionTable, Vec<Patch>) {
    let mut class = [0];
    let known = source.read(4, &mut class).map(|()| object::elf::FileClass(class[0]));
    match known {
        Some(ELFCLASS64) => look_at::<FileHeader64<LittleEndian>>(source),
        Some(ELFCLASS32) => look_at::<FileHeader32<LittleEndian>>(source),
        _ => (SectionTable::Own, Vec::new()),
    }
}

fn look_at<E: Class>(source: &dyn Source) -> (SectionTable, Vec<Patch>) {
    let own = (SectionTable::Own, Vec::new());
    let bytes = take(source, 0, size_of::<E>() as u64);
    let header = bytes.as_deref().and_then(|bytes| pod::from_bytes::<E>(bytes).ok());
    let is_ours = |header: &&E| header.is_supported() && header.is_little_endian();
    let Some(header) = header.map(|(header, _)| header).filter(is_ours) else { return own };
    if has_no_sections(header, source) && !is_made(header, source) {
        return own;
    }
    match own::repair(header, source) {
        Some(repaired) if repaired.lost.is_empty() => return own,
        Some(repaired) => return (SectionTable::Reduced(repaired.lost), repaired.patches),
        // What is broken in a file that is all there was so from the start.
        None if holes(source, &(0..source.len_bytes())).is_empty() => return own,
        None => {}
    }
    make(*header, source)
        .map_or((SectionTable::Lost, Vec::new()), |patches| (SectionTable::Made, patches))
}

fn make<E: Class>(header: E, source: &dyn Source) -> Option<Vec<Patch>> {
    let image = Image::of(&header, source)?;
    let dynamic = dynamic::Dynamic::of::<E>(&image);
    let layout = layout::Layout::of::<E>(&image, dynamic.as_ref());
    table::make(header, &image, &layout, dynamic.as_ref())
}

/// Whether the header was made, and no section headers were found: the rest of the page
/// that it is in is missing.
fn is_made<E: Class>(header: &E, source: &dyn Source) -> bool {
    let segments: u64 = header.e_phoff(LittleEndian).into();
    let len = u64::from(header.e_phnum(LittleEndian))
        .saturating_mul(size_of::<E::ProgramHeader>() as u64);
    let start: u64 = header.e_shoff(LittleEndian).into();
    start == 0 && segments.checked_add(len).is_some_and(|end| source.missing(end) > 0)
}

/// Whether section headers were never there, or are broken in the file itself.
fn has_no_sections<E: Class>(header: &E, source: &dyn Source) -> bool {
    let start: u64 = header.e_shoff(LittleEndian).into();
    let size = u64::from(header.e_shentsize(LittleEndian));
    // Without a number, the first header says it.
    let count = u64::from(header.e_shnum(LittleEndian)).max(1);
    let names = u64::from(header.e_shstrndx(LittleEndian).0);
    let is_broken = names >= count && names < 0xff00 && header.e_shnum(LittleEndian) != 0;
    start == 0
        || is_outside(source, start, count.saturating_mul(size))
        || is_broken
        || size != size_of::<E::SectionHeader>() as u64
}

/// Such a file was broken from the start.
fn is_outside(source: &dyn Source, start: u64, len: u64) -> bool {
    start.checked_add(len).is_none_or(|end| end > source.len_bytes())
}

/// A part of a file; `None` if it is large, or not all there.
fn take(source: &dyn Source, offset: u64, len: u64) -> Option<Vec<u8>> {
    if len > MOST_BYTES || source.available(offset) < len {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    source.read(offset, &mut bytes)?;
    Some(bytes)
}

/// The parts of a range whose bytes are missing.
fn holes(source: &dyn Source, range: &Range<u64>) -> Vec<Range<u64>> {
    let mut holes = Vec::new();
    let mut at = range.start;
    while at < range.end {
        at = at.saturating_add(source.available(at));
        let end = at.saturating_add(source.missing(at)).min(range.end);
        if at >= end {
            break;
        }
        holes.push(at..end);
        at = end;
    }
    holes
}
