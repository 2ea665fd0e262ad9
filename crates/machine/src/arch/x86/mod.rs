//! 32- and 64-bit x86.

use vmss2core_mem::Found;

use super::Arch;
use super::table::{Scope, Table, Width};
use crate::Vcpu;
use crate::paging::PagingMode;

pub mod entry;
#[doc(hidden)]
pub mod fuzzing;
pub mod modes;
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

    fn elf_machine(&self, width: Width) -> u16 {
        if width == Width::Bits64 { 62 } else { 3 }
    }

    fn only_width(&self) -> Option<Width> {
        None
    }

    fn assumed_paging(&self) -> Option<Found<PagingMode>> {
        Some(Found::new(modes::FOUR_LEVEL, "64-bit with 4 levels assumed"))
    }

    fn registers_at(&self, pc: u64) -> super::Registers {
        Registers { rip: Some(pc), ..Registers::default() }.into()
    }
}

impl From<Registers> for super::Registers {
    fn from(x86: Registers) -> Self {
        Self::X86(Box::new(x86))
    }
}

impl super::Registers {
    /// The registers of an x86 processor.
    pub fn x86(&self) -> Option<&Registers> {
        match self {
            Self::X86(x86) => Some(x86),
            _ => None,
        }
    }
}

impl Vcpu {
    /// The x86 registers, if this is an x86 processor.
    pub fn x86(&self) -> Option<&Registers> {
        self.registers.x86()
    }
}

impl Registers {
    /// Where a thread has its block of variables.
    pub(super) fn thread_pointer(&self, width: Width) -> Option<u64> {
        let SegmentRegisters { fs, gs, .. } = self.segments;
        let base = if width == Width::Bits64 { fs.base } else { gs.base };
        base.filter(|base| *base != 0)
    }

    /// Forgets general registers of these names.
    pub(super) fn forget(&mut self, names: &[&str]) {
        for (gpr, value) in Gpr::ALL.iter().zip(&mut self.general) {
            value.take_if(|_| names.contains(&gpr.name()));
        }
    }

    /// Registers that no table has, by name.
    pub(super) fn others(&self) -> Vec<(String, u64)> {
        let msr = |(number, value): (&u32, &u64)| (format!("msr {number:#x}"), *value);
        self.other_msrs.iter().map(msr).collect()
    }

    /// Mode by CR0.PE and EFER.LMA.
    pub(super) fn width(&self) -> Option<Width> {
        const LMA: u64 = 1 << 10;
        if self.is_in_real_mode() {
            return Some(Width::Bits16);
        }
        let efer = self.msrs.efer?;
        Some(if efer & LMA == 0 { Width::Bits32 } else { Width::Bits64 })
    }

    /// Whether CR0.PE is clear.
    fn is_in_real_mode(&self) -> bool {
        self.control.cr0.is_some_and(|cr0| cr0 & 1 == 0)
    }
}
