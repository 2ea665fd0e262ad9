//! Where the bytes of a mapping or a file are.

use std::fmt;

use vmss2core_mem::{Gpa, Gva, PAGE_SIZE};

use super::swap::Swapped;
use crate::linux::Kernel;

/// A part of a mapping whose bytes all come from one kind of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First address.
    pub gva: Gva,
    /// Length in bytes, a multiple of the page size and never 0.
    pub len_bytes: u64,
    /// Where the bytes are.
    pub content: Content,
}

/// A part of a file whose bytes all come from one kind of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRun {
    /// Offset in the file.
    pub offset_bytes: u64,
    /// Length in bytes, never 0; the last run of a file ends with the file.
    pub len_bytes: u64,
    /// Where the bytes are.
    pub content: Content,
}

/// Where bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// In physical memory, from this address on; the checkpoint holds all of it.
    Memory(Gpa),
    /// Never touched: zeroes.
    Zero,
    /// Not mapped by the process, but the guest's cache of the file has it: in
    /// physical memory, from this address on.
    PageCache(Gpa),
    /// On a swap device of the guest that is in memory, compressed (zram):
    /// [`Kernel::read_content`] makes the bytes.
    Compressed {
        /// Number of the swap area.
        area: u8,
        /// Number of the first page in it.
        page: u64,
    },
    /// On a swap device of the guest.
    Swapped {
        /// Number of the swap area.
        area: u8,
        /// Number of the first page in it.
        page: u64,
    },
    /// Nowhere in the checkpoint.
    Missing(Missing),
}

impl Content {
    /// Whether the checkpoint has the bytes.
    pub fn is_there(self) -> bool {
        match self {
            Self::Memory(_) | Self::Zero | Self::PageCache(_) | Self::Compressed { .. } => true,
            Self::Swapped { .. } | Self::Missing(_) => false,
        }
    }
}

impl Kernel {
    /// The path of the file or of the device that a swap area is, in the guest.
    pub fn swap_place(&self, area: u8) -> Option<String> {
        self.swap_areas().path(area).map(str::to_owned)
    }

    /// Fills `buf` with what a run holds, `skip` bytes into it; else says why not.
    pub fn read_content(&self, content: Content, skip: u64, buf: &mut [u8]) -> Result<(), String> {
        match content {
            Content::Zero => buf.fill(0),
            Content::Memory(gpa) | Content::PageCache(gpa) => {
                let gpa = gpa.checked_add(skip).unwrap_or(gpa);
                self.memory().read(gpa, buf).map_err(|error| error.to_string())?;
            }
            Content::Compressed { area, page } => self.read_compressed((area, page), skip, buf)?,
            Content::Swapped { area, page } => {
                let page = page.wrapping_add(skip / PAGE_SIZE);
                return Err(match self.swap_areas().page(self, area, page) {
                    Swapped::Lost(why) => why,
                    _ => format!("swapped out to {}", self.swap_areas().place(area)),
                });
            }
            Content::Missing(why) => return Err(why.to_string()),
        }
        Ok(())
    }
}

/// Why bytes are nowhere in the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Missing {
    /// Not read from the file yet, or dropped again: it is still in the file.
    NotCached,
    /// After the end of the file: the process would get a SIGBUS.
    BehindTheFile,
    /// Mapped to physical addresses that the checkpoint does not hold: a device,
    /// or a missing part.
    OutsideMemory,
    /// Not given to the process yet by the kernel or the device that it is of.
    NotMapped,
    /// A page table on the way is not in the checkpoint, or makes no sense.
    Table,
    /// The file's cache cannot be read.
    Cache,
    /// On its way between two places, broken, or on a device of its own.
    Special,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotCached => "not in the guest's page cache",
            Self::BehindTheFile => "after the end of the file",
            Self::OutsideMemory => "physical memory that is not in the checkpoint",
            Self::NotMapped => {
                "never touched, so that the kernel has not given it to the process yet"
            }
            Self::Table => "its page table is not in the checkpoint or makes no sense",
            Self::Cache => "the page cache of its file cannot be read",
            Self::Special => "a page that was being moved, is broken or is of a device",
        })
    }
}

/// How many bytes of a mapping, a process or a file are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In memory and mapped.
    pub present: u64,
    /// Never touched.
    pub zero: u64,
    /// Taken from the page cache.
    pub page_cache: u64,
    /// Swapped out to memory, compressed.
    pub compressed: u64,
    /// Swapped out.
    pub swapped: u64,
    /// Nowhere.
    pub missing: u64,
}

impl Counts {
    /// Adds so many bytes of this kind.
    pub fn count(&mut self, content: Content, len_bytes: u64) {
        let counter = match content {
            Content::Memory(_) => &mut self.present,
            Content::Zero => &mut self.zero,
            Content::PageCache(_) => &mut self.page_cache,
            Content::Compressed { .. } => &mut self.compressed,
            Content::Swapped { .. } => &mut self.swapped,
            Content::Missing(_) => &mut self.missing,
        };
        *counter = counter.saturating_add(len_bytes);
    }

    /// Bytes whose content the checkpoint does not have.
    pub fn unavailable(&self) -> u64 {
        self.swapped.saturating_add(self.missing)
    }
}

impl Counts {
    /// Counts those of another mapping too.
    pub fn add(&mut self, other: Self) {
        self.present = self.present.saturating_add(other.present);
        self.zero = self.zero.saturating_add(other.zero);
        self.page_cache = self.page_cache.saturating_add(other.page_cache);
        self.compressed = self.compressed.saturating_add(other.compressed);
        self.swapped = self.swapped.saturating_add(other.swapped);
        self.missing = self.missing.saturating_add(other.missing);
    }
}
