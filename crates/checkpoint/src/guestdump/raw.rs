//! Layout of guest dumps, packed and little-endian, as read by the crash
//! utility's `vmware_guestdump.c`. No magic, no public description.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// First bytes of every version.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct GuestDumpHeader {
    pub(super) version: U32,
    pub(super) num_vcpus: U32,
}

/// Main memory as version 1 describes it.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct OldMainMem {
    pub(super) last_addr: U64,
    pub(super) memsize_in_pages: U32,
    pub(super) reserved: U32,
    pub(super) mem_holes: U32,
    pub(super) holes: [OldHole; 2],
}

/// A hole of version 1.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct OldHole {
    pub(super) ppn: U32,
    pub(super) pages: U32,
}

/// Main memory as all later versions describe it.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct MainMem {
    pub(super) last_addr: U64,
    pub(super) memsize_in_pages: U64,
    pub(super) reserved: U32,
    pub(super) mem_holes: U32,
    pub(super) holes: [Hole; 2],
}

/// A hole.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Hole {
    pub(super) ppn: U64,
    pub(super) pages: U64,
}

/// First part of a processor's record.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct VcpuState1 {
    pub(super) cr0: U32,
    pub(super) cr2: U64,
    pub(super) cr3: U64,
    pub(super) cr4: U64,
    pub(super) reserved: [U64; 10],
    pub(super) idt_base: U64,
}

/// Second part: the registers in the order of Linux's `user_regs_struct`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct VcpuState2 {
    pub(super) regs: UserRegs,
    pub(super) reserved: [u8; 17],
}

/// `user_regs_struct` of x86-64.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct UserRegs {
    pub(super) r15: U64,
    pub(super) r14: U64,
    pub(super) r13: U64,
    pub(super) r12: U64,
    pub(super) rbp: U64,
    pub(super) rbx: U64,
    pub(super) r11: U64,
    pub(super) r10: U64,
    pub(super) r9: U64,
    pub(super) r8: U64,
    pub(super) rax: U64,
    pub(super) rcx: U64,
    pub(super) rdx: U64,
    pub(super) rsi: U64,
    pub(super) rdi: U64,
    pub(super) orig_rax: U64,
    pub(super) rip: U64,
    pub(super) cs: U64,
    pub(super) eflags: U64,
    pub(super) rsp: U64,
    pub(super) ss: U64,
    pub(super) fs_base: U64,
    pub(super) gs_base: U64,
    pub(super) ds: U64,
    pub(super) es: U64,
    pub(super) fs: U64,
    pub(super) gs: U64,
}

const _: () = assert!(size_of::<OldMainMem>() == 36);
const _: () = assert!(size_of::<MainMem>() == 56);
const _: () = assert!(size_of::<VcpuState1>() == 116);
const _: () = assert!(size_of::<VcpuState2>() == 233);

/// Unused bytes at the end of every processor's record.
pub(super) const RECORD_TAIL: u64 = 4096;

/// Where things are in one version.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) number: u32,
    pub(super) product: &'static str,
    /// Offset of [`MainMem`], or of [`OldMainMem`] in version 1.
    pub(super) main_mem: usize,
    /// Offset of the processors, without what version 1 adds for each hole.
    pub(super) vcpus: u64,
    /// Bytes between the two parts of a processor's record.
    pub(super) gap: u64,
    /// Offset of the architecture, a `u32`, if there is one.
    pub(super) architecture: Option<usize>,
}

/// The versions whose layout is known.
pub(super) static VERSIONS: &[Version] = &[
    Version {
        number: 1,
        product: "ESXi to 6.7",
        main_mem: 21,
        vcpus: 61,
        gap: 45,
        architecture: None,
    },
    Version {
        number: 3,
        product: "ESXi 6.8",
        main_mem: 22,
        vcpus: 78,
        gap: 45,
        architecture: None,
    },
    Version {
        number: 4,
        product: "ESXi 7.0",
        main_mem: 22,
        vcpus: 78,
        gap: 42,
        architecture: None,
    },
    Version {
        number: 5,
        product: "ESXi 8.0",
        main_mem: 22,
        vcpus: 78,
        gap: 42,
        architecture: None,
    },
    Version {
        number: 6,
        product: "ESXi 8.0u2",
        main_mem: 23,
        vcpus: 79,
        gap: 42,
        architecture: None,
    },
    Version {
        number: 7,
        product: "ESXi 9.0",
        main_mem: 16,
        vcpus: 83,
        gap: 42,
        architecture: Some(72),
    },
];

/// The value of the architecture field that means x86; 0 is AArch64.
pub(super) const ARCHITECTURE_X86: u32 = 1;

/// Bytes of a file that hold all there is before the processors.
pub(super) const HEAD_LEN: usize = 96;
