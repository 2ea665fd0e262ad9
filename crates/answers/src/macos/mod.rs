//! What is said about macOS guests.

mod info;
mod modules;

pub use info::{MacosImage, MacosInfo, MacosSegment};
pub use modules::{MacosKernelInfo, MacosKext, MacosModulesReport};
