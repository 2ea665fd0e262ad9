//! Layouts of VMware state files (`.vmss`, `.vmsn`), all little-endian.
//!
//! Sources: the public readers of the format, which agree on the 64-bit layout.
//! Of the 32-bit layout no sample is public; its group entries are either 72
//! bytes (the natural C layout) or 80 (what some readers assume).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Start of the file.
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct FileHeader {
    pub(super) magic: U32,
    pub(super) version: U32,
    pub(super) group_count: U32,
}

/// Group table entry with 64-bit numbers.
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct GroupEntry64 {
    pub(super) name: [u8; NAME_LEN],
    pub(super) position: U64,
    pub(super) size: U64,
}

/// Group table entry with 32-bit numbers.
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct GroupEntry32 {
    pub(super) name: [u8; NAME_LEN],
    pub(super) position: U32,
    pub(super) size: U32,
}

/// Header of a block, after a tag's indices; then `pad_len` bytes, then data.
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct BlockHeader64 {
    pub(super) size_in_file: U64,
    pub(super) size_in_memory: U64,
    pub(super) pad_len: U16,
}

/// The header in the 32-bit layout.
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct BlockHeader32 {
    pub(super) size_in_file: U32,
    pub(super) size_in_memory: U32,
    pub(super) pad_len: U16,
}

const _: () = assert!(size_of::<FileHeader>() == 12);
const _: () = assert!(size_of::<GroupEntry64>() == 80);
const _: () = assert!(size_of::<GroupEntry32>() == 72);
const _: () = assert!(size_of::<BlockHeader64>() == 18);
const _: () = assert!(size_of::<BlockHeader32>() == 10);

/// Bytes of a group's name, NUL padded, without NUL if it fills them.
pub(super) const NAME_LEN: usize = 64;

/// Inline values have less than this many bytes; it marks a compressed block.
pub(super) const SIZE_COMPRESSED: u8 = 62;
/// Marks a plain block.
pub(super) const SIZE_BLOCK: u8 = 63;

/// `Checkpoint/Platform` of a 64-bit Arm machine.
pub(super) const PLATFORM_ARM64: u64 = 3;

/// The kind of a file, by its first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completeness {
    Complete,
    Partial,
    Restored,
    NoRestore,
}

/// A known first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Magic {
    pub(super) value: u32,
    pub(super) completeness: Completeness,
    /// 32-bit block headers, and perhaps group entries.
    pub(super) narrow: bool,
}

const fn magic(value: u32, completeness: Completeness, narrow: bool) -> Magic {
    Magic { value, completeness, narrow }
}

/// All first words that any source names. The first four come from VMware's
/// own code, `0xbed0bed0` too; the last three each from one other reader.
pub(super) const MAGICS: [Magic; 8] = [
    magic(0xbed2_bed2, Completeness::Complete, false),
    magic(0xbed3_bed3, Completeness::Partial, false),
    magic(0xbad1_bad1, Completeness::Restored, false),
    magic(0xbad2_bad2, Completeness::NoRestore, false),
    magic(0xbed0_bed0, Completeness::Complete, true),
    magic(0xbed2_bed0, Completeness::Complete, true),
    magic(0xbad0_bad0, Completeness::Restored, true),
    magic(0xbed1_bed1, Completeness::Restored, false),
];

impl Magic {
    /// The magic that `head` begins with.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let value = u32::from_le_bytes(*head.first_chunk()?);
        MAGICS.into_iter().find(|magic| magic.value == value)
    }
}
