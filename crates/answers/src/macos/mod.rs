//! Answers about macOS guests.

mod info;

pub use info::{MacosImage, MacosInfo, MacosSegment};
