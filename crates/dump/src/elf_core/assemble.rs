//! Puts program headers, notes and guest memory together into an ELF core.
//!
//! Headers and notes come first, whatever their number: crash keeps only what
//! lies before the first PT_LOAD, makedumpfile wants the program headers right
//! after the ELF header (or after the one section header that carries their
//! count, if there are more than `e_phnum` can say).

use vmss2core_machine::Width;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromZeros, IntoBytes};

use super::{Class, Machine};
use crate::DumpError;
use crate::engine::{Extent, FileLayout, Literal};
use crate::views::{Access, Body, Load};
use vmss2core_formats::elf::{
    ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFOSABI_GNU, ET_CORE, EV_CURRENT, Ehdr32, Ehdr64, Ident,
    PF_R, PF_W, PF_X, PN_XNUM, PT_LOAD, PT_NOTE, Phdr32, Phdr64, Shdr32, Shdr64,
};

/// Memory starts at a multiple of this in the file. Pages would do for the
/// readers; but copying takes a fifth longer if source and output differ in
/// their place within 64 KiB (large folios of the page cache), and file systems
/// with 64 KiB blocks share nothing smaller. What it adds is a hole.
pub(super) const MEMORY_ALIGNMENT: u64 = 64 * 1024;

/// The kind of an ELF file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) machine: Machine,
    /// `p_align` of memory segments. 0 tells crash that this is a kdump.
    pub(crate) load_align: u64,
}

/// A PT_LOAD as it is written, with the freedom that cores of processes need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) vaddr: u64,
    pub(crate) paddr: u64,
    /// Counts from the start of the memory in the file.
    pub(crate) offset: u64,
    pub(crate) file_bytes: u64,
    pub(crate) memory_bytes: u64,
    /// `PF_R` and so on.
    pub(crate) flags: u32,
}

impl From<&Load> for Segment {
    fn from(load: &Load) -> Self {
        // A segment that ends at 2^64 ends at 0 for gdb and lldb, and is lost. One
        // byte less, and both show all but that byte.
        let wraps = load.vaddr.checked_add(load.len_bytes).is_none() && load.vaddr != u64::MAX;
        let len_bytes = load.len_bytes.saturating_sub(u64::from(wraps));
        Self {
            vaddr: load.vaddr,
            paddr: load.paddr,
            offset: load.offset,
            file_bytes: len_bytes,
            // The same, for lldb reads nothing after the file's part.
            memory_bytes: len_bytes,
            flags: flags(load.access),
        }
    }
}

fn flags(access: Access) -> u32 {
    PF_R | if access.write { PF_W } else { 0 } | if access.execute { PF_X } else { 0 }
}

/// Makes the layout of a core.
pub(crate) fn assemble(kind: Kind, notes: &[u8], body: Body) -> Result<FileLayout, DumpError> {
    let class = choose_class(kind.machine, notes, &body)?;
    let segments: Vec<Segment> = body.loads.iter().map(Segment::from).collect();
    assemble_segments(kind, class, notes, &segments, body.extents, body.len_bytes)
}

/// Makes the layout of a core of this class with any kind of segments; offsets of
/// `segments` and `extents` count from the start of the memory in the file.
pub(crate) fn assemble_segments(
    kind: Kind,
    class: Class,
    notes: &[u8],
    segments: &[Segment],
    mut extents: Vec<Extent>,
    memory_len_bytes: u64,
) -> Result<FileLayout, DumpError> {
    let start = header_len(class, segments.len(), notes.len())?;
    let len_bytes = start.checked_add(memory_len_bytes).ok_or(DumpError::TooLarge)?;
    // The largest offset of a file, `off_t`.
    if i64::try_from(len_bytes).is_err() {
        return Err(DumpError::TooLarge);
    }
    for extent in &mut extents {
        extent.offset = extent.offset.saturating_add(start);
    }
    let header = header_bytes(kind, class, notes, segments, start)?;
    let literals = vec![Literal { offset: 0, bytes: header }];
    Ok(FileLayout { literals, extents, len_bytes, ..FileLayout::default() })
}

fn choose_class(machine: Machine, notes: &[u8], body: &Body) -> Result<Class, DumpError> {
    if machine.is_64_bit {
        return Ok(Class::Elf64);
    }
    let header = header_len(Class::Elf32, body.loads.len(), notes.len())?;
    Ok(if body.fits_32_bits(header) { Class::Elf32 } else { Class::Elf64 })
}

/// Bytes before the first memory.
pub(crate) fn header_len(class: Class, loads: usize, notes: usize) -> Result<u64, DumpError> {
    let (ehdr, phdr, shdr) = sizes(class);
    let count = loads.checked_add(1).ok_or(DumpError::TooLarge)?;
    let escape = if has_escape(count) { shdr } else { 0 };
    let bytes = count
        .checked_mul(phdr)
        .and_then(|table| table.checked_add(ehdr.saturating_add(escape)))
        .and_then(|headers| headers.checked_add(notes))
        .and_then(|bytes| u64::try_from(bytes).ok())
        .and_then(|bytes| bytes.checked_next_multiple_of(MEMORY_ALIGNMENT));
    bytes.ok_or(DumpError::TooLarge)
}

fn sizes(class: Class) -> (usize, usize, usize) {
    match class {
        Class::Elf32 => (size_of::<Ehdr32>(), size_of::<Phdr32>(), size_of::<Shdr32>()),
        Class::Elf64 => (size_of::<Ehdr64>(), size_of::<Phdr64>(), size_of::<Shdr64>()),
    }
}

/// 0xffff itself is the escape value, so that many already need it.
fn has_escape(count: usize) -> bool {
    count >= usize::from(PN_XNUM)
}

fn header_bytes(
    kind: Kind,
    class: Class,
    notes: &[u8],
    segments: &[Segment],
    start: u64,
) -> Result<Vec<u8>, DumpError> {
    let (ehdr, phdr, shdr) = sizes(class);
    let count = segments.len().saturating_add(1);
    let phoff = if has_escape(count) { ehdr.saturating_add(shdr) } else { ehdr };
    let notes_at = phoff.saturating_add(count.saturating_mul(phdr));
    let mut out = Vec::with_capacity(notes_at.saturating_add(notes.len()));
    push_ehdr(&mut out, kind, class, count, phoff)?;
    if has_escape(count) {
        push_shdr(&mut out, class, count)?;
    }
    let len = to_u64(notes.len())?;
    let note = Segment {
        vaddr: 0,
        paddr: 0,
        offset: to_u64(notes_at)?,
        file_bytes: len,
        memory_bytes: len,
        flags: 0,
    };
    Phdr { kind: PT_NOTE, segment: note, align: 4 }.push(&mut out, class)?;
    for segment in segments {
        let segment = Segment { offset: start.saturating_add(segment.offset), ..*segment };
        Phdr { kind: PT_LOAD, segment, align: kind.load_align }.push(&mut out, class)?;
    }
    out.extend_from_slice(notes);
    Ok(out)
}

/// A program header of either class.
struct Phdr {
    kind: u32,
    segment: Segment,
    align: u64,
}

impl Phdr {
    fn push(&self, out: &mut Vec<u8>, class: Class) -> Result<(), DumpError> {
        match class {
            Class::Elf64 => out.extend_from_slice(self.class64().as_bytes()),
            Class::Elf32 => out.extend_from_slice(self.class32()?.as_bytes()),
        }
        Ok(())
    }

    fn class64(&self) -> Phdr64 {
        Phdr64 {
            p_type: U32::new(self.kind),
            p_flags: U32::new(self.segment.flags),
            p_offset: U64::new(self.segment.offset),
            p_vaddr: U64::new(self.segment.vaddr),
            p_paddr: U64::new(self.segment.paddr),
            p_filesz: U64::new(self.segment.file_bytes),
            p_memsz: U64::new(self.segment.memory_bytes),
            p_align: U64::new(self.align),
        }
    }

    fn class32(&self) -> Result<Phdr32, DumpError> {
        Ok(Phdr32 {
            p_type: U32::new(self.kind),
            p_offset: narrow(self.segment.offset)?,
            p_vaddr: narrow(self.segment.vaddr)?,
            p_paddr: narrow(self.segment.paddr)?,
            p_filesz: narrow(self.segment.file_bytes)?,
            p_memsz: narrow(self.segment.memory_bytes)?,
            p_flags: U32::new(self.segment.flags),
            p_align: narrow(self.align)?,
        })
    }
}

fn ident(class: Class) -> Ident {
    Ident {
        magic: *b"\x7fELF",
        class: if class == Class::Elf32 { ELFCLASS32 } else { ELFCLASS64 },
        data: ELFDATA2LSB,
        version: EV_CURRENT,
        // lldb refuses a core that names no system, here or by a note of
        // "LINUX"; the others do not look.
        osabi: ELFOSABI_GNU,
        padding: [0; 8],
    }
}

fn e_machine(machine: Machine) -> U16 {
    let width = if machine.is_64_bit { Width::Bits64 } else { Width::Bits32 };
    U16::new(machine.arch.elf_machine(width))
}

fn push_ehdr(
    out: &mut Vec<u8>,
    kind: Kind,
    class: Class,
    count: usize,
    phoff: usize,
) -> Result<(), DumpError> {
    let (ehdr, phdr, shdr) = sizes(class);
    let escape = has_escape(count);
    let short = |n: usize| u16::try_from(n).map(U16::new).map_err(|_| DumpError::TooLarge);
    let phnum = if escape { U16::new(PN_XNUM) } else { short(count)? };
    let (shnum, shentsize) = if escape { (1, short(shdr)?) } else { (0, U16::ZERO) };
    let shoff = if escape { to_u64(ehdr)? } else { 0 };
    match class {
        Class::Elf64 => out.extend_from_slice(
            Ehdr64 {
                e_ident: ident(class),
                e_type: U16::new(ET_CORE),
                e_machine: e_machine(kind.machine),
                e_version: U32::new(EV_CURRENT.into()),
                e_phoff: U64::new(to_u64(phoff)?),
                e_shoff: U64::new(shoff),
                e_ehsize: short(ehdr)?,
                e_phentsize: short(phdr)?,
                e_phnum: phnum,
                e_shentsize: shentsize,
                e_shnum: U16::new(shnum),
                ..Ehdr64::new_zeroed()
            }
            .as_bytes(),
        ),
        Class::Elf32 => out.extend_from_slice(
            Ehdr32 {
                e_ident: ident(class),
                e_type: U16::new(ET_CORE),
                e_machine: e_machine(kind.machine),
                e_version: U32::new(EV_CURRENT.into()),
                e_phoff: narrow(to_u64(phoff)?)?,
                e_shoff: narrow(shoff)?,
                e_ehsize: short(ehdr)?,
                e_phentsize: short(phdr)?,
                e_phnum: phnum,
                e_shentsize: shentsize,
                e_shnum: U16::new(shnum),
                ..Ehdr32::new_zeroed()
            }
            .as_bytes(),
        ),
    }
    Ok(())
}

fn push_shdr(out: &mut Vec<u8>, class: Class, count: usize) -> Result<(), DumpError> {
    let sh_info = narrow(to_u64(count)?)?;
    match class {
        Class::Elf64 => {
            out.extend_from_slice(Shdr64 { sh_info, ..Shdr64::new_zeroed() }.as_bytes());
        }
        Class::Elf32 => {
            out.extend_from_slice(Shdr32 { sh_info, ..Shdr32::new_zeroed() }.as_bytes());
        }
    }
    Ok(())
}

fn narrow(value: u64) -> Result<U32, DumpError> {
    u32::try_from(value).map(U32::new).map_err(|_| DumpError::TooLarge)
}

fn to_u64(value: usize) -> Result<u64, DumpError> {
    u64::try_from(value).map_err(|_| DumpError::TooLarge)
}
