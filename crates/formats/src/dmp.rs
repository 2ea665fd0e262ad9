//! Structures of Windows crash dumps as written.
//!
//! Sources: the published `DUMP_HEADER32` and `DUMP_HEADER64` as kdmp-parser and
//! ntoseye (both MIT) read them; `CONTEXT`, `EXCEPTION_RECORD` and
//! `KSPECIAL_REGISTERS` as in the `windows-sys` crate (MIT or Apache-2.0).

use std::mem::offset_of;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Filler that Windows puts into a header before it writes fields.
pub const FILL: [u8; 4] = *b"PAGE";
pub const SIGNATURE64: [u8; 8] = *b"PAGEDU64";
pub const SIGNATURE32: [u8; 8] = *b"PAGEDUMP";
/// A dump of all memory, run after run.
pub const FULL: u32 = 1;
/// A dump of all memory, pages by a bitmap.
pub const FULL_BITMAP: u32 = 5;
/// The header's room for the list of runs.
pub const RUNS_BYTES: usize = 700;
/// The most runs of a 64-bit dump. One more would fit, but not all readers
/// expect it.
pub const MAX_RUNS64: usize = 42;
/// The most runs of a 32-bit dump.
pub const MAX_RUNS32: usize = 86;

/// `DUMP_HEADER64`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header64 {
    pub signature: [u8; 8],
    /// `F` free, `C` checked; not the version of Windows.
    pub major: U32,
    /// Build.
    pub minor: U32,
    pub directory_table_base: U64,
    pub pfn_database: U64,
    pub module_list: U64,
    pub process_head: U64,
    pub machine: U32,
    pub processors: U32,
    pub bugcheck: U32,
    pub padding0: U32,
    pub parameters: [U64; 4],
    pub version_user: [u8; 32],
    pub kdbg: U64,
    pub runs: [u8; RUNS_BYTES],
    pub padding1: U32,
    pub context: [u8; 3000],
    pub exception: Exception64,
    pub dump_type: U32,
    pub padding2: U32,
    pub required_space: U64,
    pub system_time: U64,
    pub comment: [u8; 128],
    pub up_time: U64,
    pub mini_dump_fields: U32,
    pub secondary_data_state: U32,
    pub product: U32,
    pub suite: U32,
    pub writer_status: U32,
    pub unused0: u8,
    pub kd_secondary_version: u8,
    pub unused1: [u8; 2],
    pub attributes: U32,
    pub boot_id: U32,
    pub reserved: [u8; 4008],
}

const _: () = assert!(size_of::<Header64>() == 0x2000);
const _: () = assert!(offset_of!(Header64, kdbg) == 0x80);
const _: () = assert!(offset_of!(Header64, context) == 0x348);
const _: () = assert!(offset_of!(Header64, exception) == 0xf00);
const _: () = assert!(offset_of!(Header64, dump_type) == 0xf98);
const _: () = assert!(offset_of!(Header64, comment) == 0xfb0);
const _: () = assert!(offset_of!(Header64, up_time) == 0x1030);
const _: () = assert!(offset_of!(Header64, boot_id) == 0x1054);

/// `DUMP_HEADER32`, of kernels with and without PAE.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header32 {
    pub signature: [u8; 8],
    pub major: U32,
    pub minor: U32,
    pub directory_table_base: U32,
    pub pfn_database: U32,
    pub module_list: U32,
    pub process_head: U32,
    pub machine: U32,
    pub processors: U32,
    pub bugcheck: U32,
    pub parameters: [U32; 4],
    pub version_user: [u8; 32],
    pub pae: u8,
    pub kd_secondary_version: u8,
    pub spare: [u8; 2],
    pub kdbg: U32,
    pub runs: [u8; RUNS_BYTES],
    pub context: [u8; 1200],
    pub exception: Exception32,
    pub comment: [u8; 128],
    pub attributes: U32,
    pub boot_id: U32,
    pub reserved0: [u8; 1760],
    pub dump_type: U32,
    pub mini_dump_fields: U32,
    pub secondary_data_state: U32,
    pub product: U32,
    pub suite: U32,
    pub writer_status: U32,
    pub required_space: U64,
    pub reserved1: [u8; 16],
    pub up_time: U64,
    pub system_time: U64,
    pub reserved2: [u8; 56],
}

const _: () = assert!(size_of::<Header32>() == 0x1000);
const _: () = assert!(offset_of!(Header32, pae) == 0x5c);
const _: () = assert!(offset_of!(Header32, context) == 0x320);
const _: () = assert!(offset_of!(Header32, exception) == 0x7d0);
const _: () = assert!(offset_of!(Header32, comment) == 0x820);
const _: () = assert!(offset_of!(Header32, dump_type) == 0xf88);
const _: () = assert!(offset_of!(Header32, required_space) == 0xfa0);
const _: () = assert!(offset_of!(Header32, system_time) == 0xfc0);

/// `EXCEPTION_RECORD64`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Exception64 {
    pub code: U32,
    pub flags: U32,
    pub record: U64,
    pub address: U64,
    pub parameters: U32,
    pub padding: U32,
    pub information: [U64; 15],
}

const _: () = assert!(size_of::<Exception64>() == 0x98);

/// `EXCEPTION_RECORD32`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Exception32 {
    pub code: U32,
    pub flags: U32,
    pub record: U32,
    pub address: U32,
    pub parameters: U32,
    pub information: [U32; 15],
}

const _: () = assert!(size_of::<Exception32>() == 0x50);

/// Header of the bitmap of present pages.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BitmapHeader {
    pub signature: [u8; 8],
    pub options: [u8; 24],
    /// File offset.
    pub first_page: U64,
    /// Bits that are set.
    pub present: U64,
    /// Bits in the map.
    pub bits: U64,
}

pub const BITMAP_SIGNATURE: [u8; 8] = *b"FDMPDUMP";

const _: () = assert!(size_of::<BitmapHeader>() == 0x38);

/// In the flags of a `CONTEXT`: whose it is (`CONTEXT_AMD64`, `CONTEXT_i386`).
pub const CONTEXT_AMD64: u32 = 0x10_0000;
pub const CONTEXT_I386: u32 = 0x1_0000;

/// `CONTEXT` of x64.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Context64 {
    pub home: [U64; 6],
    pub flags: U32,
    pub mxcsr: U32,
    pub cs: U16,
    pub ds: U16,
    pub es: U16,
    pub fs: U16,
    pub gs: U16,
    pub ss: U16,
    pub eflags: U32,
    /// 0 to 3, 6 and 7.
    pub debug: [U64; 6],
    /// In the order of their encoding.
    pub general: [U64; 16],
    pub rip: U64,
    pub fxsave: [u8; 512],
    pub vectors: [u8; 416],
    pub vector_control: U64,
    pub debug_control: U64,
    pub branches: [U64; 4],
}

const _: () = assert!(size_of::<Context64>() == 0x4d0);
const _: () = assert!(offset_of!(Context64, debug) == 0x48);
const _: () = assert!(offset_of!(Context64, rip) == 0xf8);
const _: () = assert!(offset_of!(Context64, vectors) == 0x300);

/// `CONTEXT` of x86.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Context32 {
    pub flags: U32,
    /// 0 to 3, 6 and 7.
    pub debug: [U32; 6],
    pub fsave: [u8; 108],
    pub cr0_npx: U32,
    pub gs: U32,
    pub fs: U32,
    pub es: U32,
    pub ds: U32,
    pub edi: U32,
    pub esi: U32,
    pub ebx: U32,
    pub edx: U32,
    pub ecx: U32,
    pub eax: U32,
    pub ebp: U32,
    pub eip: U32,
    pub cs: U32,
    pub eflags: U32,
    pub esp: U32,
    pub ss: U32,
    pub fxsave: [u8; 512],
}

const _: () = assert!(size_of::<Context32>() == 0x2cc);
const _: () = assert!(offset_of!(Context32, gs) == 0x8c);
const _: () = assert!(offset_of!(Context32, fxsave) == 0xcc);

/// GDTR or IDTR of x64.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Table64 {
    pub padding: [u8; 6],
    pub limit: U16,
    pub base: U64,
}

/// `KSPECIAL_REGISTERS` of x64, build 15063 and later; older ones end with
/// [`SPECIAL64_WITH_XCR0`] bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Special64 {
    /// 0, 2, 3, 4.
    pub control: [U64; 4],
    /// 0 to 3, 6 and 7.
    pub debug: [U64; 6],
    pub gdtr: Table64,
    pub idtr: Table64,
    pub tr: U16,
    pub ldtr: U16,
    pub mxcsr: U32,
    pub debug_control: U64,
    pub branches: [U64; 4],
    pub cr8: U64,
    pub gs_base: U64,
    pub gs_swap: U64,
    pub star: U64,
    pub lstar: U64,
    pub cstar: U64,
    pub sfmask: U64,
    pub xcr0: U64,
    pub fs_base: U64,
}

pub const SPECIAL64_WITH_XCR0: usize = 0xe0;

const _: () = assert!(size_of::<Special64>() == 0xe8);
const _: () = assert!(offset_of!(Special64, idtr) == 0x60);
const _: () = assert!(offset_of!(Special64, cr8) == 0xa0);
const _: () = assert!(offset_of!(Special64, fs_base) == SPECIAL64_WITH_XCR0);

/// GDTR or IDTR of x86.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Table32 {
    pub padding: U16,
    pub limit: U16,
    pub base: U32,
}

/// `KSPECIAL_REGISTERS` of x86, as far as we fill it.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Special32 {
    /// 0, 2, 3, 4.
    pub control: [U32; 4],
    /// 0 to 3, 6 and 7.
    pub debug: [U32; 6],
    pub gdtr: Table32,
    pub idtr: Table32,
    pub tr: U16,
    pub ldtr: U16,
}

const _: () = assert!(size_of::<Special32>() == 0x3c);
const _: () = assert!(offset_of!(Special32, tr) == 0x38);
