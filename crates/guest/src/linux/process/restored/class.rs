//! Differences between 32-bit and 64-bit ELF files when a table is written.

use object::elf::{
    FileHeader32, FileHeader64, SectionFlags, SectionHeader32, SectionHeader64, SectionType,
    SymbolSection,
};
use object::read::elf::FileHeader;
use object::{LittleEndian, U16, U32, U64, pod};

use super::unknown::FrameMachine;
use crate::linux::arch;

/// A section header, whatever the class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Where in the table of names its name is.
    pub(super) name: u32,
    pub(super) kind: SectionType,
    pub(super) flags: SectionFlags,
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) len_bytes: u64,
    pub(super) link: u32,
    pub(super) info: u32,
    pub(super) align: u64,
    pub(super) entry_bytes: u64,
}

/// Where a section table lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct TablePlace {
    pub(super) offset: u64,
    /// How many headers.
    pub(super) count: u16,
    /// Which of them is of the names.
    pub(super) names: u16,
}

/// The header of an ELF file of one class.
pub(super) trait Class: FileHeader<Endian = LittleEndian> {
    /// Form of its call frames.
    const MACHINE: FrameMachine;

    /// This header with its section table elsewhere; `None` if that is too far.
    fn with_table(self, place: TablePlace) -> Option<Self>;

    /// The bytes of a section header; `None` if a number is too large.
    fn section(header: &Header) -> Option<Vec<u8>>;

    /// Says that a symbol is in a section.
    fn put_into(symbol: &mut Self::Sym, section: SymbolSection);
}

/// The numbers of a class are of this size.
macro_rules! class {
    ($file:ident, $section:ident, $number:ident, $raw:ty, $machine:expr, $flags:expr) => {
        impl Class for $file<LittleEndian> {
            const MACHINE: FrameMachine = $machine;

            fn with_table(mut self, place: TablePlace) -> Option<Self> {
                let size = u16::try_from(size_of::<Self::SectionHeader>()).ok()?;
                self.e_shoff = $number::new(LittleEndian, <$raw>::try_from(place.offset).ok()?);
                self.e_shentsize = U16::new(LittleEndian, size);
                self.e_shnum = U16::new(LittleEndian, place.count);
                self.e_shstrndx = U16::new(LittleEndian, SymbolSection(place.names));
                Some(self)
            }

            fn section(header: &Header) -> Option<Vec<u8>> {
                let number =
                    |value: u64| Some($number::new(LittleEndian, <$raw>::try_from(value).ok()?));
                let raw = $section::<LittleEndian> {
                    sh_name: U32::new(LittleEndian, header.name),
                    sh_type: U32::new(LittleEndian, header.kind),
                    sh_flags: $flags(LittleEndian, header.flags)?,
                    sh_addr: number(header.address)?,
                    sh_offset: number(header.offset)?,
                    sh_size: number(header.len_bytes)?,
                    sh_link: U32::new(LittleEndian, header.link),
                    sh_info: U32::new(LittleEndian, header.info),
                    sh_addralign: number(header.align)?,
                    sh_entsize: number(header.entry_bytes)?,
                };
                Some(pod::bytes_of(&raw).to_vec())
            }

            fn put_into(symbol: &mut Self::Sym, section: SymbolSection) {
                symbol.st_shndx = U16::new(LittleEndian, section);
            }
        }
    };
}

class!(FileHeader64, SectionHeader64, U64, u64, arch::FRAMES_64, |endian, flags| Some(U64::new(
    endian, flags
)));
class!(FileHeader32, SectionHeader32, U32, u32, arch::FRAMES_32, |endian, flags| U32::new_u64(
    endian, flags
)
.ok());
