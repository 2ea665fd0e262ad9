//! Structures of the kdump-compressed format as written: makedumpfile's
//! `diskdump_mod.h` (`disk_dump_header`, `kdump_sub_header`, `page_desc`, version
//! 6) and `makedumpfile.h` (the flattened form), as crash and libkdumpfile read
//! them.

use zerocopy::little_endian::{I32, I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian};

/// Bytes of a block of the file, and of a page of an x86 guest.
pub const BLOCK: u64 = 4096;
pub const SIGNATURE: [u8; 8] = *b"KDUMP   ";
pub const VERSION: i32 = 6;

/// `utsname`: six names of 65 bytes.
pub type RawUts = [[u8; 65]; 6];

/// `disk_dump_header` of a 64-bit kernel.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header64 {
    pub signature: [u8; 8],
    pub version: I32,
    pub uts: RawUts,
    pub padding: [u8; 6],
    pub seconds: I64,
    pub microseconds: I64,
    pub counts: Counts,
}

/// `disk_dump_header` of a 32-bit kernel.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header32 {
    pub signature: [u8; 8],
    pub version: I32,
    pub uts: RawUts,
    pub padding: [u8; 2],
    pub seconds: I32,
    pub microseconds: I32,
    pub counts: Counts,
}

/// The end of both headers.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Counts {
    /// How pages may be compressed.
    pub status: U32,
    pub block_size: I32,
    pub sub_header_blocks: I32,
    pub bitmap_blocks: U32,
    pub max_mapnr: U32,
    pub total_ram_blocks: U32,
    pub device_blocks: U32,
    pub written_blocks: U32,
    pub current_cpu: U32,
    pub nr_cpus: I32,
}

/// `kdump_sub_header` of a 64-bit kernel.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SubHeader64 {
    pub phys_base: U64,
    pub dump_level: I32,
    pub split: I32,
    pub start_pfn: U64,
    pub end_pfn: U64,
    pub offset_vmcoreinfo: U64,
    pub size_vmcoreinfo: U64,
    pub offset_note: U64,
    pub size_note: U64,
    pub offset_eraseinfo: U64,
    pub size_eraseinfo: U64,
    pub start_pfn_64: U64,
    pub end_pfn_64: U64,
    pub max_mapnr_64: U64,
}

/// `kdump_sub_header` of a 32-bit kernel; packed, because offsets have 64 bits.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SubHeader32 {
    pub phys_base: U32,
    pub dump_level: I32,
    pub split: I32,
    pub start_pfn: U32,
    pub end_pfn: U32,
    pub offset_vmcoreinfo: U64,
    pub size_vmcoreinfo: U32,
    pub offset_note: U64,
    pub size_note: U32,
    pub offset_eraseinfo: U64,
    pub size_eraseinfo: U32,
    pub start_pfn_64: U64,
    pub end_pfn_64: U64,
    pub max_mapnr_64: U64,
}

/// `page_desc`: where a page lies in the file.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Descriptor {
    pub offset: U64,
    pub size: U32,
    pub flags: U32,
    pub page_flags: U64,
}

/// Head of a flattened file; the rest of its 4096 bytes is zero.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FlatHeader {
    pub signature: [u8; 16],
    pub kind: big_endian::I64,
    pub version: big_endian::I64,
}

/// Header of each piece of a flattened file.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FlatPiece {
    pub offset: big_endian::I64,
    pub size: big_endian::I64,
}

const _: () = assert!(size_of::<Header64>() == 464);
const _: () = assert!(std::mem::offset_of!(Header64, counts) == 424);
const _: () = assert!(size_of::<Header32>() == 452);
const _: () = assert!(std::mem::offset_of!(Header32, counts) == 412);
const _: () = assert!(size_of::<SubHeader64>() == 104);
const _: () = assert!(size_of::<SubHeader32>() == 80);
const _: () = assert!(size_of::<Descriptor>() == 24);
const _: () = assert!(size_of::<FlatHeader>() == 32);
const _: () = assert!(size_of::<FlatPiece>() == 16);
