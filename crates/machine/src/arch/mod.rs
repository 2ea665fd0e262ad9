//! Processors: one folder for each architecture.
//!
//! To add one: a folder here with `Registers` (each an `Option`), its `table` of registers
//! with their places in cores, its paging modes (levels, each with a decoder of entries)
//! and its [`Arch`]; a variant of [`Registers`] and a line in [`ARCHES`]. Then what it is to
//! the layers above, each of which has a list in an `arch/mod.rs`.

use vmss2core_mem::{Found, Gva, PhysicalMemory};

use crate::paging::{Paging, PagingError, PagingMode};

pub mod arm64;
mod table;
pub mod x86;

pub use table::{Feature, RegisterDef, Scope, Table, Width};

/// A kind of processor.
pub trait Arch: Sync + std::fmt::Debug {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Its name for a privilege level.
    fn level_name(&self) -> &'static str;

    /// The registers that processors or threads like `examples` have.
    fn table(&self, width: Width, scope: Scope, examples: &[&Registers]) -> Table;

    /// The first part of a target triple for code of this width.
    fn triple_name(&self, width: Width) -> &'static str;

    /// The number that ELF has for code of this width.
    fn elf_machine(&self, width: Width) -> u16;

    /// The width of all its code, if there is but one.
    fn only_width(&self) -> Option<Width>;

    /// How its page tables are taken to be where nothing tells, and that in words.
    fn assumed_paging(&self) -> Option<Found<PagingMode>>;

    /// Registers of which only the program counter is known.
    fn registers_at(&self, pc: u64) -> Registers;
}

impl PartialEq for dyn Arch + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

/// All architectures.
pub static ARCHES: &[&dyn Arch] = &[&x86::X86, &arm64::Arm64];

/// The architecture to assume where nothing tells.
pub static ASSUMED: &dyn Arch = &x86::X86;

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

/// How a register is taken from a processor; the number tells alike registers apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Getter {
    X86(fn(&x86::Registers, usize) -> Option<u128>),
    Arm64(fn(&arm64::Registers, usize) -> Option<u64>),
}

impl Getter {
    fn get(self, registers: &Registers, index: usize) -> Option<u128> {
        match (self, registers) {
            (Self::X86(get), Registers::X86(x86)) => get(x86, index),
            (Self::Arm64(get), Registers::Arm64(arm64)) => get(arm64, index).map(u128::from),
            _ => None,
        }
    }
}

/// Kinds of code that a processor executes.
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
    /// The architecture.
    pub fn arch(&self) -> &'static dyn Arch {
        match self {
            Self::X86(_) => &x86::X86,
            Self::Arm64(_) => &arm64::Arm64,
        }
    }

    /// The program counter.
    pub fn pc(&self) -> Option<u64> {
        match self {
            Self::X86(x86) => x86.rip,
            Self::Arm64(arm64) => arm64.pc,
        }
    }

    /// These registers, with this program counter if none is known.
    #[must_use]
    pub fn or_pc(mut self, pc: u64) -> Self {
        match &mut self {
            Self::X86(x86) => x86.rip.get_or_insert(pc),
            Self::Arm64(arm64) => arm64.pc.get_or_insert(pc),
        };
        self
    }

    /// These registers in a system call of this number; -1 is none.
    #[must_use]
    pub fn with_system_call(mut self, number: u64) -> Self {
        match &mut self {
            Self::X86(x86) => x86.system_call = Some(number),
            // It is among the general registers.
            Self::Arm64(_) => {}
        }
        self
    }

    /// These registers with a value in a general register, by the number that instructions have
    /// for it.
    #[must_use]
    pub fn with_general(mut self, number: usize, value: u64) -> Self {
        let slot = match &mut self {
            Self::X86(x86) => x86.general.get_mut(number),
            Self::Arm64(arm64) => arm64.general.get_mut(number),
        };
        if let Some(slot) = slot {
            *slot = Some(value);
        }
        self
    }

    /// These registers without the general ones of these names.
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        match &mut self {
            Self::X86(x86) => x86.forget(names),
            Self::Arm64(arm64) => arm64.forget(names),
        }
        self
    }

    /// The program counter as an address in a paging mode; without one, as wide as it is.
    pub fn linear_pc(&self, mode: Option<PagingMode>) -> Option<Gva> {
        match self {
            Self::X86(x86) => x86.linear_pc(mode),
            Self::Arm64(arm64) => arm64.pc.map(Gva),
        }
    }

    /// The stack pointer.
    pub fn sp(&self) -> Option<u64> {
        match self {
            Self::X86(x86) => x86.gpr(x86::Gpr::Rsp),
            Self::Arm64(arm64) => arm64.sp,
        }
    }

    /// The frame pointer.
    pub fn fp(&self) -> Option<u64> {
        match self {
            Self::X86(x86) => x86.gpr(x86::Gpr::Rbp),
            Self::Arm64(arm64) => arm64.fp(),
        }
    }

    /// Where a thread has its block of variables.
    pub fn thread_pointer(&self, width: Width) -> Option<u64> {
        match self {
            Self::X86(x86) => x86.thread_pointer(width),
            Self::Arm64(arm64) => arm64.tpidr_el0,
        }
    }

    /// Registers that no table has, by name.
    pub fn others(&self) -> Vec<(String, u64)> {
        match self {
            Self::X86(x86) => x86.others(),
            Self::Arm64(_) => Vec::new(),
        }
    }

    /// Whether its floating point and vector registers are known.
    pub fn has_vectors(&self) -> bool {
        match self {
            Self::X86(x86) => x86.fpu.is_some(),
            Self::Arm64(_) => false,
        }
    }

    /// How wide code can be in the mode that the processor is in, if registers tell.
    pub fn width(&self) -> Option<Width> {
        match self {
            Self::X86(x86) => x86.width(),
            Self::Arm64(_) => self.arch().only_width(),
        }
    }

    /// How the processor translates addresses. `memory` is read only if registers are
    /// missing.
    pub fn paging(&self, memory: &PhysicalMemory) -> Result<Paging, PagingError> {
        match self {
            Self::X86(x86) => x86::paging_of(memory, x86),
            Self::Arm64(_) => Err(PagingError::UnknownArchitecture(self.arch().name())),
        }
    }

    /// The kind of code that the processor executes.
    pub fn privilege(&self) -> Option<Privilege> {
        match self {
            Self::X86(x86) => x86.privilege(),
            Self::Arm64(arm64) => arm64.privilege(),
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
