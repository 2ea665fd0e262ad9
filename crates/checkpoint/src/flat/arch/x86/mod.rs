//! Traces of x86 in memory: page tables, and a BIOS' interrupt vectors.

pub(in crate::flat) mod signs;
pub(in crate::flat) mod tables;

/// Without these it is not a guest's memory.
pub(in crate::flat) const WANTED: &str = "no x86 page tables, no BIOS interrupt vectors";
