//! Small but whole Windows guests, laid out in memory byte by byte.
//!
//! No Windows can be shipped or run here, so its structures are written as
//! public sources describe them, and judged by foreign readers: what they accept
//! is worth reading. Not a line is shared with the readers of this workspace.
//!
//! # What the judges say
//!
//! The tests in `tests/windows.rs` run all of this again.
//!
//! | judge | accepts | refuses |
//! |---|---|---|
//! | MemProcFS 5.19, raw images | every guest of 64 bits and with PAE: build, processes with their roots and `PEB`, modules of the kernel (64 bits only) and of a program | five levels; no low stub; the kernel's header page or exports not present; 32 bits without PAE |
//! | MemProcFS, its crash dump of a raw image | the debugger data of all eight builds that encode it: byte for byte what was encoded, flag cleared | |
//! | volatility 3 2.28 with our symbols, raw images | every build, and what MemProcFS refuses: 32 bits without PAE, no low stub, exports paged out, header page in transition: processes, modules; `windows.info` where the debugger data is plain | five levels; the header page not in memory |
//! | ntoseye 0.52 with our PDB, MemProcFS' crash dump | Windows 7 to 11: build, processes, modules, interrupt tables | five levels; 32 bits |
//! | the first two, VMware checkpoints | memory with a hole, in many ranges, PAE, shadowed | |
//!
//! Five levels are walked by the tests' own walker only: no reader knows them.
//! The version of a judge is that of the day; what it refuses is asserted, too.
//!
//! # Limits
//!
//! Code is a pattern without unwind data; there is no registry, no object
//! directory, no tree of address ranges, no page frame database. Where a build's
//! offsets inside the processor's region are not published they are invented.
//!
//! [`make`] lays out what a [`Fixture`] asks for, and says in [`Truth`] what it
//! put in; [`fixtures`] names those that tests are run on.

mod build;
mod bytes;
mod coff;
mod cpus;
mod fixture;
mod isf;
mod judged;
mod kdbg;
mod kernel;
mod make;
mod modules;
mod pdb;
mod pe;
mod processes;
mod ram;
mod space;
mod traps;
mod truth;

pub use fixture::{Doing, Fixture, Known, Layout, Trap, fixture, fixtures};
pub use judged::{
    InfoRow, MemProcFs, ModulesRow, PsListRow, SeenModule, SeenProcess, dump_of_memprocfs,
    memprocfs, ntoseye, volatility3,
};
pub use make::{MiniNt, make};
pub use truth::{
    CpuTruth, Kdbg, Keys, Mapping, Module, Paging, Pdb, Process, Residence, Thread, Truth, Unloaded,
};
