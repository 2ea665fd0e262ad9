//! `vFile`: files of the guest.

use super::Family;

pub(super) const PACKETS: Family = &[];
