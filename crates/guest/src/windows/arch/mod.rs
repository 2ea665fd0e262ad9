//! Windows on a kind of processor: one folder for each.

mod x86;

pub(in crate::windows) use x86::cpus;
pub(in crate::windows) use x86::hints;
pub(in crate::windows) use x86::roots;
pub(in crate::windows) use x86::unwind;
