//! A tiny reader of kdump-compressed files: which pages there are.
//!
//! Source: makedumpfile's description of the format. Deliberately not the
//! product's structures.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::elf::number;

const BLOCK: u64 = 4096;

/// Which pages a file has.
#[derive(PartialEq, Eq)]
pub struct Pages {
    /// Bit by bit, those that the machine had.
    pub present: Vec<u8>,
    /// Bit by bit, those that are in the file.
    pub stored: Vec<u8>,
}

impl Pages {
    pub fn of(path: &Path, is_64_bit: bool) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut head = [0; 512];
        file.read_exact_at(&mut head, 0)?;
        ensure!(head.starts_with(b"KDUMP   "), "not a kdump file: {}", path.display());
        let counts = if is_64_bit { 424 } else { 412 };
        let sub_blocks = number(&head, counts + 8, 4)?;
        let bitmap_blocks = number(&head, counts + 12, 4)?;
        let len = usize::try_from(bitmap_blocks / 2 * BLOCK)?;
        let (mut present, mut stored) = (vec![0; len], vec![0; len]);
        let start = (1 + sub_blocks) * BLOCK;
        file.read_exact_at(&mut present, start)?;
        file.read_exact_at(&mut stored, start + bitmap_blocks / 2 * BLOCK)?;
        Ok(Self { present, stored })
    }

    pub fn stored_count(&self) -> u32 {
        self.stored.iter().map(|byte| byte.count_ones()).sum()
    }

    pub fn present_count(&self) -> u32 {
        self.present.iter().map(|byte| byte.count_ones()).sum()
    }

    /// The pages that are in this file but not in the other.
    pub fn not_in(&self, other: &Self) -> Vec<u64> {
        let pairs = (0_u64..).zip(self.stored.iter().zip(&other.stored));
        let differing = pairs.filter(|(_, (ours, theirs))| **ours & !**theirs != 0);
        differing
            .flat_map(|(byte, (ours, theirs))| {
                let bits = *ours & !*theirs;
                (0..8).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| byte * 8 + bit)
            })
            .collect()
    }
}
