//! A small macOS guest, laid out in memory byte by byte.
//!
//! No macOS can be shipped or run here, so a kernel and two extensions are made as
//! Apple's public headers describe them (`mach-o/loader.h`, `mach-o/nlist.h`, XNU's
//! `kmod.h`, `lowglobals.h` and `OSKextLib.h`), and judged by lldb, which finds them in
//! memory and unwinds through them. Not a byte is Apple's, and not a line is shared with
//! the readers of this workspace.
//!
//! # Limits
//!
//! No memory of a real Mac was at hand: what XNU's sources say of where things lie is
//! followed, not seen. There are no tasks, no zones, no compressed memory.

mod file;
mod guest;
mod tables;

pub use file::MachFile;
pub use guest::{Fixture, KextTruth, Loaded, MiniMac, Root, Truth, make};
