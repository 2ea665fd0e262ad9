//! Helpers of tests of Windows.

pub(super) mod guests;
