//! Windows guests: the kernel, its debugger data, and what each processor did.
//!
//! `discovery` puts together what is known for [`crate::Facts`]: page tables
//! (`roots`), the kernel's `image`, its debugger data (`kdbg`) and processors
//! (`cpus`). A [`Kernel`] is what is opened on those facts to ask more:
//! processes, modules, stacks. All but the proof of page tables is read through a
//! [`View`], which follows pages in transition.

mod arch;
mod bugcheck;
mod discovery;
mod error;
mod extent;
mod facts;
mod image;
mod kdbg;
mod kernel;
mod layout;
mod list;
mod modules;
mod now;
mod options;
mod pe;
mod processes;
mod runs;
mod shared;
mod system;
#[cfg(test)]
mod tests;
mod view;

pub use crate::model::{Backtrace, Frame, FrameKind, PdbIdentity, StackEnd};
pub use bugcheck::{bugcheck_name, bugcheck_parameters};
pub use discovery::debugger_blocks;
pub use error::WindowsError;
pub use facts::{
    Completeness, ForeignVcpu, Kdbg, KdbgEncoding, KdbgKeys, KernelImage, Section, SharedData,
    WindowsCpu, WindowsFacts,
};
pub use kdbg::fields as kdbg_fields;
pub use kernel::Kernel;
pub use layout::{Layout, LayoutSource, Member};
pub use modules::{Module, Modules, Place, UnloadedModule};
pub use now::unix_time;
pub use options::{Options, ScanDepth};
pub use processes::{Process, Processes, Thread};
pub use runs::physical_runs;
pub use system::Windows;
pub use view::View;
