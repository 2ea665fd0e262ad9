//! Structures of Windows crash dumps as written.
//!
//! Sources: the published `DUMP_HEADER32` and `DUMP_HEADER64` as kdmp-parser and
//! ntoseye (both MIT) read them; `CONTEXT`, `EXCEPTION_RECORD` and
//! `KSPECIAL_REGISTERS` as in the `windows-sys` crate (MIT or Apache-2.0).

use std::mem::offset_of;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What Windows fills a header with before it writes fields.
pub(super) const FILL: [u8; 4] = *b"PAGE";
pub(super) const SIGNATURE64: [u8; 8] = *b"PAGEDU64";
pub(super) const SIGNATURE32: [u8; 8] = *b"PAGEDUMP";
/// A dump of all memory, run after run.
pub(super) const FULL: u32 = 1;
/// A dump of all memory, pages by a bitmap.
pub(super) const FULL_BITMAP: u32 = 5;
/// The header's room for the list of runs.
pub(super) const RUNS_BYTES: usize = 700;
/// The most runs of a 64-bit dump. One more would fit, but not all readers
/// expect it.
pub(super) const MAX_RUNS64: usize = 42;
/// The most runs of a 32-bit dump.
pub(super) const MAX_RUNS32: usize = 86;

/// `DUMP_HEADER64`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header64 {
    pub(super) signature: [u8; 8],
    /// `F` free, `C` checked; not the version of Windows.
    pub(super) major: U32,
    /// Build.
    pub(super) minor: U32,
    pub(super) directory_table_base: U64,
    pub(super) pfn_database: U64,
    pub(super) module_list: U64,
    pub(super) process_head: U64,
    pub(super) machine: U32,
    pub(super) processors: U32,
    pub(super) bugcheck: U32,
    pub(super) padding0: U32,
    pub(super) parameters: [U64; 4],
    pub(super) version_user: [u8; 32],
    pub(super) kdbg: U64,
    pub(super) runs: [u8; RUNS_BYTES],
    pub(super) padding1: U32,
    pub(super) context: [u8; 3000],
    pub(super) exception: Exception64,
    pub(super) dump_type: U32,
    pub(super) padding2: U32,
    pub(super) required_space: U64,
    pub(super) system_time: U64,
    pub(super) comment: [u8; 128],
    pub(super) up_time: U64,
    pub(super) mini_dump_fields: U32,
    pub(super) secondary_data_state: U32,
    pub(super) product: U32,
    pub(super) suite: U32,
    pub(super) writer_status: U32,
    pub(super) unused0: u8,
    pub(super) kd_secondary_version: u8,
    pub(super) unused1: [u8; 2],
    pub(super) attributes: U32,
    pub(super) boot_id: U32,
    pub(super) reserved: [u8; 4008],
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
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header32 {
    pub(super) signature: [u8; 8],
    pub(super) major: U32,
    pub(super) minor: U32,
    pub(super) directory_table_base: U32,
    pub(super) pfn_database: U32,
    pub(super) module_list: U32,
    pub(super) process_head: U32,
    pub(super) machine: U32,
    pub(super) processors: U32,
    pub(super) bugcheck: U32,
    pub(super) parameters: [U32; 4],
    pub(super) version_user: [u8; 32],
    pub(super) pae: u8,
    pub(super) kd_secondary_version: u8,
    pub(super) spare: [u8; 2],
    pub(super) kdbg: U32,
    pub(super) runs: [u8; RUNS_BYTES],
    pub(super) context: [u8; 1200],
    pub(super) exception: Exception32,
    pub(super) comment: [u8; 128],
    pub(super) attributes: U32,
    pub(super) boot_id: U32,
    pub(super) reserved0: [u8; 1760],
    pub(super) dump_type: U32,
    pub(super) mini_dump_fields: U32,
    pub(super) secondary_data_state: U32,
    pub(super) product: U32,
    pub(super) suite: U32,
    pub(super) writer_status: U32,
    pub(super) required_space: U64,
    pub(super) reserved1: [u8; 16],
    pub(super) up_time: U64,
    pub(super) system_time: U64,
    pub(super) reserved2: [u8; 56],
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
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Exception64 {
    pub(super) code: U32,
    pub(super) flags: U32,
    pub(super) record: U64,
    pub(super) address: U64,
    pub(super) parameters: U32,
    pub(super) padding: U32,
    pub(super) information: [U64; 15],
}

const _: () = assert!(size_of::<Exception64>() == 0x98);

/// `EXCEPTION_RECORD32`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Exception32 {
    pub(super) code: U32,
    pub(super) flags: U32,
    pub(super) record: U32,
    pub(super) address: U32,
    pub(super) parameters: U32,
    pub(super) information: [U32; 15],
}

const _: () = assert!(size_of::<Exception32>() == 0x50);

/// What precedes the bitmap of present pages.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct BitmapHeader {
    pub(super) signature: [u8; 8],
    pub(super) options: [u8; 24],
    /// File offset.
    pub(super) first_page: U64,
    /// Bits that are set.
    pub(super) present: U64,
    /// Bits in the map.
    pub(super) bits: U64,
}

pub(super) const BITMAP_SIGNATURE: [u8; 8] = *b"FDMPDUMP";

const _: () = assert!(size_of::<BitmapHeader>() == 0x38);

/// `CONTEXT` of x64.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Context64 {
    pub(super) home: [U64; 6],
    pub(super) flags: U32,
    pub(super) mxcsr: U32,
    pub(super) cs: U16,
    pub(super) ds: U16,
    pub(super) es: U16,
    pub(super) fs: U16,
    pub(super) gs: U16,
    pub(super) ss: U16,
    pub(super) eflags: U32,
    /// 0 to 3, 6 and 7.
    pub(super) debug: [U64; 6],
    /// In the order of their encoding.
    pub(super) general: [U64; 16],
    pub(super) rip: U64,
    pub(super) fxsave: [u8; 512],
    pub(super) vectors: [u8; 416],
    pub(super) vector_control: U64,
    pub(super) debug_control: U64,
    pub(super) branches: [U64; 4],
}

const _: () = assert!(size_of::<Context64>() == 0x4d0);
const _: () = assert!(offset_of!(Context64, debug) == 0x48);
const _: () = assert!(offset_of!(Context64, rip) == 0xf8);
const _: () = assert!(offset_of!(Context64, vectors) == 0x300);

/// `CONTEXT` of x86.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Context32 {
    pub(super) flags: U32,
    /// 0 to 3, 6 and 7.
    pub(super) debug: [U32; 6],
    pub(super) fsave: [u8; 108],
    pub(super) cr0_npx: U32,
    pub(super) gs: U32,
    pub(super) fs: U32,
    pub(super) es: U32,
    pub(super) ds: U32,
    pub(super) edi: U32,
    pub(super) esi: U32,
    pub(super) ebx: U32,
    pub(super) edx: U32,
    pub(super) ecx: U32,
    pub(super) eax: U32,
    pub(super) ebp: U32,
    pub(super) eip: U32,
    pub(super) cs: U32,
    pub(super) eflags: U32,
    pub(super) esp: U32,
    pub(super) ss: U32,
    pub(super) fxsave: [u8; 512],
}

const _: () = assert!(size_of::<Context32>() == 0x2cc);
const _: () = assert!(offset_of!(Context32, gs) == 0x8c);
const _: () = assert!(offset_of!(Context32, fxsave) == 0xcc);

/// GDTR or IDTR of x64.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Table64 {
    pub(super) padding: [u8; 6],
    pub(super) limit: U16,
    pub(super) base: U64,
}

/// `KSPECIAL_REGISTERS` of x64, build 15063 and later; older ones end with
/// [`SPECIAL64_WITH_XCR0`] bytes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Special64 {
    /// 0, 2, 3, 4.
    pub(super) control: [U64; 4],
    /// 0 to 3, 6 and 7.
    pub(super) debug: [U64; 6],
    pub(super) gdtr: Table64,
    pub(super) idtr: Table64,
    pub(super) tr: U16,
    pub(super) ldtr: U16,
    pub(super) mxcsr: U32,
    pub(super) debug_control: U64,
    pub(super) branches: [U64; 4],
    pub(super) cr8: U64,
    pub(super) gs_base: U64,
    pub(super) gs_swap: U64,
    pub(super) star: U64,
    pub(super) lstar: U64,
    pub(super) cstar: U64,
    pub(super) sfmask: U64,
    pub(super) xcr0: U64,
    pub(super) fs_base: U64,
}

pub(super) const SPECIAL64_WITH_XCR0: usize = 0xe0;

const _: () = assert!(size_of::<Special64>() == 0xe8);
const _: () = assert!(offset_of!(Special64, idtr) == 0x60);
const _: () = assert!(offset_of!(Special64, cr8) == 0xa0);
const _: () = assert!(offset_of!(Special64, fs_base) == SPECIAL64_WITH_XCR0);

/// GDTR or IDTR of x86.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Table32 {
    pub(super) padding: U16,
    pub(super) limit: U16,
    pub(super) base: U32,
}

/// `KSPECIAL_REGISTERS` of x86, as far as we fill it.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Special32 {
    /// 0, 2, 3, 4.
    pub(super) control: [U32; 4],
    /// 0 to 3, 6 and 7.
    pub(super) debug: [U32; 6],
    pub(super) gdtr: Table32,
    pub(super) idtr: Table32,
    pub(super) tr: U16,
    pub(super) ldtr: U16,
}

const _: () = assert!(size_of::<Special32>() == 0x3c);
const _: () = assert!(offset_of!(Special32, tr) == 0x38);
