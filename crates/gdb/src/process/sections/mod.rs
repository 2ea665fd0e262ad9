//! A section table for programs and libraries whose own is not in the page cache.
//!
//! A loader reads program headers and never sections, so the end of a file, with the
//! section headers and their names, is often not in the guest's memory. Debuggers
//! find nothing without them: no symbols, no addresses, nothing to unwind by. What
//! they need most, program headers and the dynamic section say too. A table made
//! from these goes behind the end of the file, and the ELF header points there.
//!
//! Source of the layouts: System V ABI, chapters 4 and 5; Linux Standard Base,
//! "`.eh_frame_hdr`" and "`DT_GNU_HASH`".

use std::mem::size_of;

use object::LittleEndian;
use object::elf::{ELFCLASS32, ELFCLASS64, FileHeader32, FileHeader64};
use object::pod;
use object::read::elf::SectionHeader;

mod class;
mod dynamic;
mod frames;
mod image;
mod layout;
mod table;
#[cfg(test)]
mod tests;

use class::Class;
use image::Image;

/// More of one thing is not read: symbols of the largest libraries have a few.
const MOST_BYTES: u64 = 16 << 20;

/// A file of which parts may be missing.
pub(super) trait Source {
    /// Its length in bytes.
    fn len_bytes(&self) -> u64;

    /// How many bytes are there from an offset on, before the first that is missing.
    fn available(&self, offset: u64) -> u64;

    /// Fills all of `buf`; `None` if a byte is missing.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Option<()>;
}

/// What is known of a file's section table.
#[derive(Debug)]
pub(super) enum Sections {
    /// It is there, or the file has none.
    Own,
    /// One was made.
    Made(Made),
    /// It is missing, and none could be made.
    Lost,
}

/// What is served in place of a file's own bytes, and behind them.
#[derive(Debug)]
pub(super) struct Made {
    /// The ELF header.
    header: Vec<u8>,
    /// Length of the file in bytes.
    end: u64,
    /// What follows its last byte.
    tail: Vec<u8>,
}

impl Made {
    /// Length of the whole in bytes.
    pub(super) fn len_bytes(&self) -> u64 {
        self.end.saturating_add(self.tail.len() as u64)
    }

    /// What was made for an offset and behind; `None` if the file's own bytes are
    /// there.
    pub(super) fn at(&self, offset: u64) -> Option<&[u8]> {
        let (part, at) = match offset.checked_sub(self.end) {
            Some(behind) => (&self.tail, behind),
            None => (&self.header, offset),
        };
        let rest = part.get(usize::try_from(at).ok()?..)?;
        (!rest.is_empty()).then_some(rest)
    }
}

impl Sections {
    /// Looks at a file, and makes a table if it needs one.
    pub(super) fn of(source: &dyn Source) -> Self {
        let mut class = [0];
        let known = source.read(4, &mut class).map(|()| object::elf::FileClass(class[0]));
        match known {
            Some(ELFCLASS64) => look::<FileHeader64<LittleEndian>>(source),
            Some(ELFCLASS32) => look::<FileHeader32<LittleEndian>>(source),
            _ => Self::Own,
        }
    }
}

fn look<E: Class>(source: &dyn Source) -> Sections {
    let bytes = take(source, 0, size_of::<E>() as u64);
    let header = bytes.as_deref().and_then(|bytes| pod::from_bytes::<E>(bytes).ok());
    let is_ours = |header: &&E| header.is_supported() && header.is_little_endian();
    let Some(header) = header.map(|(header, _)| header).filter(is_ours) else {
        return Sections::Own;
    };
    if has_its_sections(header, source) {
        return Sections::Own;
    }
    make(*header, source).map_or(Sections::Lost, Sections::Made)
}

fn make<E: Class>(header: E, source: &dyn Source) -> Option<Made> {
    let image = Image::of(&header, source)?;
    let dynamic = dynamic::Dynamic::of::<E>(&image);
    let layout = layout::Layout::of::<E>(&image, dynamic.as_ref());
    table::make(header, &image, &layout, dynamic.as_ref())
}

/// Whether section headers and their names can be read, or were never there.
fn has_its_sections<E: Class>(header: &E, source: &dyn Source) -> bool {
    let start: u64 = header.e_shoff(LittleEndian).into();
    let size = u64::from(header.e_shentsize(LittleEndian));
    // Without a number, the first header says it.
    let count = u64::from(header.e_shnum(LittleEndian)).max(1);
    if start == 0 || is_outside(source, start, count * size) {
        return true;
    }
    if source.available(start) < count * size {
        return false;
    }
    let names = u64::from(header.e_shstrndx(LittleEndian).0);
    if names >= count || size < size_of::<E::SectionHeader>() as u64 {
        return true;
    }
    let Some(at) = start.checked_add(names * size) else { return true };
    let Some(bytes) = take(source, at, size) else { return false };
    let Ok((section, _)) = pod::from_bytes::<E::SectionHeader>(&bytes) else { return true };
    let offset = section.sh_offset(LittleEndian).into();
    let len = section.sh_size(LittleEndian).into();
    is_outside(source, offset, len) || source.available(offset) >= len
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
