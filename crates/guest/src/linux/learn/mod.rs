//! Layouts learned from the data itself, for kernels without type information.

use std::sync::Arc;

use super::{Kernel, Types};
use crate::Found;

/// Learns where the members of the structures of tasks lie.
pub(super) fn learn(_kernel: &Kernel<'_>) -> Option<Found<Arc<dyn Types>>> {
    None
}
