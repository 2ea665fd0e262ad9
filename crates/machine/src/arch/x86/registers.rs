//! The registers of an x86 processor.
//!
//! Every register is an `Option`: a source that lacks it says `None`, so that a
//! writer can tell "zero" from "not known".

use std::collections::BTreeMap;

use super::xsave::END_OF_AVX;
use crate::arch::Privilege;

/// Registers of an x86 processor; 32-bit values are zero-extended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// General registers, indexed by [`Gpr`] (the hardware's own numbering).
    pub general: [Option<u64>; 16],
    /// Instruction pointer, relative to the code segment's base.
    pub rip: Option<u64>,
    /// Flags.
    pub rflags: Option<u64>,
    /// Segment registers with their hidden parts.
    pub segments: SegmentRegisters,
    /// Control registers.
    pub control: ControlRegisters,
    /// Debug registers 0 to 7.
    pub debug: [Option<u64>; 8],
    /// Global descriptor table.
    pub gdtr: DescriptorTable,
    /// Interrupt descriptor table.
    pub idtr: DescriptorTable,
    /// Model-specific registers.
    pub msrs: Msrs,
    /// Model-specific registers that have no name in [`Msrs`], by number.
    pub other_msrs: BTreeMap<u32, u64>,
    /// x87, SSE and later vector state.
    pub fpu: Option<FpuState>,
    /// Of a thread of Linux: number of the system call that it is in, or -1 (`orig_rax`).
    pub system_call: Option<u64>,
}

impl Registers {
    /// One general register.
    pub fn gpr(&self, gpr: Gpr) -> Option<u64> {
        self.general.get(gpr as usize).copied().flatten()
    }

    /// Sets one general register.
    pub fn set_gpr(&mut self, gpr: Gpr, value: u64) {
        if let Some(slot) = self.general.get_mut(gpr as usize) {
            *slot = Some(value);
        }
    }
}

impl Registers {
    /// The privilege level: that of the code segment, except in real mode (0) and
    /// in virtual-8086 mode (3), whose selectors are plain numbers.
    pub fn ring(&self) -> Option<u8> {
        const VM: u64 = 1 << 17;
        if self.is_in_real_mode() {
            return Some(0);
        }
        if self.rflags.is_some_and(|flags| flags & VM != 0) {
            return Some(3);
        }
        self.segments.cs.selector.map(|selector| (selector & 3) as u8)
    }

    /// The kind of code that the processor executes.
    pub fn privilege(&self) -> Option<Privilege> {
        // Page tables keep ring 3 alone from what is the kernel's.
        Some(if self.ring()? == 3 { Privilege::User } else { Privilege::Kernel })
    }
}

/// The sixteen general registers in the order of their encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the registers'")]
pub enum Gpr {
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

impl Gpr {
    /// All of them, in encoding order.
    pub const ALL: [Self; 16] = [
        Self::Rax,
        Self::Rcx,
        Self::Rdx,
        Self::Rbx,
        Self::Rsp,
        Self::Rbp,
        Self::Rsi,
        Self::Rdi,
        Self::R8,
        Self::R9,
        Self::R10,
        Self::R11,
        Self::R12,
        Self::R13,
        Self::R14,
        Self::R15,
    ];

    /// The 64-bit name in lower case.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 16] = [
            "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11",
            "r12", "r13", "r14", "r15",
        ];
        NAMES.get(self as usize).copied().unwrap_or_default()
    }
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentRegister {
    /// Selector.
    pub selector: Option<u16>,
    /// Base address.
    pub base: Option<u64>,
    /// Limit in bytes, granularity applied.
    pub limit: Option<u32>,
    /// Attributes in the form of a descriptor's bits 40 to 55: type, S, DPL, P
    /// in bits 0 to 7, then AVL, L, D/B, G in bits 12 to 15.
    pub attributes: Option<u32>,
}

/// The segment registers, with the local descriptor table and task registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the registers'")]
pub struct SegmentRegisters {
    pub es: SegmentRegister,
    pub cs: SegmentRegister,
    pub ss: SegmentRegister,
    pub ds: SegmentRegister,
    pub fs: SegmentRegister,
    pub gs: SegmentRegister,
    pub ldt: SegmentRegister,
    pub tr: SegmentRegister,
}

/// Control registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the registers'")]
pub struct ControlRegisters {
    pub cr0: Option<u64>,
    pub cr2: Option<u64>,
    pub cr3: Option<u64>,
    pub cr4: Option<u64>,
    pub cr8: Option<u64>,
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorTable {
    /// Linear base address.
    pub base: Option<u64>,
    /// Limit: size in bytes less one.
    pub limit: Option<u16>,
}

/// Model-specific registers that debuggers and guests care about, and two that
/// are read in other ways but saved beside them: XCR0 and the shadow stack's
/// pointer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the registers'")]
pub struct Msrs {
    pub efer: Option<u64>,
    pub star: Option<u64>,
    pub lstar: Option<u64>,
    pub cstar: Option<u64>,
    pub sfmask: Option<u64>,
    pub kernel_gs_base: Option<u64>,
    pub sysenter_cs: Option<u64>,
    pub sysenter_esp: Option<u64>,
    pub sysenter_eip: Option<u64>,
    pub pat: Option<u64>,
    pub tsc: Option<u64>,
    pub tsc_aux: Option<u64>,
    pub xcr0: Option<u64>,
    pub ssp: Option<u64>,
}

/// The floating point and vector registers as the processor saves them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FpuState {
    /// The 512 bytes of FXSAVE.
    Fxsave(Box<[u8; 512]>),
    /// An XSAVE area in the standard (not compacted) format, header at 512.
    Xsave(Vec<u8>),
}

impl FpuState {
    /// The legacy 512 bytes that both forms begin with.
    pub fn fxsave(&self) -> Option<&[u8]> {
        match self {
            Self::Fxsave(bytes) => Some(bytes.as_slice()),
            Self::Xsave(bytes) => bytes.get(..512),
        }
    }

    /// Whether the upper halves of the YMM registers are known.
    pub fn has_avx(&self) -> bool {
        matches!(self, Self::Xsave(area) if area.len() >= END_OF_AVX)
    }
}
