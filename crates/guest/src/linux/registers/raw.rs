//! Structures of the x86 kernel as they lie in memory: `<asm/ptrace.h>`
//! (`struct pt_regs`), `<asm/desc_defs.h>` (`struct desc_struct`), and the
//! header of an XSAVE area (Intel SDM volume 1, 13.4.2).

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// `struct pt_regs` of x86-64. The upper halves of the slots of CS and SS hold
/// event data on a processor with FRED.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct PtRegs64 {
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
}

/// A segment descriptor, `struct desc_struct`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Descriptor {
    pub(super) limit: U16,
    pub(super) base_low: U16,
    pub(super) base_middle: u8,
    /// Type, S, DPL, P.
    pub(super) access: u8,
    /// Limit bits 16 to 19, AVL, L, D/B, G.
    pub(super) flags: u8,
    pub(super) base_high: u8,
}

/// The header behind the FXSAVE part of an XSAVE area.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct XsaveHeader {
    /// Components that are not in their initial state.
    pub(super) xstate_bv: U64,
    /// Bit 63: compacted; then the others say which components have a place.
    pub(super) xcomp_bv: U64,
    pub(super) reserved: [U64; 6],
}

const _: () = {
    assert!(size_of::<PtRegs64>() == 168);
    assert!(size_of::<Descriptor>() == 8);
    assert!(size_of::<XsaveHeader>() == 64);
};
