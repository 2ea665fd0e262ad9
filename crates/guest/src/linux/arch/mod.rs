//! Kinds of processors under Linux: one folder for each. What is asked here takes the
//! registers of any, and has no answer for those of which nothing is known.

mod x86;

pub(in crate::linux) use x86::cpus;
pub(in crate::linux) use x86::current::{descriptor_table, entry_stacks, percpu_bases};
pub(in crate::linux) use x86::directory::Directory;
pub(in crate::linux) use x86::frames::{FRAMES_32, FRAMES_64};
pub(in crate::linux) use x86::gate;
pub(in crate::linux) use x86::image;
pub(in crate::linux) use x86::learn_tls::learn_tls;
pub(in crate::linux) use x86::memory_map::{
    kernel_half, module_area, root_alignment, user_limit, vmemmap,
};
pub(in crate::linux) use x86::pte;
pub(in crate::linux) use x86::registers;
pub(in crate::linux) use x86::unwind;
pub(in crate::linux) use x86::vmcoreinfo::vmcoreinfo_lines;
