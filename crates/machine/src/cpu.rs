//! One virtual processor.

use crate::arch::Registers;

/// One virtual processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vcpu {
    /// Number of the processor in the checkpoint, from 0.
    pub index: u32,
    /// Whether it sat in a halt instruction.
    pub halted: Option<bool>,
    /// Its registers.
    pub registers: Registers,
}
