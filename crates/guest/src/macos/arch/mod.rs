//! macOS on a kind of processor: one folder for each.

mod x86;

pub(in crate::macos) use x86::addresses;
pub(in crate::macos) use x86::roots;
