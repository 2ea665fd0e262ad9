//! Page tables: translate one address, or list all that is mapped.
//!
//! Layouts are those of the Intel SDM, volume 3A, chapter 4 ("Paging"): 32-bit
//! two-level tables with PSE and PSE-36, PAE, four and five levels with 2 MiB
//! and 1 GiB pages. The tables come from a guest and may be hostile: a walk is
//! bounded in depth, time and memory, and says what it left out.
//!
//! Not modelled: protection keys, shadow stacks, nested paging, and memory
//! encryption bits (an encrypted guest's memory is of no use to a debugger).

use std::fmt;

use thiserror::Error;
use vmss2core_mem::{Found, Gpa, Gva, MemoryError, PhysicalMemory, low_bits};

use crate::arch::x86::level::{ADDRESS, levels};

mod entries;
pub(crate) mod level;
mod space;
#[cfg(test)]
pub(crate) mod tests;
mod walk;

pub use entries::{Part, PartState, Visits};
pub use space::{AddressSpace, Translation, read_pages};
pub use walk::{Leaf, Leaves, Limits, WalkSummary};

/// How virtual addresses become physical ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PagingMode {
    /// Paging off: virtual is physical, below 4 GiB.
    Identity,
    /// 32-bit, two levels; 4 MiB pages if `large_pages` (CR4.PSE).
    TwoLevel {
        /// CR4.PSE.
        large_pages: bool,
    },
    /// 32-bit with 64-bit entries, three levels.
    Pae,
    /// 64-bit, four levels.
    FourLevel,
    /// 64-bit, five levels.
    FiveLevel,
}

impl PagingMode {
    /// Whether virtual addresses have 64 bits.
    pub fn is_64_bit(self) -> bool {
        matches!(self, Self::FourLevel | Self::FiveLevel)
    }

    /// Whether the mode can hold this address: below 4 GiB, or canonical.
    pub fn is_canonical(self, gva: Gva) -> bool {
        match self {
            Self::Identity | Self::TwoLevel { .. } | Self::Pae => gva.0 >> 32 == 0,
            Self::FourLevel => sign_extend(gva.0, 48) == gva.0,
            Self::FiveLevel => sign_extend(gva.0, 57) == gva.0,
        }
    }

    /// Bytes of an entry of the lowest table; 0 if paging is off.
    pub fn entry_len(self) -> u8 {
        levels(self).last().map_or(0, |level| level.entry_len)
    }

    /// The root of the page tables in a CR3 of this mode. What is not address
    /// is dropped: PCID or cache bits, the LAM bits, the no-flush bit.
    pub fn root_of(self, cr3: u64) -> Root {
        let mask = match self {
            Self::Identity => 0,
            Self::TwoLevel { .. } => 0xffff_f000,
            Self::Pae => 0xffff_ffe0,
            Self::FourLevel | Self::FiveLevel => ADDRESS,
        };
        Root(Gpa(cr3 & mask))
    }
}

impl fmt::Display for PagingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "paging off",
            Self::TwoLevel { .. } => "32-bit, 2 levels",
            Self::Pae => "32-bit PAE, 3 levels",
            Self::FourLevel => "64-bit, 4 levels",
            Self::FiveLevel => "64-bit, 5 levels",
        })
    }
}

/// Physical address of the topmost page table, flag bits removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Root(pub Gpa);

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a processor translates addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    /// The mode, and which registers say so.
    pub mode: Found<PagingMode>,
    /// Root of its page tables.
    pub root: Root,
    /// Whether entries can forbid execution, if that is known.
    pub no_execute: Option<bool>,
}

impl Paging {
    /// Whether entries can forbid execution; assumed if that is not known.
    pub fn forbids_execution(&self) -> bool {
        self.no_execute.unwrap_or(true)
    }

    /// What the processor sees.
    pub fn address_space(&self, memory: &PhysicalMemory) -> AddressSpace {
        AddressSpace::new(memory, self.mode.value, self.root)
            .with_no_execute(self.forbids_execution())
    }
}

/// Why it is not known how a processor translates addresses.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PagingError {
    /// A register that the mode cannot be inferred without is missing.
    #[error("the checkpoint does not have this register of the vCPU: {0}")]
    Missing(&'static str),
    /// Page tables of this architecture cannot be read.
    #[error("page tables of {0} processors cannot be read")]
    UnknownArchitecture(&'static str),
}

/// What the page tables allow at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permissions {
    /// Writable at every level.
    pub write: bool,
    /// Open to user mode at every level.
    pub user: bool,
    /// Not marked no-execute at any level.
    pub execute: bool,
}

impl Permissions {
    /// Everything allowed: where a walk starts, and all there is without paging.
    pub const ALL: Self = Self { write: true, user: true, execute: true };

    fn and(self, other: Self) -> Self {
        Self {
            write: self.write && other.write,
            user: self.user && other.user,
            execute: self.execute && other.execute,
        }
    }
}

/// Why a virtual address could not be read. `level` counts from the page (1:
/// page table, 4: PML4, 5: PML5).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AccessError {
    /// No address of this paging mode.
    #[error("virtual address {gva} is not an address in this paging mode ({mode})")]
    NonCanonical {
        /// The address.
        gva: Gva,
        /// The mode.
        mode: PagingMode,
    },
    /// An entry on the way is not present.
    #[error("virtual address {gva} is not mapped: entry at level {level} is {entry:#x}")]
    NotMapped {
        /// The address.
        gva: Gva,
        /// Level of the entry.
        level: u8,
        /// The entry.
        entry: u64,
    },
    /// An entry on the way has a reserved bit set.
    #[error("virtual address {gva} is not mapped: reserved bit in level {level} entry: {entry:#x}")]
    Reserved {
        /// The address.
        gva: Gva,
        /// Level of the entry.
        level: u8,
        /// The entry.
        entry: u64,
    },
    /// A page table on the way could not be read.
    #[error("translating virtual address {gva}: level {level} table")]
    Table {
        /// The address.
        gva: Gva,
        /// Level of the table.
        level: u8,
        /// Why it could not be read.
        source: MemoryError,
    },
    /// The page itself could not be read.
    #[error("reading virtual address {gva}")]
    Page {
        /// The address.
        gva: Gva,
        /// Why it could not be read.
        source: MemoryError,
    },
}

/// Copies bit `bits - 1` into all bits above it.
fn sign_extend(value: u64, bits: u32) -> u64 {
    let low = value & low_bits(bits);
    let is_negative = low > low_bits(bits.saturating_sub(1));
    if is_negative { low | !low_bits(bits) } else { low }
}
