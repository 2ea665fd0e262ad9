//! Layout of guest dumps, packed and little-endian, as read by the crash
//! utility's `vmware_guestdump.c`. No magic, no public description.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::notes::Registers64;

/// First bytes of every version.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct GuestDumpHeader {
    pub version: U32,
    pub num_vcpus: U32,
}

/// Main memory as version 1 describes it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct OldMainMem {
    pub last_addr: U64,
    pub memsize_in_pages: U32,
    pub reserved: U32,
    pub mem_holes: U32,
    pub holes: [OldHole; 2],
}

/// A hole of version 1.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct OldHole {
    pub ppn: U32,
    pub pages: U32,
}

/// Main memory as all later versions describe it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MainMem {
    pub last_addr: U64,
    pub memsize_in_pages: U64,
    pub reserved: U32,
    pub mem_holes: U32,
    pub holes: [Hole; 2],
}

/// A hole.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Hole {
    pub ppn: U64,
    pub pages: U64,
}

/// First part of a processor's record.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct VcpuState1 {
    pub cr0: U32,
    pub cr2: U64,
    pub cr3: U64,
    pub cr4: U64,
    pub reserved: [U64; 10],
    pub idt_base: U64,
}

/// Second part: the registers in the order of Linux's `user_regs_struct`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct VcpuState2 {
    pub regs: Registers64,
    pub reserved: [u8; 17],
}

const _: () = assert!(size_of::<OldMainMem>() == 36);
const _: () = assert!(size_of::<MainMem>() == 56);
const _: () = assert!(size_of::<VcpuState1>() == 116);
const _: () = assert!(size_of::<VcpuState2>() == 233);
