//! Small but whole Windows guests, laid out in memory byte by byte.
//!
//! No Windows can be shipped or run here, so its structures are written as
//! public sources describe them, and judged by foreign readers: what they accept
//! is worth reading. Not a line is shared with the readers of this workspace.
//!
//! [`make`] lays out what a [`Fixture`] asks for, and says in [`Truth`] what it
//! put in; [`fixtures`] names those that tests are run on.

mod build;
mod bytes;
mod cpus;
mod fixture;
mod isf;
mod kdbg;
mod kernel;
mod make;
mod modules;
mod pe;
mod processes;
mod ram;
mod space;
mod traps;
mod truth;

pub use fixture::{Doing, Fixture, Known, Layout, Trap, fixture, fixtures};
pub use make::{MiniNt, make};
pub use truth::{
    CpuTruth, Kdbg, Keys, Mapping, Module, Paging, Pdb, Process, Residence, Thread, Truth, Unloaded,
};
