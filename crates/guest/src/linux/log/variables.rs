//! The kernel's variables, for what only shows by what they hold.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use vmss2core_machine::paging::Limits;
use vmss2core_mem::{Gva, Sums, little_endian};

use crate::linux::{Kernel, arch};

/// The variables of a 32-bit kernel follow its code and constants.
const NEAR: u64 = 32 << 20;
/// Bytes of variables that are looked at, at most.
const MOST_BYTES: u64 = 64 << 20;

/// The kernel's variables.
pub(super) struct Variables {
    pub(super) word_len: u64,
    /// Addresses, and what is there.
    pub(super) pieces: Vec<(u64, Vec<u8>)>,
}

impl Variables {
    /// What of the image may be written to, of one that protects nothing all; for a 32-bit
    /// kernel, what follows its constants too.
    pub(super) fn of(kernel: &Kernel) -> Option<Self> {
        let text = kernel.linux().text.as_ref()?.value;
        let more = if kernel.linux().is_64_bit { 0 } else { NEAR };
        let end = text.start.0.saturating_add(text.len).saturating_add(more);
        let half = arch::kernel_half(kernel.space().mode());
        let range = text.start.0..end.min(half.end);
        let limits = Limits { visits_per_table: 8, tables: 1 << 12, runs: 1 << 12 };
        let mut runs = Vec::new();
        kernel.space().walk_range(range.clone(), &limits, &mut |leaf| {
            runs.push(leaf);
            ControlFlow::Continue(())
        });
        let is_protected = runs.iter().any(|run| !run.permissions.write);
        runs.retain(|run| run.permissions.write || !is_protected);
        let mut found = Self { word_len: kernel.word_len(), pieces: Vec::new() };
        let mut left = MOST_BYTES;
        for run in runs {
            let start = run.gva.0.max(range.start);
            let end = run.gva.0.saturating_add(run.len_bytes()).min(range.end);
            let len = end.saturating_sub(start).min(left);
            left = left.minus(len);
            let mut bytes = vec![0; usize::try_from(len).ok()?];
            if kernel.space().read(Gva(start), &mut bytes).is_ok() {
                found.add(start, bytes);
            }
        }
        Some(found)
    }

    /// Adds bytes, to those that they follow.
    fn add(&mut self, start: u64, bytes: Vec<u8>) {
        match self.pieces.last_mut() {
            Some((at, before)) if at.plus(before.len() as u64) == start => before.extend(bytes),
            _ => self.pieces.push((start, bytes)),
        }
    }

    /// All numbers of 4 bytes, piece by piece.
    pub(super) fn numbers(&self) -> impl Iterator<Item = Vec<u32>> {
        self.pieces.iter().map(|(_, bytes)| {
            let number = |bytes: &[u8]| u32::try_from(little_endian(bytes)).unwrap_or(0);
            bytes.chunks_exact(4).map(number).collect()
        })
    }

    /// All words that are alike pointers to the kernel's half, each once.
    pub(super) fn pointers(&self, lowest: u64) -> BTreeSet<u64> {
        self.words().filter(|word| *word >= lowest && word.is_multiple_of(4)).collect()
    }

    /// All words.
    pub(super) fn words(&self) -> impl Iterator<Item = u64> {
        let word_len = usize::try_from(self.word_len).unwrap_or(8);
        let words = self.pieces.iter().flat_map(move |(_, bytes)| bytes.chunks_exact(word_len));
        words.map(little_endian)
    }
}
