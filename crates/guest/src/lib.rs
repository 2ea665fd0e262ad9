//! What runs inside a guest: its page tables and its operating system.
//!
//! [`analyse`] looks at a [`Checkpoint`] and returns [`Facts`], each with how it
//! was found. [`paging`] walks x86 page tables. This crate reads only
//! `vmss2core_mem` types: it does not know checkpoint formats or debugger files.

#![forbid(unsafe_code)]

use vmss2core_mem::Checkpoint;

mod facts;
pub mod paging;

pub use facts::{Facts, Found, KernelText, LinuxFacts, OperatingSystem, VcpuFacts, VmcoreInfo};

/// Finds out what can be known about the guest. Best effort: what could not be
/// found is `None`, and `problems` says why where that is of use.
pub fn analyse(checkpoint: &Checkpoint) -> Facts {
    let _ = checkpoint;
    Facts::default()
}
