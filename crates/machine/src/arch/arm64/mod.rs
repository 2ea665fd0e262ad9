//! 64-bit Arm.

use super::Privilege;

/// Registers of a 64-bit Arm processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Processor state: flags, exception level.
    pub pstate: Option<u64>,
    /// Translation table base of the kernel half.
    pub ttbr1_el1: Option<u64>,
}

impl Registers {
    /// The exception level (Arm ARM C5.2.19, SPSR: bits 3 and 2 of the mode).
    pub fn exception_level(&self) -> Option<u8> {
        self.pstate.map(|pstate| (pstate >> 2 & 3) as u8)
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
