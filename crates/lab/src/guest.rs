//! A stopped guest: its RAM, its registers, and what it said about itself.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

pub use crate::make::{guest as make, guest_with_vmlinux as make_with_vmlinux};
use crate::registers::CpuRegisters;
use crate::system::AFTER;
use crate::truth::Truth;

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

    /// What the guest said of itself.
    pub fn truth(&self) -> Result<Truth> {
        Truth::load(&self.dir.join("truth"))
    }

    /// QEMU's own dump (`dump-guest-memory`) of the registers, with one page of
    /// memory. Guests that were kept before it was made have none.
    pub fn qemu_dump(&self) -> PathBuf {
        self.dir.join(crate::qemu::DUMP)
    }

    /// What a guest with a disk said again after it had been stopped: what both
    /// say alike was so when it stopped.
    pub fn truth_after(&self) -> Result<Truth> {
        Truth::load(&self.dir.join(AFTER))
    }

    /// The root file system of a guest with a disk.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// A program of the lab, or a library that `mt` uses, as it ran in the guest.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join("programs").join(name)
    }

    /// That what was kept fits together: memory of the right size that holds the
    /// banner which the guest printed, and a truth that came to its end.
    pub fn check(&self) -> Result<()> {
        let length = fs::metadata(&self.ram)?.len();
        ensure!(length == self.ram_bytes, "{length} bytes of memory, not {}", self.ram_bytes);
        let truth = self.truth()?;
        let banner = truth.text("version")?.trim_end();
        ensure!(self.holds(banner.as_bytes())?, "memory has no banner: {banner}");
        Ok(())
    }

    /// Whether these bytes lie anywhere in memory.
    fn holds(&self, wanted: &[u8]) -> Result<bool> {
        const CHUNK: u64 = 1 << 20;
        let file = File::open(&self.ram)?;
        let (mut window, mut end) = (Vec::new(), 0);
        // Holes have nothing to find, and there are gigabytes of them.
        while let Some(start) = next_data(&file, end)? {
            if start > end {
                window.clear();
            }
            end = start + CHUNK;
            (&file).seek(SeekFrom::Start(start))?;
            (&file).take(CHUNK).read_to_end(&mut window)?;
            if memchr::memmem::find(&window, wanted).is_some() {
                return Ok(true);
            }
            // What spans two chunks is found because the end of one stays.
            window.drain(..window.len().saturating_sub(wanted.len()));
        }
        Ok(false)
    }
}

/// The first offset from `offset` on where the file has no hole.
pub(crate) fn next_data(file: &File, offset: u64) -> Result<Option<u64>> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
        Ok(start) => Ok(Some(start)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error).context("looking for data in the memory file"),
    }
}
