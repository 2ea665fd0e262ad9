//! Headers of tar files: POSIX.1-2017 pax "ustar Interchange Format", and the
//! GNU additions as in the manual of GNU tar, "Basic Tar Format".

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Size of a header, and unit of everything.
pub(super) const BLOCK: u64 = 512;

/// A member's header, without the prefix area, which differs by dialect.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct TarHeader {
    pub(super) name: [u8; 100],
    pub(super) mode: [u8; 8],
    pub(super) uid: [u8; 8],
    pub(super) gid: [u8; 8],
    pub(super) size: [u8; 12],
    pub(super) mtime: [u8; 12],
    pub(super) chksum: [u8; 8],
    pub(super) typeflag: u8,
    pub(super) linkname: [u8; 100],
    pub(super) magic: [u8; 6],
    pub(super) version: [u8; 2],
    pub(super) uname: [u8; 32],
    pub(super) gname: [u8; 32],
    pub(super) devmajor: [u8; 8],
    pub(super) devminor: [u8; 8],
    pub(super) tail: [u8; 167],
}

/// GNU tar's fields after `devminor`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct GnuTail {
    pub(super) atime: [u8; 12],
    pub(super) ctime: [u8; 12],
    pub(super) offset: [u8; 12],
    pub(super) longnames: [u8; 4],
    pub(super) unused: u8,
    pub(super) sparse: [GnuSparse; 4],
    pub(super) isextended: u8,
    pub(super) realsize: [u8; 12],
    pub(super) pad: [u8; 17],
}

/// A run of data in a sparse member.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct GnuSparse {
    pub(super) offset: [u8; 12],
    pub(super) numbytes: [u8; 12],
}

/// A block of further runs.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct GnuSparseBlock {
    pub(super) sparse: [GnuSparse; 21],
    pub(super) isextended: u8,
    pub(super) pad: [u8; 7],
}

const _: () = assert!(size_of::<TarHeader>() == 512);
const _: () = assert!(size_of::<GnuTail>() == 167);
const _: () = assert!(size_of::<GnuSparseBlock>() == 512);

/// The sum of a header's bytes with its checksum field as blanks.
pub(super) fn checksum(block: &[u8]) -> u64 {
    const AT: usize = std::mem::offset_of!(TarHeader, chksum);
    const FIELD: std::ops::Range<usize> = AT..AT + 8;
    let bytes = block.iter().enumerate();
    let bytes = bytes.map(|(at, byte)| if FIELD.contains(&at) { 0x20 } else { *byte });
    bytes.map(u64::from).fold(0, u64::saturating_add)
}

/// A number in octal digits, or in binary if its first bit is set (GNU). `None`
/// if it is neither, negative, or over 64 bits.
pub(super) fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if *first == 0x80 {
        let (high, low) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
        return high
            .iter()
            .all(|byte| *byte == 0)
            .then(|| u64::from_be_bytes(low.try_into().ok()?).into())?;
    }
    let digits = text(field).trim_ascii();
    let octal = digits.iter().all(|byte| (b'0'..=b'7').contains(byte));
    let digits = std::str::from_utf8(digits).ok().filter(|digits| octal && !digits.is_empty())?;
    u64::from_str_radix(digits, 8).ok()
}

/// The bytes of a field before its NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}
