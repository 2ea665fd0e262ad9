//! Windows on x86: its processors and their registers, page tables, and how stacks
//! are unwound.

pub(in crate::windows) mod cpus;
pub(in crate::windows) mod hints;
mod registers;
pub(in crate::windows) mod roots;
pub(in crate::windows) mod stack;
pub(in crate::windows) mod unwind;
