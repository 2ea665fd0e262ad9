//! From a virtual machine's checkpoint to any debugger, as a library.
//!
//! A [`Guest`] is opened from the files of a checkpoint. It is asked about ([`Guest::info`],
//! [`Guest::ps`], [`Guest::bt`]...), written as a file that a debugger opens
//! ([`Guest::write`]), or served to gdb and lldb ([`Guest::serve`]). The program `vmss2core`
//! is a command line for this library.
//!
//! ```
//! use vmss2core::answers::{Forms, ModuleList};
//! use vmss2core::{Guest, Listed};
//!
//! # let dir = tempfile::tempdir()?;
//! # let fixture = vmss2core_lab::windows::fixture("crashed").unwrap();
//! # let machine = vmss2core_lab::windows::make(&fixture)?.machine;
//! # vmss2core_lab::vmware::write_checkpoint(&machine, &Default::default(), dir.path(), "vm")?;
//! # let vm = dir.path().join("vm.vmss");
//! let guest = Guest::open([vm])?;
//!
//! let ps = guest.ps(Listed::default())?;
//! assert!(ps.answer.tasks.iter().any(|task| task.name == "System"));
//! let mut text = Vec::new();
//! guest.modules(ModuleList::Table)?.answer.write_text(&mut text)?;
//! assert!(String::from_utf8(text)?.contains("ntoskrnl.exe"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing here prints, ends the program, or reads its environment. Inputs are never
//! modified.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

mod ask;
mod error;
mod guest;
mod serve;

pub use ask::Answered;
pub use error::Error;
pub use guest::{Guest, Options};
pub use serve::{ServeOptions, Service, Threads, kernel_file_advice};
pub use vmss2core_answers as answers;
pub use vmss2core_answers::Listed;
pub use vmss2core_checkpoint as checkpoint;
pub use vmss2core_debug as debug;
pub use vmss2core_dump as dump;
pub use vmss2core_gdb as gdb;
pub use vmss2core_guest::model::StacksOf;
pub use vmss2core_guest::{AskError, Facts, Which, linux, macos, model, windows};
pub use vmss2core_machine as machine;
pub use vmss2core_mem as mem;
