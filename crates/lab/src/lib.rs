//! Real guests and checkpoints for tests.
//!
//! [`vmware`] writes checkpoints of any shape, independent of the readers that
//! are tested with them.

#![forbid(unsafe_code)]

pub mod vmware;
