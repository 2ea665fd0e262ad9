//! An ELF header for a file whose own is lost, from where a process has mapped it.
//!
//! The kernel keeps which parts of a file a process has mapped where and how; program
//! headers are made of these. Section headers, if they are in memory, are the last there
//! is of the file, and prove themselves by their names.

use std::ops::Range;

use vmss2core_formats::elf::{
    ELFCLASS32, ELFCLASS64, ELFDATA2LSB, EM_386, EM_X86_64, ET_DYN, ET_EXEC, EV_CURRENT, Ehdr32,
    Ehdr64, Ident, MAGIC, PF_R, PF_W, PF_X, PT_GNU_EH_FRAME, PT_LOAD, Phdr32, Phdr64, SHT_NOBITS,
    SHT_STRTAB, Shdr32, Shdr64,
};
use vmss2core_mem::{range_len, to_page_end};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::{Source, frames};
use crate::linux::process::{Library, MappedFile, Process, Vma, VmaFlags};

const AT_ENTRY: u64 = 9;
/// Where programs of 64 bits are linked to that cannot lie elsewhere: below that. All
/// others lie higher, at two thirds of the addresses.
const FIXED_64: u64 = 1 << 32;
/// Below that lie both kinds of 32 bits: Linux puts those that can lie anywhere at 4 MiB and
/// above (`ELF_ET_DYN_BASE`).
const MAYBE_FIXED_32: u64 = 0x5000_0000;
/// More segments do not fit before the first page ends.
const MOST_SEGMENTS: usize = 64;
/// More section headers are not looked for.
const MOST_SECTIONS: u64 = 256;
const LONGEST_NAMES: u64 = 1 << 16;

/// Pages of a file that a process has mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::linux) struct Mapped {
    is_64_bit: bool,
    is_fixed: bool,
    entry: u64,
    loads: Vec<Load>,
}

/// A part of the file, where it lies in terms of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Load {
    address: u64,
    file: Range<u64>,
    flags: u32,
}

impl Mapped {
    /// All of a library of 64 bits, where it is linked to.
    #[cfg(test)]
    pub(super) fn whole(len_bytes: u64) -> Self {
        let load = Load { address: 0, file: 0..len_bytes, flags: 5 };
        Self { is_64_bit: true, is_fixed: false, entry: 0, loads: vec![load] }
    }

    /// `None` if it does not map the beginning of the file, or if it cannot be told how
    /// far from where it is linked to that lies.
    pub(in crate::linux) fn of(process: &Process, file: &MappedFile) -> Option<Self> {
        let len = file.len_bytes?;
        let is_64_bit = !process.is_32_bit();
        let same = |other: &MappedFile| other.mapping.is_some() && other.mapping == file.mapping;
        let vmas = process.vmas().iter();
        let own =
            vmas.filter(|vma| vma.file.as_deref().is_some_and(same) && vma.offset_bytes < len);
        // A file that is mapped twice is described by the first time.
        let mut own = own.skip_while(|vma| vma.offset_bytes != 0).peekable();
        let start = own.peek()?.start.0;
        let is_program = process.executable().is_some_and(same);
        let (bias, is_fixed) = match linked_bias(process, &same) {
            Some(bias) => (bias, bias == 0 && is_program),
            None => bias_by_place(start, is_64_bit)?,
        };
        let entry = process.auxv.value(AT_ENTRY).filter(|_| is_program);
        let entry = entry.map_or(0, |entry| entry.wrapping_sub(bias));
        Some(Self { is_64_bit, is_fixed, entry, loads: loads(own, bias, len) })
    }
}

/// How far from where it is linked to the dynamic linker says that a file lies; `None` if
/// it does not list the file.
fn linked_bias(process: &Process, same: &dyn Fn(&MappedFile) -> bool) -> Option<u64> {
    let list = process.libraries()?;
    let mut listed = list.program.iter().chain(&list.libraries);
    let is_it = |library: &&Library| {
        let vma = process.vma_at(library.dynamic);
        vma.is_some_and(|vma| vma.file.as_deref().is_some_and(same))
    };
    listed.find(is_it).map(|library| library.bias)
}

/// The kind by where a file lies, and whether it cannot lie elsewhere.
fn bias_by_place(start: u64, is_64_bit: bool) -> Option<(u64, bool)> {
    match (is_64_bit, start < if is_64_bit { FIXED_64 } else { MAYBE_FIXED_32 }) {
        (_, false) => Some((start, false)),
        (true, true) => Some((0, true)),
        (false, true) => None,
    }
}

fn loads<'v>(vmas: impl Iterator<Item = &'v Vma>, bias: u64, len_bytes: u64) -> Vec<Load> {
    let mut loads: Vec<Load> = Vec::new();
    let mut before: Option<&Vma> = None;
    for vma in vmas.take(MOST_SEGMENTS) {
        let end = vma.offset_bytes.saturating_add(vma.len_bytes()).min(len_bytes);
        let file = vma.offset_bytes..end;
        if loads.last().is_some_and(|last| file.start < last.file.start) {
            break;
        }
        let goes_on = before.is_some_and(|before| is_split(before, vma));
        if let Some(last) = loads.last_mut().filter(|_| goes_on) {
            last.file.end = file.end;
            last.flags |= flags(vma.flags);
        } else {
            let address = vma.start.0.wrapping_sub(bias);
            loads.push(Load { address, file, flags: flags(vma.flags) });
        }
        before = Some(vma);
    }
    loads
}

/// Whether two mappings were one of writable data, whose beginning the dynamic linker
/// protected once it had relocated it (`PT_GNU_RELRO`).
fn is_split(first: &Vma, second: &Vma) -> bool {
    let is_data =
        |vma: &Vma| vma.flags.contains(VmaFlags::ACCOUNT) && !vma.flags.contains(VmaFlags::EXECUTE);
    let follows = first.offset_bytes.checked_add(first.len_bytes()) == Some(second.offset_bytes);
    is_data(first) && is_data(second) && first.end == second.start && follows
}

fn flags(flags: VmaFlags) -> u32 {
    let bit = |has, bit| if flags.contains(has) { bit } else { 0 };
    bit(VmaFlags::READ, PF_R) | bit(VmaFlags::WRITE, PF_W) | bit(VmaFlags::EXECUTE, PF_X)
}

/// The ELF header, and the program headers after it.
pub(super) fn make(mapped: &Mapped, source: &dyn Source) -> Option<Vec<u8>> {
    let mut segments: Vec<(u32, Load)> =
        mapped.loads.iter().map(|load| (PT_LOAD, load.clone())).collect();
    segments.extend(frames_header(mapped, source).map(|load| (PT_GNU_EH_FRAME, load)));
    let sections = section_table(mapped.is_64_bit, source);
    let mut writer = Writer { is_64_bit: mapped.is_64_bit, bytes: Vec::new() };
    writer.header(mapped, u16::try_from(segments.len()).ok()?, sections)?;
    for (kind, load) in &segments {
        writer.segment(*kind, load)?;
    }
    Some(writer.bytes)
}

struct Writer {
    is_64_bit: bool,
    bytes: Vec<u8>,
}

impl Writer {
    fn header(&mut self, mapped: &Mapped, segments: u16, sections: Option<Table>) -> Option<()> {
        let kind = U16::new(if mapped.is_fixed { ET_EXEC } else { ET_DYN });
        let short = |number: u64| u16::try_from(number).ok().map(U16::new);
        let (shoff, shnum, names) =
            sections.map_or((0, 0, 0), |table| (table.start, table.count, table.names));
        let (shnum, names) = (short(shnum)?, short(names)?);
        if self.is_64_bit {
            let header = Ehdr64 {
                e_ident: ident(ELFCLASS64),
                e_type: kind,
                e_machine: U16::new(EM_X86_64),
                e_version: U32::new(EV_CURRENT.into()),
                e_entry: U64::new(mapped.entry),
                e_phoff: U64::new(size_of::<Ehdr64>() as u64),
                e_shoff: U64::new(shoff),
                e_flags: U32::ZERO,
                e_ehsize: len_of::<Ehdr64>()?,
                e_phentsize: len_of::<Phdr64>()?,
                e_phnum: U16::new(segments),
                e_shentsize: len_of::<Shdr64>()?,
                e_shnum: shnum,
                e_shstrndx: names,
            };
            self.bytes.extend_from_slice(header.as_bytes());
        } else {
            let header = Ehdr32 {
                e_ident: ident(ELFCLASS32),
                e_type: kind,
                e_machine: U16::new(EM_386),
                e_version: U32::new(EV_CURRENT.into()),
                e_entry: narrow(mapped.entry)?,
                e_phoff: narrow(size_of::<Ehdr32>() as u64)?,
                e_shoff: narrow(shoff)?,
                e_flags: U32::ZERO,
                e_ehsize: len_of::<Ehdr32>()?,
                e_phentsize: len_of::<Phdr32>()?,
                e_phnum: U16::new(segments),
                e_shentsize: len_of::<Shdr32>()?,
                e_shnum: shnum,
                e_shstrndx: names,
            };
            self.bytes.extend_from_slice(header.as_bytes());
        }
        Some(())
    }

    fn segment(&mut self, kind: u32, load: &Load) -> Option<()> {
        let (offset, address, len) = (load.file.start, load.address, range_len(&load.file));
        let align = if kind == PT_LOAD { 4096 } else { 4 };
        if self.is_64_bit {
            let segment = Phdr64 {
                p_type: kind.into(),
                p_flags: load.flags.into(),
                p_offset: offset.into(),
                p_vaddr: address.into(),
                p_paddr: address.into(),
                p_filesz: len.into(),
                p_memsz: len.into(),
                p_align: align.into(),
            };
            self.bytes.extend_from_slice(segment.as_bytes());
        } else {
            let segment = Phdr32 {
                p_type: kind.into(),
                p_offset: narrow(offset)?,
                p_vaddr: narrow(address)?,
                p_paddr: narrow(address)?,
                p_filesz: narrow(len)?,
                p_memsz: narrow(len)?,
                p_flags: load.flags.into(),
                p_align: narrow(align)?,
            };
            self.bytes.extend_from_slice(segment.as_bytes());
        }
        Some(())
    }
}

fn ident(class: u8) -> Ident {
    Ident { magic: MAGIC, class, data: ELFDATA2LSB, version: EV_CURRENT, osabi: 0, padding: [0; 8] }
}

fn len_of<T>() -> Option<U16> {
    u16::try_from(size_of::<T>()).ok().map(U16::new)
}

fn narrow(value: u64) -> Option<U32> {
    u32::try_from(value).ok().map(U32::new)
}

/// Where section headers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Table {
    start: u64,
    count: u64,
    /// Which of them is of the names.
    names: u64,
}

/// The section headers at the end of the file: the first is of nothing, and one of the
/// others is of a table of names that has its own.
fn section_table(is_64_bit: bool, source: &dyn Source) -> Option<Table> {
    let entry_len = if is_64_bit { size_of::<Shdr64>() as u64 } else { size_of::<Shdr32>() as u64 };
    let end = source.len_bytes();
    let mut entry = vec![0; usize::try_from(entry_len).ok()?];
    let start = (2..=MOST_SECTIONS).find_map(|count| {
        let start = end.checked_sub(count.saturating_mul(entry_len))?;
        source.read(start, &mut entry)?;
        entry.iter().all(|byte| *byte == 0).then_some(start)
    })?;
    let count = end.saturating_sub(start).checked_div(entry_len).unwrap_or(0);
    let mut names = None;
    for index in 1..count {
        source.read(start.saturating_add(index.saturating_mul(entry_len)), &mut entry)?;
        let section = Entry::of(is_64_bit, &entry)?;
        (section.kind == SHT_NOBITS || section.end <= end).then_some(())?;
        if section.names_itself(source) {
            names = Some(index);
        }
    }
    Some(Table { start, count, names: names? })
}

/// A section header, as far as it is needed.
struct Entry {
    name: u64,
    kind: u32,
    start: u64,
    end: u64,
}

impl Entry {
    fn of(is_64_bit: bool, bytes: &[u8]) -> Option<Self> {
        let (name, kind, start, len): (u32, u32, u64, u64) = if is_64_bit {
            let header = Shdr64::ref_from_bytes(bytes).ok()?;
            let (start, len) = (header.sh_offset.get(), header.sh_size.get());
            (header.sh_name.get(), header.sh_type.get(), start, len)
        } else {
            let header = Shdr32::ref_from_bytes(bytes).ok()?;
            let (start, len) = (header.sh_offset.get().into(), header.sh_size.get().into());
            (header.sh_name.get(), header.sh_type.get(), start, len)
        };
        Some(Self { name: name.into(), kind, start, end: start.checked_add(len)? })
    }

    fn names_itself(&self, source: &dyn Source) -> bool {
        const NAME: &[u8] = b".shstrtab\0";
        let mut found = [0; NAME.len()];
        let fits = self.kind == SHT_STRTAB && self.end.saturating_sub(self.start) <= LONGEST_NAMES;
        fits && self.start.checked_add(self.name).is_some_and(|at| {
            at < self.end && source.read(at, &mut found).is_some() && found == NAME
        })
    }
}

/// `.eh_frame_hdr`, by its usual beginning and by the first function that it lists.
fn frames_header(mapped: &Mapped, source: &dyn Source) -> Option<Load> {
    let is_it = |load: &Load| load.flags & (PF_W | PF_X) == 0;
    mapped.loads.iter().filter(|load| is_it(load)).find_map(|load| {
        let mut at = load.file.start;
        let mut usual = [0; 4];
        while at < load.file.end {
            if source.available(at) < 4 {
                at = at.saturating_add(to_page_end(at));
                continue;
            }
            source.read(at, &mut usual)?;
            if usual == frames::USUAL
                && let Some(len) = frames::table_len(source, at, load.file.end)
            {
                let address = load.address.saturating_add(at.saturating_sub(load.file.start));
                let file = at..at.saturating_add(len);
                let found = Load { address, file, flags: load.flags };
                let place = |address: u64| {
                    mapped.loads.iter().find_map(|load| {
                        let skip = address.checked_sub(load.address)?;
                        let at = load.file.start.checked_add(skip)?;
                        (at < load.file.end).then_some(at)
                    })
                };
                if frames::lists_functions(source, (address, &found.file), &place) {
                    return Some(found);
                }
            }
            at = at.saturating_add(4);
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vmss2core_mem::Gva;

    use super::*;

    #[test]
    fn headers_are_as_long_as_those_of_their_class() {
        for (is_64_bit, len) in [(true, 64 + 56), (false, 52 + 32)] {
            let load = Load { address: 0, file: 0..0x1000, flags: 5 };
            let mapped = Mapped { is_64_bit, is_fixed: false, entry: 0x40, loads: vec![load] };
            let mut writer = Writer { is_64_bit, bytes: Vec::new() };
            writer.header(&mapped, 1, None).unwrap();
            writer.segment(PT_LOAD, &mapped.loads[0]).unwrap();
            assert_eq!(writer.bytes.len(), len);
        }
    }

    /// A mapping of two pages, of a file.
    fn vma(start: u64, offset_bytes: u64, flags: u64) -> Vma {
        let file = Arc::new(MappedFile::default());
        let range = Gva(start)..Gva(start + 0x2000);
        Vma { offset_bytes, ..Vma::new(range, VmaFlags(flags), file) }
    }

    #[test]
    fn data_that_the_linker_protected_in_part_are_one_segment() {
        const BIAS: u64 = 0x5555_5555_4000;
        let vmas = [
            vma(BIAS, 0, 0x71),
            vma(BIAS + 0x2000, 0x2000, 0x75),
            vma(BIAS + 0x4000, 0x4000, 0x71),
            // These were one.
            vma(BIAS + 0x7000, 0x5000, 0x10_0071),
            vma(BIAS + 0x9000, 0x7000, 0x10_0073),
        ];
        let load = |address, file, flags| Load { address, file, flags };
        let expected = [
            load(0, 0..0x2000, 4),
            load(0x2000, 0x2000..0x4000, 5),
            load(0x4000, 0x4000..0x6000, 4),
            load(0x7000, 0x5000..0x8800, 6),
        ];
        assert_eq!(loads(vmas.iter(), BIAS, 0x8800), expected);
        // With a gap they are two.
        let apart = [vmas[3].clone(), vma(BIAS + 0xa000, 0x7000, 0x10_0073)];
        assert_eq!(loads(apart.iter(), BIAS, 0x8800).len(), 2);
    }

    #[test]
    fn a_low_place_says_nothing_of_a_program_of_32_bits() {
        assert_eq!(bias_by_place(0x40_0000, true), Some((0, true)));
        assert_eq!(bias_by_place(0x5555_5555_4000, true), Some((0x5555_5555_4000, false)));
        assert_eq!(bias_by_place(0x4b_e000, false), None);
        assert_eq!(bias_by_place(0xb7e0_0000, false), Some((0xb7e0_0000, false)));
    }
}
