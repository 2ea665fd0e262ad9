//! BTF: the type information that a kernel carries for BPF programs.

use std::sync::Arc;

use super::{Kernel, Types};
use crate::Found;

/// Finds the kernel's BTF.
pub(super) fn find(_kernel: &Kernel<'_>) -> Option<Found<Arc<dyn Types>>> {
    None
}
