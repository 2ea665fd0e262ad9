//! Guest physical memory, vCPU state and the [`Checkpoint`] they make up.
//!
//! This is the vocabulary that every other crate shares. An input format fills
//! a [`PhysicalMemory`] with segments and a [`Vcpu`] with whatever registers its
//! file holds; everything after that reads those and never asks where they came
//! from. Nothing here parses a file format or knows a guest operating system.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

mod address;
mod checkpoint;
mod physical;
mod read_at;
mod sums;
mod vcpu;
pub mod xsave;

pub use address::{Gpa, Gva, PAGE_SIZE, Pfn};
pub use checkpoint::{
    Architecture, Checkpoint, Machine, Problem, Provenance, Severity, Snapshot, SourceFile,
};
pub use physical::{MapError, MemoryError, PhysicalMemory, Piece, ReadFailure, Segment};
pub use read_at::{ReadAt, Zeroes};
pub use sums::{Sums, has_bit, low_bits, range_len, to_page_end, up_to_page};
pub use vcpu::{
    Arm64Vcpu, ControlRegisters, DescriptorTable, FpuState, Gpr, Msrs, SegmentRegister,
    SegmentRegisters, Vcpu, VcpuState, X86Vcpu,
};
