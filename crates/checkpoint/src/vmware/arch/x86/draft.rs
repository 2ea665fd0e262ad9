//! One processor's registers while they are collected, and what they add up to.

use std::collections::BTreeMap;

use super::fpu::FpuTags;
use super::gpregs;
use super::registers::{Form, Register};

/// Values that were read for one processor.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) registers: BTreeMap<Register, (Form, u64)>,
    /// The general registers block as it lies in the file.
    pub(super) general: Option<[u64; 16]>,
    pub(super) fpu: FpuTags,
}

impl Draft {
    pub(super) fn get(&self, register: Register) -> Option<u64> {
        self.registers.get(&register).map(|(_, value)| *value)
    }

    /// Takes a block of the general registers; `None` if it is not one.
    pub(super) fn take_general(&mut self, bytes: &[u8]) -> Option<()> {
        let (words, _) = bytes.as_chunks();
        let words = words.first_chunk().filter(|_| bytes.len() == 128)?;
        self.general.get_or_insert(words.map(u64::from_le_bytes));
        Some(())
    }

    /// Whether the block has `rbp` before `rsp`.
    pub(super) fn general_is_swapped(&self) -> bool {
        let Some([_, _, _, _, fourth, fifth, ..]) = self.general else { return false };
        let rsp = self.full(Register::General(gpregs::RSP));
        let rbp = self.full(Register::General(gpregs::RBP));
        gpregs::is_swapped([fourth, fifth], rsp, rbp)
    }

    /// A register's value, unless only its low half is known.
    fn full(&self, register: Register) -> Option<u64> {
        self.registers.get(&register).filter(|(form, _)| *form != Form::LowHalf).map(|(_, v)| *v)
    }
}
