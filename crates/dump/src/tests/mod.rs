//! What tests of all formats share.

pub(crate) mod support;
