//! Processors: one folder for each architecture.

use vmss2core_mem::PhysicalMemory;

use crate::paging::{Paging, PagingError};

pub mod arm64;
pub mod x86;

/// Registers by architecture. Each register is an `Option`: a source that lacks it
/// says `None`, so that a writer can tell "zero" from "not known".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Registers {
    /// A 32- or 64-bit x86 processor.
    X86(Box<x86::Registers>),
    /// A 64-bit Arm processor.
    Arm64(Box<arm64::Registers>),
}

/// What kind of code a processor executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Privilege {
    /// A program.
    User,
    /// A kernel.
    Kernel,
    /// A hypervisor.
    Hypervisor,
    /// Firmware.
    Firmware,
}

impl Registers {
    /// Name of the architecture.
    pub fn architecture(&self) -> &'static str {
        match self {
            Self::X86(_) => "x86",
            Self::Arm64(_) => "arm64",
        }
    }

    /// How the processor translates addresses. `memory` is read only if registers are
    /// missing.
    pub fn paging(&self, memory: &PhysicalMemory) -> Result<Paging, PagingError> {
        match self {
            Self::X86(x86) => x86::paging_of(memory, x86),
            Self::Arm64(_) => Err(PagingError::UnknownArchitecture(self.architecture())),
        }
    }

    /// What kind of code the processor executes.
    pub fn privilege(&self) -> Option<Privilege> {
        match self {
            Self::X86(x86) => x86.privilege(),
            Self::Arm64(arm64) => arm64.privilege(),
        }
    }

    /// What the architecture calls a privilege level.
    pub fn level_name(&self) -> &'static str {
        match self {
            Self::X86(_) => "ring",
            Self::Arm64(_) => "EL",
        }
    }

    /// The privilege level as the architecture numbers it: rings of x86, exception
    /// levels of Arm.
    pub fn level(&self) -> Option<u8> {
        match self {
            Self::X86(x86) => x86.ring(),
            Self::Arm64(arm64) => arm64.exception_level(),
        }
    }
}
