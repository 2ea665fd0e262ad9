//! What is said about macOS guests.

mod info;
mod modules;

pub use info::{MacosImage, MacosInfo, MacosSegment};
pub use modules::{MACOS_MODULES_SCHEMA, MacosKernelInfo, MacosKext, MacosModulesReport};

pub(crate) use info::write_macos;
