//! 32- and 64-bit x86.

pub(crate) mod level;
mod paging;
#[cfg(test)]
mod paging_tests;
mod registers;
pub mod xsave;

pub use paging::{linear_rip, paging_of};
pub use registers::{
    ControlRegisters, DescriptorTable, FpuState, Gpr, Msrs, Registers, SegmentRegister,
    SegmentRegisters,
};
