//! Traces of each kind of processor in memory, by which an image is known: one folder for
//! each.

use vmss2core_machine::Arch;

mod x86;

pub(super) use x86::WANTED;
pub(super) use x86::signs::is_memory;
pub(super) use x86::tables::survey;

/// The architecture whose traces these are.
pub(super) static ARCH: &dyn Arch = &vmss2core_machine::x86::X86;
