//! Mach-O: headers and load commands (`mach-o/loader.h`), little-endian.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub const MH_MAGIC: u32 = 0xfeed_face;
pub const MH_MAGIC_64: u32 = 0xfeed_facf;
pub const CPU_TYPE_X86: u32 = 7;
pub const CPU_TYPE_X86_64: u32 = 0x0100_0007;
pub const MH_EXECUTE: u32 = 2;
pub const MH_KEXT_BUNDLE: u32 = 11;
/// A collection of a kernel and extensions.
pub const MH_FILESET: u32 = 12;
/// In `flags`: a program that needs the dynamic linker.
pub const MH_DYLDLINK: u32 = 4;
pub const LC_SEGMENT: u32 = 1;
pub const LC_SEGMENT_64: u32 = 0x19;
pub const LC_UUID: u32 = 0x1b;
pub const LC_FILESET_ENTRY: u32 = 0x8000_0035;

/// `mach_header`; `mach_header_64` has four more bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MachHeader {
    pub magic: U32,
    pub cputype: U32,
    pub cpusubtype: U32,
    pub filetype: U32,
    pub ncmds: U32,
    pub sizeofcmds: U32,
    pub flags: U32,
}

/// Bytes of `mach_header_64`.
pub const HEADER_64_LEN: usize = 32;

/// `load_command`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LoadCommand {
    pub cmd: U32,
    /// Bytes of all of the command.
    pub cmdsize: U32,
}

/// `segment_command_64`, without its sections.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SegmentCommand64 {
    pub command: LoadCommand,
    pub segname: [u8; 16],
    pub vmaddr: U64,
    pub vmsize: U64,
    pub fileoff: U64,
    pub filesize: U64,
    pub maxprot: U32,
    pub initprot: U32,
    pub nsects: U32,
    pub flags: U32,
}

/// `segment_command`, without its sections.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SegmentCommand {
    pub command: LoadCommand,
    pub segname: [u8; 16],
    pub vmaddr: U32,
    pub vmsize: U32,
    pub fileoff: U32,
    pub filesize: U32,
    pub maxprot: U32,
    pub initprot: U32,
    pub nsects: U32,
    pub flags: U32,
}

/// `uuid_command`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct UuidCommand {
    pub command: LoadCommand,
    pub uuid: [u8; 16],
}

/// `fileset_entry_command`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FilesetEntryCommand {
    pub command: LoadCommand,
    pub vmaddr: U64,
    pub fileoff: U64,
    /// Where its name begins, from the start of the command.
    pub entry_id: U32,
    pub reserved: U32,
}

const _: () = {
    assert!(size_of::<MachHeader>() == 28);
    assert!(size_of::<SegmentCommand64>() == 72 && size_of::<SegmentCommand>() == 56);
    assert!(size_of::<UuidCommand>() == 24 && size_of::<FilesetEntryCommand>() == 32);
};
