//! What x86 is to macOS: page tables.

pub(in crate::macos) mod roots;
