//! A virtual machine at one moment: its memory, its processors and their page tables.
//!
//! A [`Checkpoint`] is what input formats make and everything else works from; a [`Source`]
//! gives it, and of a machine that can run, [`Control`] too. Nothing
//! here parses a file format or knows a guest operating system. What depends on the
//! kind of processor is in its folder below `arch`.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

pub mod arch;
mod checkpoint;
mod control;
mod cpu;
pub mod paging;
mod source;
mod view;

pub use arch::{Arch, Privilege, RegisterDef, Registers, Scope, Table, Width, arm64, x86};
pub use checkpoint::{About, Checkpoint, Machine, Provenance, Snapshot, SourceFile};
pub use control::{
    Breakpoints, Control, ControlError, Interrupt, Replay, Resume, Stop, StopReason, Writes,
};
pub use cpu::Vcpu;
pub use source::{Source, SourceError};
pub use view::VcpuView;
