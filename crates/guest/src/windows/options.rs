//! Statements that a user may make about a Windows guest.

use vmss2core_mem::Gva;

/// The facts that are given, and how hard to look for the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Build number, believed rather than the guest's.
    pub build: Option<u32>,
    /// Address of the debugger data block.
    pub kdbg: Option<Gva>,
    /// Where to look for the debugger data block.
    pub scan: ScanDepth,
}

/// Where to look for the debugger data block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScanDepth {
    /// In the kernel's data.
    #[default]
    Kernel,
    /// In all of memory, if it is not in the kernel's data.
    AllMemory,
}
