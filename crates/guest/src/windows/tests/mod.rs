//! What tests of Windows share.

pub(super) mod guests;
