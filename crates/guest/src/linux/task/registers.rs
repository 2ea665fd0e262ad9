//! The registers of a thread, whatever its processor.

use vmss2core_machine::Registers;
use vmss2core_mem::Problem;

use crate::linux::TlsSegment;

/// The state of one thread.
#[derive(Clone, Debug)]
pub struct ThreadRegisters {
    /// Its registers as user mode sees them, floating point and vector registers among
    /// them. Of segments it has selectors, and the bases that programs use.
    pub registers: Registers,
    /// Where they were found: `vCPU 1`, or where on its stack.
    pub how: String,
    /// It was executing 32-bit code.
    pub is_32_bit_code: bool,
    /// Segments for thread-local storage that are in use.
    pub tls: Vec<TlsSegment>,
    /// Registers whose values cannot be relied on.
    pub unreliable: Vec<&'static str>,
    /// Missing parts, and which registers are doubtful and why.
    pub problems: Vec<Problem>,
}
