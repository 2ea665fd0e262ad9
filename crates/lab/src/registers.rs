//! The registers of one virtual processor as QEMU shows them, kept as numbers.
//!
//! These types are the lab's own on purpose: nothing of the product decodes or
//! encodes them, so that a mistake there cannot hide itself here.

use serde::{Deserialize, Serialize};

/// Everything QEMU tells about one virtual processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuRegisters {
    /// General registers in encoding order: rax rcx rdx rbx rsp rbp rsi rdi r8 to r15.
    pub gpr: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// Segment registers in the order of [`SEGMENT_NAMES`].
    pub segments: [SegmentValue; 8],
    /// Global descriptor table.
    pub gdt: TableValue,
    /// Interrupt descriptor table.
    pub idt: TableValue,
    /// CR0.
    pub cr0: u64,
    /// CR2, the address of the last page fault.
    pub cr2: u64,
    /// CR3, with PCID bits where the guest uses them.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// CR8, the task priority.
    pub cr8: Option<u64>,
    /// Debug registers; 4 and 5 do not exist and stay 0.
    pub dr: [u64; 8],
    /// The extended feature enable register.
    pub efer: u64,
    /// The GS base that `swapgs` would bring in; 64-bit guests only.
    pub kernel_gs_base: Option<u64>,
    /// x87 and SSE state in the layout of the `FXSAVE` instruction, 512 bytes.
    pub fxsave: Option<Vec<u8>>,
    /// Upper halves of the YMM registers, 256 bytes, if the guest has them
    /// switched on. Guests that were kept before this was read have none.
    #[serde(default)]
    pub ymm_high: Option<Vec<u8>>,
    /// Whether the processor sat in a halt instruction.
    pub halted: bool,
}

/// Names of [`CpuRegisters::segments`], by index.
pub const SEGMENT_NAMES: [&str; 8] = ["ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR"];

/// Names of [`CpuRegisters::gpr`], by index.
pub const GPR_NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

/// One segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentValue {
    /// Selector.
    pub selector: u16,
    /// Base address.
    pub base: u64,
    /// Limit in bytes, granularity applied.
    pub limit: u32,
    /// The high word of the descriptor as QEMU keeps it: type, S, DPL and P in
    /// bits 8 to 15, then AVL, L, D/B and G in bits 20 to 23.
    pub flags: u32,
}

impl SegmentValue {
    /// Type, S, DPL and P in bits 0 to 7; AVL, L, D/B and G in bits 12 to 15.
    pub fn attributes(&self) -> u32 {
        (self.flags >> 8) & 0xf0ff
    }
}

/// A descriptor table register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableValue {
    /// Base address.
    pub base: u64,
    /// Limit in bytes.
    pub limit: u16,
}
