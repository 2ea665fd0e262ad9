//! 32- and 64-bit x86.

pub(crate) mod level;
mod paging;
#[cfg(test)]
mod paging_tests;
mod registers;
pub mod xsave;

pub use paging::{PagingError, VcpuPaging, address_space_of, linear_rip, vcpu_paging};
pub use registers::{
    ControlRegisters, DescriptorTable, FpuState, Gpr, Msrs, Registers, SegmentRegister,
    SegmentRegisters,
};
