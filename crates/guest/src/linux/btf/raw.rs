//! The layout of BTF (Documentation/bpf/btf.rst, include/uapi/linux/btf.h).

use zerocopy::little_endian::{I32, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `BTF_MAGIC`.
pub(super) const MAGIC: u16 = 0xeb9f;
/// `BTF_VERSION`.
pub(super) const VERSION: u8 = 1;

/// `struct btf_header`; a longer one only adds to it.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: U16,
    pub(super) version: u8,
    pub(super) flags: u8,
    pub(super) hdr_len: U32,
    /// Offsets count from the end of the header.
    pub(super) type_off: U32,
    pub(super) type_len: U32,
    pub(super) str_off: U32,
    pub(super) str_len: U32,
}
const _: () = assert!(size_of::<Header>() == 24);

/// `struct btf_type`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Type {
    pub(super) name_off: U32,
    pub(super) info: U32,
    /// `size` for kinds that have one, else `type`: what is referred to.
    pub(super) size_or_id: U32,
}
const _: () = assert!(size_of::<Type>() == 12);

impl Type {
    /// `BTF_INFO_VLEN`.
    pub(super) fn vlen(&self) -> u16 {
        (self.info.get() & 0xffff) as u16
    }

    /// `BTF_INFO_KIND`.
    pub(super) fn kind(&self) -> u8 {
        (self.info.get() >> 24 & 0x1f) as u8
    }

    /// `BTF_INFO_KFLAG`.
    pub(super) fn kflag(&self) -> bool {
        self.info.get() >> 31 != 0
    }
}

/// Kinds of types, `BTF_KIND_*`.
pub(super) mod kind {
    pub(in super::super) const INT: u8 = 1;
    pub(in super::super) const PTR: u8 = 2;
    pub(in super::super) const ARRAY: u8 = 3;
    pub(in super::super) const STRUCT: u8 = 4;
    pub(in super::super) const UNION: u8 = 5;
    pub(in super::super) const ENUM: u8 = 6;
    pub(in super::super) const FWD: u8 = 7;
    pub(in super::super) const TYPEDEF: u8 = 8;
    pub(in super::super) const VOLATILE: u8 = 9;
    pub(in super::super) const CONST: u8 = 10;
    pub(in super::super) const RESTRICT: u8 = 11;
    pub(in super::super) const FUNC: u8 = 12;
    pub(in super::super) const FUNC_PROTO: u8 = 13;
    pub(in super::super) const VAR: u8 = 14;
    pub(in super::super) const DATASEC: u8 = 15;
    pub(in super::super) const FLOAT: u8 = 16;
    pub(in super::super) const DECL_TAG: u8 = 17;
    pub(in super::super) const TYPE_TAG: u8 = 18;
    pub(in super::super) const ENUM64: u8 = 19;
}

/// `struct btf_member`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Member {
    pub(super) name_off: U32,
    pub(super) ty: U32,
    /// Bits; if the structure's flag is set, below the width in the top byte.
    pub(super) offset: U32,
}
const _: () = assert!(size_of::<Member>() == 12);

/// `struct btf_array`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Array {
    pub(super) ty: U32,
    pub(super) index_type: U32,
    pub(super) nelems: U32,
}
const _: () = assert!(size_of::<Array>() == 12);

/// `struct btf_enum`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Enum {
    pub(super) name_off: U32,
    pub(super) val: I32,
}
const _: () = assert!(size_of::<Enum>() == 8);

/// `struct btf_enum64`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Enum64 {
    pub(super) name_off: U32,
    pub(super) val_lo32: U32,
    pub(super) val_hi32: U32,
}
const _: () = assert!(size_of::<Enum64>() == 12);

/// Bytes that follow a type; `None` for a kind that is not known.
pub(super) fn extra_len(ty: &Type) -> Option<usize> {
    let each = match ty.kind() {
        kind::INT | kind::VAR | kind::DECL_TAG => return Some(4),
        kind::ARRAY => return Some(12),
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12,
        kind::ENUM | kind::FUNC_PROTO => 8,
        kind::PTR
        | kind::FWD
        | kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::FUNC
        | kind::FLOAT
        | kind::TYPE_TAG => 0,
        _ => return None,
    };
    Some(usize::from(ty.vlen()).saturating_mul(each))
}
