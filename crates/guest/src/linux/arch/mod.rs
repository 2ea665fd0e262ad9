//! What a kind of processor is to Linux: one folder for each.

pub(in crate::linux) mod x86;
