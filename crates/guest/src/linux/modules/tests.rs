//! A 32-bit kernel's memory, with a direct map and what else is mapped.

use std::sync::Arc;

use vmss2core_machine::Checkpoint;
use vmss2core_machine::paging::Root;
use vmss2core_machine::x86::modes;
use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory};

use crate::linux::{BetterSources, Kernel};
use crate::{Facts, KernelText, LinuxFacts};

pub(super) const DIRECT: u64 = 0xc000_0000;
const RAM: u64 = 8 << 20;
const ROOT: u64 = 0x1000;
/// The page table of all that is not in the direct map.
const TABLE: u64 = 0x2000;
const TEXT: u64 = 0x10_0000;

/// Physical memory, by its addresses.
pub(super) struct Memory(Vec<u8>);

impl Memory {
    pub(super) fn new() -> Self {
        let mut memory = Self(vec![0; usize::try_from(RAM).unwrap()]);
        for index in 0..2 {
            memory.set(ROOT + 4 * (768 + index), index << 22 | 0x83);
        }
        memory
    }

    pub(super) fn set(&mut self, at: u64, value: u64) {
        self.put(at, &u32::try_from(value).unwrap().to_le_bytes());
    }

    pub(super) fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap();
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Maps pages of memory at an address; all such are in one page table.
    pub(super) fn map(&mut self, gva: u64, gpa: u64, pages: u64) {
        self.set(ROOT + 4 * (gva >> 22), TABLE | 3);
        for page in 0..pages {
            let entry = ((gva >> 12) + page) & 0x3ff;
            self.set(TABLE + 4 * entry, (gpa + (page << 12)) | 3);
        }
    }

    pub(super) fn with<T>(self, ask: impl FnOnce(&Kernel) -> T) -> T {
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0), RAM, Arc::new(self.0), 0).unwrap();
        let checkpoint = Checkpoint { memory, ..Checkpoint::default() };
        let text = KernelText { start: Gva(DIRECT + TEXT), gpa: Gpa(TEXT), len: 0x1_0000 };
        let linux = LinuxFacts {
            text: Some(Found::new(text, "test")),
            direct_map: Some(Found::new(Gva(DIRECT), "test")),
            kernel_root: Some(Found::new((modes::TWO_LEVEL_PSE, Root(Gpa(ROOT))), "test")),
            ..LinuxFacts::default()
        };
        let facts = Facts::of(linux, "made");
        ask(&Kernel::open(&checkpoint, &facts, BetterSources::default()).unwrap())
    }
}
