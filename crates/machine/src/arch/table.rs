//! Tables of registers: which there are, in which order, and how each is taken from a
//! processor. One table feeds what debuggers are told, what is printed and what is written.

use super::{Getter, Registers};

/// How wide the code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Real mode.
    Bits16,
    /// Protected mode, or virtual-8086 mode.
    Bits32,
    /// 64-bit code.
    Bits64,
}

/// Whose registers a table is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Processors, with the registers that only a kernel sees.
    Processors,
    /// Threads of programs.
    Programs,
}

/// One register.
#[derive(Clone, Debug)]
pub struct RegisterDef {
    /// Its name.
    pub name: String,
    /// Its size in bits, a multiple of 8 up to 128.
    pub bits: u32,
    /// Its type, as gdb names types.
    pub kind: &'static str,
    /// The group that it is shown in, apart from its type's.
    pub group: Option<&'static str>,
    /// The program counter, the stack pointer or the frame pointer: what a debugger asks
    /// for first.
    pub is_first: bool,
    /// Its place among the registers of a thread in cores of Linux, counted in words.
    pub slot: Option<usize>,
    pub(crate) getter: Getter,
    pub(crate) index: usize,
}

impl RegisterDef {
    /// Its value; `None` if it is not known, or of another architecture.
    pub fn value(&self, registers: &Registers) -> Option<u128> {
        self.getter.get(registers, self.index)
    }

    /// Its bytes, as many as it is wide.
    pub fn bytes(&self, registers: &Registers) -> Option<Vec<u8>> {
        let mut bytes = self.value(registers)?.to_le_bytes().to_vec();
        bytes.truncate(self.len_bytes());
        Some(bytes)
    }

    /// Its size.
    pub fn len_bytes(&self) -> usize {
        // At most 16.
        usize::try_from(self.bits / 8).unwrap_or(0)
    }
}

/// Registers that belong together: a feature of a target description, as gdb calls it.
#[derive(Clone, Debug)]
pub struct Feature {
    /// The name by which gdb knows it.
    pub name: &'static str,
    /// Types that its registers need, as gdb's XML has them.
    pub types: String,
    /// Its registers, never none.
    pub registers: Vec<RegisterDef>,
}

/// The registers of all processors of a machine, or of all threads of a program.
#[derive(Clone, Debug)]
pub struct Table {
    /// gdb's name for the architecture.
    pub architecture: &'static str,
    /// How wide the code is.
    pub width: Width,
    /// gdb's name for the system whose programs these are of.
    pub system: Option<&'static str>,
    /// In the order of the registers' numbers.
    pub features: Vec<Feature>,
}

impl Table {
    /// The registers of a thread as cores of Linux have them (`user_regs_struct`); those
    /// that are not known are 0.
    pub fn user_registers(&self, registers: &Registers) -> Vec<u8> {
        let word_len = if self.width == Width::Bits64 { 8 } else { 4 };
        let mut words: Vec<(usize, [u8; 16])> = self
            .registers()
            .filter_map(|def| Some((def.slot?, def.value(registers).unwrap_or(0).to_le_bytes())))
            .collect();
        words.sort_by_key(|(slot, _)| *slot);
        words.iter().flat_map(|(_, bytes)| bytes.iter().take(word_len)).copied().collect()
    }

    /// The registers in the order of their numbers.
    pub fn registers(&self) -> impl Iterator<Item = &RegisterDef> {
        self.features.iter().flat_map(|feature| &feature.registers)
    }
}
