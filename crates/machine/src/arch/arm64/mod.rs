//! 64-bit Arm.

/// Registers of a 64-bit Arm processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Translation table base of the kernel half.
    pub ttbr1_el1: Option<u64>,
}
