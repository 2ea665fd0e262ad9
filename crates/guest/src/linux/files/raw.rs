//! Parts of the ELF layout (System V ABI, chapter 4; gABI).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

pub(super) const SHF_WRITE: u64 = 1;
pub(super) const SHF_ALLOC: u64 = 2;
pub(super) const SHF_EXECINSTR: u64 = 4;
pub(super) const SHN_UNDEF: u16 = 0;
pub(super) const SHN_ABS: u16 = 0xfff1;
pub(super) const STT_SECTION: u8 = 3;
pub(super) const STT_FILE: u8 = 4;
pub(super) const STB_LOCAL: u8 = 0;
pub(super) const STB_WEAK: u8 = 2;

/// Type and name of a note with a build id (`NT_GNU_BUILD_ID`); lengths of name
/// and id lie before it.
pub(super) const BUILD_ID_NOTE: &[u8] = b"\x03\0\0\0GNU\0";

/// `Elf64_Sym`; `section` is `st_shndx`.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Symbol64 {
    name: U32,
    info: u8,
    _other: u8,
    section: U16,
    value: U64,
    _size: U64,
}
const _: () = assert!(size_of::<Symbol64>() == 24);

/// `Elf32_Sym`.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Symbol32 {
    name: U32,
    value: U32,
    _size: U32,
    info: u8,
    _other: u8,
    section: U16,
}
const _: () = assert!(size_of::<Symbol32>() == 16);

/// What both have.
pub(super) struct Common {
    pub(super) name: u32,
    pub(super) info: u8,
    pub(super) section: u16,
    pub(super) value: u64,
}

impl Symbol64 {
    pub(super) fn common(&self) -> Common {
        let (name, section) = (self.name.get(), self.section.get());
        Common { name, info: self.info, section, value: self.value.get() }
    }
}

impl Symbol32 {
    pub(super) fn common(&self) -> Common {
        let (name, section) = (self.name.get(), self.section.get());
        Common { name, info: self.info, section, value: self.value.get().into() }
    }
}
