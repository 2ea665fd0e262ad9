//! x86, 32- and 64-bit.

pub(in crate::linux) mod cpus;
pub(in crate::linux) mod crash_notes;
pub(in crate::linux) mod current;
pub(in crate::linux) mod directory;
pub(in crate::linux) mod frames;
pub(in crate::linux) mod gate;
pub(in crate::linux) mod image;
pub(in crate::linux) mod learn_tls;
pub(in crate::linux) mod memory_map;
pub(in crate::linux) mod pte;
pub(in crate::linux) mod registers;
pub(in crate::linux) mod unwind;
pub(in crate::linux) mod vmcoreinfo;
