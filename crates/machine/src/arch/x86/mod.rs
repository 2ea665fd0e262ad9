//! 32- and 64-bit x86.

use super::Arch;
use super::table::{Scope, Table, Width};

pub(crate) mod level;
mod paging;
#[cfg(test)]
mod paging_tests;
mod registers;
mod table;
pub mod xsave;

pub use paging::{linear_rip, paging_of};
pub use registers::{
    ControlRegisters, DescriptorTable, FpuState, Gpr, Msrs, Registers, SegmentRegister,
    SegmentRegisters,
};

/// The base in a descriptor of a segment (Intel SDM volume 3A, 3.4.5).
pub fn descriptor_base(descriptor: u64) -> u64 {
    (descriptor >> 16) & 0xff_ffff | (descriptor >> 32) & 0xff00_0000
}

/// The architecture.
#[derive(Debug)]
pub struct X86;

impl Arch for X86 {
    fn name(&self) -> &'static str {
        "x86"
    }

    fn level_name(&self) -> &'static str {
        "ring"
    }

    fn table(&self, width: Width, scope: Scope, examples: &[&super::Registers]) -> Table {
        table::table(width, scope, examples)
    }

    fn triple_name(&self, width: Width) -> &'static str {
        if width == Width::Bits64 { "x86_64" } else { "i386" }
    }
}

impl Registers {
    /// Where a thread has its block of variables.
    pub(super) fn thread_pointer(&self, width: Width) -> Option<u64> {
        let SegmentRegisters { fs, gs, .. } = self.segments;
        let base = if width == Width::Bits64 { fs.base } else { gs.base };
        base.filter(|base| *base != 0)
    }
}
