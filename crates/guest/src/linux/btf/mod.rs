//! BTF: the type information that a kernel carries for BPF programs.
//!
//! It lies in the constants of the kernel image (CONFIG_DEBUG_INFO_BTF, 5.2 and
//! later). Types have no addresses, but all structures with their members, and a
//! layout read from there is that of this very kernel. Nothing else in memory is
//! searched: copies of the header lie in `struct btf`, and modules have BTF of
//! their own that does not stand alone.

mod modules;
mod raw;
mod search;
#[cfg(test)]
mod tests;
mod types;

pub use modules::ModuleBtf;
pub use types::{Btf, BtfError};

pub(super) use search::find;
