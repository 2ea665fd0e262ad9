//! Processors: one folder for each architecture.

pub mod arm64;
pub mod x86;

/// Registers by architecture. Each register is an `Option`: a source that lacks it
/// says `None`, so that a writer can tell "zero" from "not known".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Registers {
    /// A 32- or 64-bit x86 processor.
    X86(Box<x86::Registers>),
    /// A 64-bit Arm processor.
    Arm64(Box<arm64::Registers>),
}
