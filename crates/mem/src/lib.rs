//! Guest physical memory, and the vocabulary that every other crate shares.
//!
//! An input format fills a [`PhysicalMemory`] with segments; everything after that
//! reads it and never asks where the bytes came from. Nothing here parses a file
//! format, or knows a processor or a guest operating system.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

mod address;
mod cached;
mod found;
mod physical;
mod problem;
mod read_at;
mod setting;
mod sums;
pub mod text;
mod words;

pub use address::{Gpa, Gva, PAGE_SIZE, Pfn};
pub use found::Found;
pub use physical::{MapError, MemoryError, PhysicalMemory, Piece, ReadFailure, Segment};
pub use problem::{Problem, Severity};
pub use read_at::{ReadAt, Zeroes};
pub use setting::{Setting, Spelling, spell_settings};
pub use sums::{Sums, has_bit, low_bits, range_len, to_page_end, up_to_page};
pub use words::little_endian;
