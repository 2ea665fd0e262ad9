//! x86.

pub(in crate::windbg) mod context;
