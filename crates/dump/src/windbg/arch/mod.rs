//! Kinds of processors in dumps of Windows: one folder for each.

mod x86;

pub(super) use x86::context::{Context, root_register, set_special, special_len};
