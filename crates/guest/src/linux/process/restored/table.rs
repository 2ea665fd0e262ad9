//! The table as bytes.

use std::ops::Range;

use object::elf::{
    SHF_TLS, SHN_ABS, SHN_COMMON, SHN_UNDEF, SHT_DYNSYM, SHT_NULL, SHT_PROGBITS, SHT_STRTAB,
    STB_LOCAL, STT_TLS, SectionFlags, SymbolSection,
};
use object::read::elf::Sym;
use object::{LittleEndian, pod};

use super::class::{Class, Header, TablePlace};
use super::dynamic::Dynamic;
use super::image::Image;
use super::layout::{Layout, Section};
use super::patch::Patch;
use super::unknown;

/// The part after the end of a file, while it grows.
struct Writer<E> {
    header: E,
    /// Length of the file in bytes.
    end: u64,
    tail: Vec<u8>,
    headers: Vec<Header>,
    names: Vec<u8>,
}

/// The header and what is after the end of the file; `None` if the numbers do not fit
/// the class.
pub(super) fn make<E: Class>(
    header: E,
    image: &Image<'_>,
    layout: &Layout,
    dynamic: Option<&Dynamic>,
) -> Option<Vec<Patch>> {
    let end = image.source.len_bytes();
    let mut writer =
        Writer { header, end, tail: Vec::new(), headers: vec![NOTHING], names: vec![0] };
    // The first header is of no section.
    let index = |name| layout.sections.iter().position(|section| section.name == name);
    let names = index(".dynstr").and_then(|at| u32::try_from(at.saturating_add(1)).ok());
    for section in &layout.sections {
        writer.loaded(section, names)?;
    }
    if let (Some(dynamic), Some(names)) = (dynamic, names) {
        writer.symbols(dynamic, names, &layout.sections)?;
    }
    if !layout.sections.iter().any(|section| section.name == ".eh_frame") {
        writer.no_frames(&image.code())?;
    }
    let mut patches = layout.patches.clone();
    patches.extend(writer.finish()?);
    Some(patches)
}

const NOTHING: Header = Header {
    name: 0,
    kind: SHT_NULL,
    flags: SectionFlags(0),
    address: 0,
    offset: 0,
    len_bytes: 0,
    link: 0,
    info: 0,
    align: 0,
    entry_bytes: 0,
};

impl<E: Class> Writer<E> {
    fn name(&mut self, name: &str) -> Option<u32> {
        let at = u32::try_from(self.names.len()).ok()?;
        self.names.extend(name.bytes().chain([0]));
        Some(at)
    }

    /// A section of the file's own bytes.
    fn loaded(&mut self, section: &Section, names: Option<u32>) -> Option<()> {
        let is_dynamic = section.name == ".dynamic";
        let header = Header {
            name: self.name(section.name)?,
            kind: section.kind,
            flags: section.flags,
            address: section.address,
            offset: section.file.start,
            len_bytes: section.len_bytes,
            link: if is_dynamic { names.unwrap_or(0) } else { 0 },
            info: 0,
            align: section.align,
            entry_bytes: if is_dynamic { size_of::<E::Dyn>() as u64 } else { 0 },
        };
        self.headers.push(header);
        Some(())
    }

    /// Adds bytes after the file; returns where they are.
    fn append(&mut self, bytes: &[u8]) -> Option<u64> {
        let at = self.end.checked_add(self.tail.len() as u64)?.checked_next_multiple_of(8)?;
        self.tail.resize(usize::try_from(at.saturating_sub(self.end)).ok()?, 0);
        self.tail.extend_from_slice(bytes);
        Some(at)
    }

    /// The dynamic symbols. Their copy is not what the process has in memory, so it
    /// has no address.
    fn symbols(&mut self, dynamic: &Dynamic, names: u32, sections: &[Section]) -> Option<()> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(dynamic.symbols.len()).ok()?;
        let count = dynamic.symbols.len().checked_div(size_of::<E::Sym>()).unwrap_or(0);
        let symbols = pod::slice_from_bytes::<E::Sym>(&dynamic.symbols, count).ok()?.0;
        let numbers = Numbers::of(sections);
        for symbol in symbols {
            let section = numbers.section_of(symbol);
            let mut symbol = *symbol;
            E::put_into(&mut symbol, section);
            bytes.extend_from_slice(pod::bytes_of(&symbol));
        }
        let locals = symbols.iter().take_while(|symbol| symbol.st_bind() == STB_LOCAL).count();
        let header = Header {
            name: self.name(".dynsym")?,
            kind: SHT_DYNSYM,
            offset: self.append(&bytes)?,
            len_bytes: bytes.len() as u64,
            link: names,
            info: u32::try_from(locals).ok()?,
            align: 8,
            entry_bytes: size_of::<E::Sym>() as u64,
            ..NOTHING
        };
        self.headers.push(header);
        Some(())
    }

    /// Call frames of which nothing is known.
    fn no_frames(&mut self, code: &[Range<u64>]) -> Option<()> {
        let bytes = unknown::debug_frame(code, E::MACHINE)?;
        let header = Header {
            name: self.name(".debug_frame")?,
            kind: SHT_PROGBITS,
            offset: self.append(&bytes)?,
            len_bytes: bytes.len() as u64,
            align: 8,
            ..NOTHING
        };
        self.headers.push(header);
        Some(())
    }

    fn finish(mut self) -> Option<[Patch; 2]> {
        let name = self.name(".shstrtab")?;
        let names = std::mem::take(&mut self.names);
        let offset = self.append(&names)?;
        let len_bytes = names.len() as u64;
        self.headers.push(Header {
            name,
            kind: SHT_STRTAB,
            offset,
            len_bytes,
            align: 1,
            ..NOTHING
        });
        let table: Option<Vec<Vec<u8>>> = self.headers.iter().map(E::section).collect();
        let offset = self.append(&table?.concat())?;
        let count = u16::try_from(self.headers.len()).ok()?;
        let place = TablePlace { offset, count, names: count.checked_sub(1)? };
        let header = pod::bytes_of(&self.header.with_table(place)?).to_vec();
        Some([Patch::given(0, header), Patch::given(self.end, self.tail)])
    }
}

/// The numbers of sections by their addresses.
struct Numbers<'s> {
    /// Without those of thread-local variables, in order.
    by_address: Vec<(u16, &'s Section)>,
    /// The first of thread-local variables.
    thread_local: Option<u16>,
}

impl<'s> Numbers<'s> {
    fn of(sections: &'s [Section]) -> Self {
        let numbered = (1..).zip(sections);
        let is_thread_local = |section: &Section| section.flags.0 & SHF_TLS.0 != 0;
        let (thread_local, by_address): (Vec<_>, Vec<_>) =
            numbered.partition(|(_, section)| is_thread_local(section));
        Self { by_address, thread_local: thread_local.first().map(|(number, _)| *number) }
    }

    /// Where a symbol is now. One that has been in a section and is in none any more
    /// keeps its value.
    fn section_of<S: Sym<Endian = LittleEndian>>(&self, symbol: &S) -> SymbolSection {
        let was = symbol.st_shndx(LittleEndian);
        if [SHN_UNDEF, SHN_ABS, SHN_COMMON].contains(&was) {
            return was;
        }
        let number = if symbol.st_type() == STT_TLS {
            self.thread_local
        } else {
            self.at(symbol.st_value(LittleEndian).into())
        };
        number.map_or(SHN_ABS, SymbolSection)
    }

    /// Symbols such as `_end` lie after the last byte.
    fn at(&self, address: u64) -> Option<u16> {
        let behind = self.by_address.partition_point(|(_, section)| section.address <= address);
        let (number, section) = self.by_address.get(behind.checked_sub(1)?)?;
        (address.saturating_sub(section.address) <= section.len_bytes).then_some(*number)
    }
}
