//! ELF: System V ABI, generic ("Object Files") and the x86-64 and i386 supplements.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub const MAGIC: [u8; 4] = *b"\x7fELF";
pub const ET_REL: u16 = 1;
pub const ET_EXEC: u16 = 2;
pub const ET_DYN: u16 = 3;
pub const ET_CORE: u16 = 4;
pub const EM_386: u16 = 3;
pub const EM_X86_64: u16 = 62;
pub const ELFCLASS32: u8 = 1;
pub const ELFCLASS64: u8 = 2;
pub const ELFDATA2LSB: u8 = 1;
pub const EV_CURRENT: u8 = 1;
pub const ELFOSABI_GNU: u8 = 3;
pub const PT_LOAD: u32 = 1;
pub const PT_NOTE: u32 = 4;
pub const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
pub const PF_X: u32 = 1;
pub const PF_W: u32 = 2;
pub const PF_R: u32 = 4;
/// In `e_phnum`: the real count is in `sh_info` of section header 0.
pub const PN_XNUM: u16 = 0xffff;
pub const SHT_STRTAB: u32 = 3;
pub const SHT_NOBITS: u32 = 8;
pub const SHF_WRITE: u64 = 1;
pub const SHF_ALLOC: u64 = 2;
pub const SHF_EXECINSTR: u64 = 4;
pub const SHN_UNDEF: u16 = 0;
pub const SHN_ABS: u16 = 0xfff1;
pub const STT_SECTION: u8 = 3;
pub const STT_FILE: u8 = 4;
pub const STB_LOCAL: u8 = 0;
pub const STB_WEAK: u8 = 2;

/// `e_ident`, with its padding.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ident {
    pub magic: [u8; 4],
    pub class: u8,
    pub data: u8,
    pub version: u8,
    pub osabi: u8,
    pub padding: [u8; 8],
}

/// `Elf64_Ehdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ehdr64 {
    pub e_ident: Ident,
    pub e_type: U16,
    pub e_machine: U16,
    pub e_version: U32,
    pub e_entry: U64,
    pub e_phoff: U64,
    pub e_shoff: U64,
    pub e_flags: U32,
    pub e_ehsize: U16,
    pub e_phentsize: U16,
    pub e_phnum: U16,
    pub e_shentsize: U16,
    pub e_shnum: U16,
    pub e_shstrndx: U16,
}

/// `Elf32_Ehdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ehdr32 {
    pub e_ident: Ident,
    pub e_type: U16,
    pub e_machine: U16,
    pub e_version: U32,
    pub e_entry: U32,
    pub e_phoff: U32,
    pub e_shoff: U32,
    pub e_flags: U32,
    pub e_ehsize: U16,
    pub e_phentsize: U16,
    pub e_phnum: U16,
    pub e_shentsize: U16,
    pub e_shnum: U16,
    pub e_shstrndx: U16,
}

/// `Elf64_Phdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Phdr64 {
    pub p_type: U32,
    pub p_flags: U32,
    pub p_offset: U64,
    pub p_vaddr: U64,
    pub p_paddr: U64,
    pub p_filesz: U64,
    pub p_memsz: U64,
    pub p_align: U64,
}

/// `Elf32_Phdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Phdr32 {
    pub p_type: U32,
    pub p_offset: U32,
    pub p_vaddr: U32,
    pub p_paddr: U32,
    pub p_filesz: U32,
    pub p_memsz: U32,
    pub p_flags: U32,
    pub p_align: U32,
}

/// `Elf64_Shdr`. In that of number 0, `sh_info` is the count that `e_phnum` cannot hold.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Shdr64 {
    pub sh_name: U32,
    pub sh_type: U32,
    pub sh_flags: U64,
    pub sh_addr: U64,
    pub sh_offset: U64,
    pub sh_size: U64,
    pub sh_link: U32,
    pub sh_info: U32,
    pub sh_addralign: U64,
    pub sh_entsize: U64,
}

/// `Elf32_Shdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Shdr32 {
    pub sh_name: U32,
    pub sh_type: U32,
    pub sh_flags: U32,
    pub sh_addr: U32,
    pub sh_offset: U32,
    pub sh_size: U32,
    pub sh_link: U32,
    pub sh_info: U32,
    pub sh_addralign: U32,
    pub sh_entsize: U32,
}

/// `Elf64_Sym`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Sym64 {
    pub st_name: U32,
    pub st_info: u8,
    pub st_other: u8,
    pub st_shndx: U16,
    pub st_value: U64,
    pub st_size: U64,
}

/// `Elf32_Sym`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Sym32 {
    pub st_name: U32,
    pub st_value: U32,
    pub st_size: U32,
    pub st_info: u8,
    pub st_other: u8,
    pub st_shndx: U16,
}

/// A symbol of either class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sym {
    /// Where the name begins.
    pub name: u32,
    /// Binding and type.
    pub info: u8,
    /// Number of its section.
    pub section: u16,
    pub value: u64,
}

impl From<&Sym64> for Sym {
    fn from(of: &Sym64) -> Self {
        let (name, section) = (of.st_name.get(), of.st_shndx.get());
        Self { name, info: of.st_info, section, value: of.st_value.get() }
    }
}

impl From<&Sym32> for Sym {
    fn from(of: &Sym32) -> Self {
        let (name, section) = (of.st_name.get(), of.st_shndx.get());
        Self { name, info: of.st_info, section, value: of.st_value.get().into() }
    }
}

const _: () = {
    assert!(size_of::<Ehdr64>() == 64 && size_of::<Ehdr32>() == 52);
    assert!(size_of::<Phdr64>() == 56 && size_of::<Phdr32>() == 32);
    assert!(size_of::<Shdr64>() == 64 && size_of::<Shdr32>() == 40);
    assert!(size_of::<Sym64>() == 24 && size_of::<Sym32>() == 16);
};
