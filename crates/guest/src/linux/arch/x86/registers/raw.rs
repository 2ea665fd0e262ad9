//! Structures of the x86 kernel as they lie in memory: `<asm/ptrace.h>`
//! (`struct pt_regs`), `<asm/desc_defs.h>` (`struct desc_struct`), and the
//! header of an XSAVE area (Intel SDM volume 1, 13.4.2).

use vmss2core_machine::x86::Gpr;
use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// `struct pt_regs`, by words.
pub(in crate::linux) struct PtRegs {
    pub(in crate::linux) general: &'static [(usize, Gpr)],
    pub(in crate::linux) orig_ax: usize,
    pub(in crate::linux) ip: usize,
    pub(in crate::linux) cs: usize,
    pub(in crate::linux) flags: usize,
    pub(in crate::linux) sp: usize,
    pub(in crate::linux) ss: usize,
    pub(in crate::linux) count: usize,
}

/// Of x86-64. The upper halves of the slots of CS and SS hold event data on a
/// processor with FRED.
pub(in crate::linux) const PT_REGS_64: PtRegs = PtRegs {
    general: &[
        (0, Gpr::R15),
        (1, Gpr::R14),
        (2, Gpr::R13),
        (3, Gpr::R12),
        (4, Gpr::Rbp),
        (5, Gpr::Rbx),
        (6, Gpr::R11),
        (7, Gpr::R10),
        (8, Gpr::R9),
        (9, Gpr::R8),
        (10, Gpr::Rax),
        (11, Gpr::Rcx),
        (12, Gpr::Rdx),
        (13, Gpr::Rsi),
        (14, Gpr::Rdi),
    ],
    orig_ax: 15,
    ip: 16,
    cs: 17,
    flags: 18,
    sp: 19,
    ss: 20,
    count: 21,
};

/// Of 32-bit kernels: `ds es fs gs` are words 7 to 10. Up to 2.6.29 they lacked `gs`, up to
/// 2.6.19 both of the last.
pub(in crate::linux) const PT_REGS_32: [PtRegs; 3] =
    [with_segments(4), with_segments(3), with_segments(2)];

/// Of a 32-bit kernel that saves so many data segments.
const fn with_segments(count: usize) -> PtRegs {
    let orig_ax = count.saturating_add(7);
    PtRegs {
        general: &[
            (0, Gpr::Rbx),
            (1, Gpr::Rcx),
            (2, Gpr::Rdx),
            (3, Gpr::Rsi),
            (4, Gpr::Rdi),
            (5, Gpr::Rbp),
            (6, Gpr::Rax),
        ],
        orig_ax,
        ip: orig_ax.saturating_add(1),
        cs: orig_ax.saturating_add(2),
        flags: orig_ax.saturating_add(3),
        sp: orig_ax.saturating_add(4),
        ss: orig_ax.saturating_add(5),
        count: orig_ax.saturating_add(6),
    }
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

/// The header after the FXSAVE part of an XSAVE area.
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
    assert!(size_of::<Descriptor>() == 8);
    assert!(size_of::<XsaveHeader>() == 64);
};
