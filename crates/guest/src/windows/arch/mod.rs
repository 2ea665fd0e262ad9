//! What a kind of processor is to Windows: one folder for each.

mod x86;

pub(in crate::windows) use x86::cpus;
pub(in crate::windows) use x86::hints;
pub(in crate::windows) use x86::roots;
pub(in crate::windows) use x86::unwind;
