//! Real guests, made on the spot from Debian's own kernels, and the checkpoints
//! that tests are run on.
//!
//! A guest boots under QEMU without hardware help in ten seconds, tells the
//! truth about itself on a serial port, and is stopped: its RAM and registers
//! are kept in the user's cache directory. [`vmware`] writes checkpoints of any
//! shape, independent of the readers that are tested with them. Only tests and
//! `xtask` use this crate.

#![forbid(unsafe_code)]

pub mod apt;
mod bytes;
pub mod cache;
pub mod command;
pub mod foreign;
pub mod guest;
pub mod hidden;
pub mod judges;
pub mod kernel;
pub mod macos;
pub mod make;
pub mod mutate;
pub mod recipe;
pub mod registers;
pub mod truth;
pub mod vmware;
pub mod windows;
pub mod wrap;

mod gdbstub;
mod initramfs;
mod monitor;
mod programs;
mod progress;
mod qemu;
mod qmp;
mod source;
mod system;

pub use guest::{Guest, MemoryRange};
pub use make::{guest, guest_dir, guest_with_vmlinux};
pub use recipe::{Recipe, recipes};
pub use registers::{CpuRegisters, SegmentValue, TableValue};
pub use truth::Truth;
