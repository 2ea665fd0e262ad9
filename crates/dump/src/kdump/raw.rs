//! Structures of the kdump-compressed format as written: makedumpfile's
//! `diskdump_mod.h` (`disk_dump_header`, `kdump_sub_header`, `page_desc`, version
//! 6) and `makedumpfile.h` (the flattened form), as crash and libkdumpfile read
//! them.

use zerocopy::little_endian::{I32, I64, U32, U64};
use zerocopy::{FromZeros, Immutable, IntoBytes, big_endian};

/// Bytes of a block of the file, and of a page of an x86 guest.
pub(super) const BLOCK: u64 = 4096;
pub(super) const SIGNATURE: [u8; 8] = *b"KDUMP   ";
pub(super) const VERSION: i32 = 6;

/// `utsname`: six names of 65 bytes.
pub(super) type RawUts = [[u8; 65]; 6];

/// `disk_dump_header` of a 64-bit kernel.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Header64 {
    pub(super) signature: [u8; 8],
    pub(super) version: I32,
    pub(super) uts: RawUts,
    pub(super) padding: [u8; 6],
    pub(super) seconds: I64,
    pub(super) microseconds: I64,
    pub(super) counts: Counts,
}

/// `disk_dump_header` of a 32-bit kernel.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Header32 {
    pub(super) signature: [u8; 8],
    pub(super) version: I32,
    pub(super) uts: RawUts,
    pub(super) padding: [u8; 2],
    pub(super) seconds: I32,
    pub(super) microseconds: I32,
    pub(super) counts: Counts,
}

/// What both headers end with.
#[derive(Clone, Copy, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Counts {
    /// How pages may be compressed.
    pub(super) status: U32,
    pub(super) block_size: I32,
    pub(super) sub_header_blocks: I32,
    pub(super) bitmap_blocks: U32,
    pub(super) max_mapnr: U32,
    pub(super) total_ram_blocks: U32,
    pub(super) device_blocks: U32,
    pub(super) written_blocks: U32,
    pub(super) current_cpu: U32,
    pub(super) nr_cpus: I32,
}

/// `kdump_sub_header` of a 64-bit kernel.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct SubHeader64 {
    pub(super) phys_base: U64,
    pub(super) dump_level: I32,
    pub(super) split: I32,
    pub(super) start_pfn: U64,
    pub(super) end_pfn: U64,
    pub(super) offset_vmcoreinfo: U64,
    pub(super) size_vmcoreinfo: U64,
    pub(super) offset_note: U64,
    pub(super) size_note: U64,
    pub(super) offset_eraseinfo: U64,
    pub(super) size_eraseinfo: U64,
    pub(super) start_pfn_64: U64,
    pub(super) end_pfn_64: U64,
    pub(super) max_mapnr_64: U64,
}

/// `kdump_sub_header` of a 32-bit kernel; packed, because offsets have 64 bits.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct SubHeader32 {
    pub(super) phys_base: U32,
    pub(super) dump_level: I32,
    pub(super) split: I32,
    pub(super) start_pfn: U32,
    pub(super) end_pfn: U32,
    pub(super) offset_vmcoreinfo: U64,
    pub(super) size_vmcoreinfo: U32,
    pub(super) offset_note: U64,
    pub(super) size_note: U32,
    pub(super) offset_eraseinfo: U64,
    pub(super) size_eraseinfo: U32,
    pub(super) start_pfn_64: U64,
    pub(super) end_pfn_64: U64,
    pub(super) max_mapnr_64: U64,
}

/// `page_desc`: where a page lies in the file.
#[derive(Clone, Copy, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Descriptor {
    pub(super) offset: U64,
    pub(super) size: U32,
    pub(super) flags: U32,
    pub(super) page_flags: U64,
}

/// Head of a flattened file; the rest of its 4096 bytes is zero.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct FlatHeader {
    pub(super) signature: [u8; 16],
    pub(super) kind: big_endian::I64,
    pub(super) version: big_endian::I64,
}

/// What precedes the bytes of each piece of a flattened file.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct FlatPiece {
    pub(super) offset: big_endian::I64,
    pub(super) size: big_endian::I64,
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
