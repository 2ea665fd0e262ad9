//! What a kind of processor is to macOS: one folder for each.

mod x86;

pub(in crate::macos) use x86::addresses;
pub(in crate::macos) use x86::roots;
