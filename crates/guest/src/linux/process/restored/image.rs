//! The program headers, whatever the class.

use std::ops::Range;

use object::LittleEndian;
use object::elf::{PF_X, PT_LOAD, ProgramFlags, ProgramType};
use object::pod;
use object::read::elf::{FileHeader, ProgramHeader};

use super::{Source, take};

/// A file with more segments is none that a linker wrote.
const MOST_SEGMENTS: u16 = 128;

/// A program header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) kind: ProgramType,
    pub(super) flags: ProgramFlags,
    pub(super) offset: u64,
    pub(super) address: u64,
    /// Length in bytes in the file.
    pub(super) file_len: u64,
    /// Length in bytes in memory.
    pub(super) mem_len: u64,
    pub(super) align: u64,
}

/// A file as its loader sees it.
pub(super) struct Image<'s> {
    pub(super) source: &'s dyn Source,
    pub(super) segments: Vec<Segment>,
    /// Offset after the ELF header and the program headers if they lie together.
    pub(super) headers_end: u64,
}

impl<'s> Image<'s> {
    /// `None` if the program headers cannot be read or are too many.
    pub(super) fn of<E: FileHeader<Endian = LittleEndian>>(
        header: &E,
        source: &'s dyn Source,
    ) -> Option<Self> {
        let count = header.e_phnum(LittleEndian);
        let size = size_of::<E::ProgramHeader>();
        if count == 0
            || count > MOST_SEGMENTS
            || usize::from(header.e_phentsize(LittleEndian)) != size
        {
            return None;
        }
        let (start, len) =
            (header.e_phoff(LittleEndian).into(), usize::from(count).saturating_mul(size));
        let bytes = take(source, start, len as u64)?;
        let raw = pod::slice_from_bytes::<E::ProgramHeader>(&bytes, usize::from(count)).ok()?.0;
        let own_len = size_of::<E>() as u64;
        let headers_end = own_len.saturating_add(if start == own_len { len as u64 } else { 0 });
        let end = source.len_bytes();
        let segments = raw.iter().map(|raw| segment(raw, end)).collect();
        Some(Self { source, segments, headers_end })
    }

    pub(super) fn loads(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.kind == PT_LOAD)
    }

    /// Addresses of what can be executed.
    pub(super) fn code(&self) -> Vec<Range<u64>> {
        let code = self.loads().filter(|load| load.flags.0 & PF_X.0 != 0);
        code.map(|load| load.address..load.address.saturating_add(load.file_len)).collect()
    }

    pub(super) fn first(&self, kind: ProgramType) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.kind == kind)
    }

    /// Where in the file the bytes from an address on are, up to the end of their
    /// segment.
    pub(super) fn place_of(&self, address: u64) -> Option<Range<u64>> {
        self.loads().find_map(|load| {
            let skip = address.checked_sub(load.address).filter(|skip| *skip < load.file_len)?;
            Some(load.offset.saturating_add(skip)..load.offset.saturating_add(load.file_len))
        })
    }

    /// The loaded segment that has all of a range of the file, at the address that is
    /// said.
    pub(super) fn load_with(&self, file: &Range<u64>, address: u64) -> Option<&Segment> {
        self.loads().find(|load| {
            load.offset <= file.start
                && file.end <= load.offset.saturating_add(load.file_len)
                && load.address.checked_add(file.start.saturating_sub(load.offset)) == Some(address)
        })
    }
}

/// A segment that ends with the file at the latest.
fn segment<P: ProgramHeader<Endian = LittleEndian>>(raw: &P, end: u64) -> Segment {
    let offset = raw.p_offset(LittleEndian).into();
    let file_len = raw.p_filesz(LittleEndian).into();
    Segment {
        kind: raw.p_type(LittleEndian),
        flags: raw.p_flags(LittleEndian),
        offset,
        address: raw.p_vaddr(LittleEndian).into(),
        file_len: file_len.min(end.saturating_sub(offset)),
        mem_len: raw.p_memsz(LittleEndian).into(),
        align: raw.p_align(LittleEndian).into(),
    }
}
