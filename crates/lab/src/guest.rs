//! A stopped guest: its RAM, its registers, and what it said about itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::registers::CpuRegisters;

/// The part of RAM below 4 GiB ends here; the rest goes on at [`ABOVE_4G`].
pub const BELOW_4G: u64 = 3 << 30;
/// Where RAM goes on above the hole for devices.
pub const ABOVE_4G: u64 = 4 << 30;

/// A guest that ran, was stopped, and was kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Guest {
    /// Name of its recipe.
    pub name: String,
    /// Folder in the cache that holds its files.
    pub dir: PathBuf,
    /// Its RAM: offset 0 is physical address 0, see [`Guest::memory_map`].
    pub ram: PathBuf,
    /// How much RAM it has.
    pub ram_bytes: u64,
    /// Its virtual processors.
    pub cpus: Vec<CpuRegisters>,
    /// Kernel with DWARF, where it was asked for.
    pub vmlinux: Option<PathBuf>,
    /// Whether its kernel is a 64-bit one.
    pub is_64_bit: bool,
}

/// A range of guest-physical memory and where it lies in the RAM file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// First guest-physical address.
    pub gpa: u64,
    /// Length in bytes.
    pub len: u64,
    /// Offset in the RAM file.
    pub file_offset: u64,
}

impl Guest {
    /// Where the RAM file's bytes lie in guest-physical memory: all of it from
    /// address 0 up to 3 GiB, what is left from 4 GiB on, as VMware lays it out.
    pub fn memory_map(&self) -> Vec<MemoryRange> {
        let low = self.ram_bytes.min(BELOW_4G);
        let mut ranges = vec![MemoryRange { gpa: 0, len: low, file_offset: 0 }];
        if self.ram_bytes > low {
            let len = self.ram_bytes - low;
            ranges.push(MemoryRange { gpa: ABOVE_4G, len, file_offset: low });
        }
        ranges
    }

    /// Reads what a former run kept in `dir`.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("guest.json");
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// What the guest wrote to its serial console.
    pub fn serial_log(&self) -> Result<String> {
        let path = self.dir.join("serial.log");
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
