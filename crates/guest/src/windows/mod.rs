//! Windows guests: the kernel, its debugger data, and what each processor did.
//!
//! `discovery` puts together what is known for [`crate::Facts`]: page tables
//! (`roots`), the kernel's `image`, its debugger data (`kdbg`) and processors
//! (`cpus`). All but the proof of page tables is read through a [`View`], which
//! follows pages in transition.

mod cpus;
mod discovery;
mod facts;
#[cfg(test)]
mod guests;
mod image;
mod kdbg;
mod options;
mod pe;
mod roots;
mod shared;
mod view;

pub(crate) use discovery::{quickly, set_kernel_roots, thoroughly};

pub use discovery::debugger_blocks;
pub use facts::{
    Completeness, ForeignVcpu, Kdbg, KdbgEncoding, KdbgKeys, KernelImage, PdbIdentity, Section,
    SharedData, WindowsCpu, WindowsFacts,
};
pub use kdbg::fields as kdbg_fields;
pub use options::{Options, ScanDepth};
pub use view::View;
