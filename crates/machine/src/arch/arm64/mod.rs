//! 64-bit Arm.

mod table;

use vmss2core_mem::Found;

use super::table::{Scope, Table, Width};
use super::{Arch, Privilege};
use crate::paging::PagingMode;

/// Registers of a 64-bit Arm processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// General registers, X0 to X30.
    pub general: [Option<u64>; 31],
    /// Stack pointer of the exception level that executes.
    pub sp: Option<u64>,
    /// Program counter.
    pub pc: Option<u64>,
    /// Processor state: flags, exception level.
    pub pstate: Option<u64>,
    /// Thread pointer of programs.
    pub tpidr_el0: Option<u64>,
    /// System registers of a kernel.
    pub system: SystemRegisters,
}

/// Registers that only a kernel sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the registers'")]
pub struct SystemRegisters {
    pub sctlr_el1: Option<u64>,
    pub tcr_el1: Option<u64>,
    pub ttbr0_el1: Option<u64>,
    pub ttbr1_el1: Option<u64>,
    pub mair_el1: Option<u64>,
    pub vbar_el1: Option<u64>,
    pub tpidr_el1: Option<u64>,
    pub contextidr_el1: Option<u64>,
}

impl Registers {
    /// The exception level (Arm ARM C5.2.19, SPSR: bits 3 and 2 of the mode).
    pub fn exception_level(&self) -> Option<u8> {
        self.pstate.map(|pstate| (pstate >> 2 & 3) as u8)
    }

    /// The frame pointer, X29.
    pub(super) fn fp(&self) -> Option<u64> {
        self.general.get(29).copied().flatten()
    }

    /// Forgets general registers of these names.
    pub(super) fn forget(&mut self, names: &[&str]) {
        for (number, value) in self.general.iter_mut().enumerate() {
            value.take_if(|_| names.contains(&format!("x{number}").as_str()));
        }
    }

    pub(super) fn privilege(&self) -> Option<Privilege> {
        Some(match self.exception_level()? {
            0 => Privilege::User,
            1 => Privilege::Kernel,
            2 => Privilege::Hypervisor,
            _ => Privilege::Firmware,
        })
    }
}

/// The architecture.
#[derive(Debug)]
pub struct Arm64;

impl Arch for Arm64 {
    fn name(&self) -> &'static str {
        "arm64"
    }

    fn level_name(&self) -> &'static str {
        "EL"
    }

    fn table(&self, _: Width, scope: Scope, _: &[&super::Registers]) -> Table {
        table::table(scope)
    }

    fn triple_name(&self, _: Width) -> &'static str {
        "aarch64"
    }

    fn elf_machine(&self, _: Width) -> u16 {
        183
    }

    fn only_width(&self) -> Option<Width> {
        Some(Width::Bits64)
    }

    fn assumed_paging(&self) -> Option<Found<PagingMode>> {
        None
    }

    fn registers_at(&self, pc: u64) -> super::Registers {
        super::Registers::Arm64(Box::new(Registers { pc: Some(pc), ..Registers::default() }))
    }
}
