//! Page tables: translate one address, or list all that is mapped.
//!
//! Modes are data that the folders of processors below `arch` hold; what an entry says
//! is decoded there too. The tables come from a guest and may be hostile: a walk is
//! bounded in depth, time and memory, and says what it left out.
//!
//! Not modelled: nested paging, and memory encryption bits (an encrypted guest's memory
//! is of no use to a debugger).

use std::fmt;

use thiserror::Error;
use vmss2core_mem::{Found, Gpa, Gva, MemoryError, PhysicalMemory};

mod entries;
pub(crate) mod level;
pub(crate) mod mode;
mod space;
#[cfg(test)]
pub(crate) mod tests;
mod walk;

pub use entries::{Part, PartState, Visits};
pub use mode::PagingMode;
pub use space::{AddressSpace, Translation, read_pages};
pub use walk::{Leaf, Leaves, Limits, WalkSummary};

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

    /// The address space that the processor sees.
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

/// Rights that page tables give to an address.
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

/// Why a virtual address could not be read. `level` counts from the page, whose
/// table is 1.
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
