//! kallsyms: the symbol table that a kernel carries for its own messages.

use super::{Kernel, Symbols};
use crate::Found;

/// Finds and decodes the kernel's symbol table.
pub(super) fn find(_kernel: &Kernel<'_>) -> Option<Found<Symbols>> {
    None
}
