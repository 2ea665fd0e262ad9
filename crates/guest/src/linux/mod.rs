//! Linux guests: where the kernel lies, and what it knows, without symbol files.
//!
//! `discovery` finds the kernel for [`crate::Facts`]. A [`Kernel`] is what is
//! opened on those facts to ask more: symbols, structure layouts, tasks, logs.
//! Parts are looked for when a question first needs them.

mod arch;
mod btf;
pub mod debuggers;
mod discovery;
mod dwarf;
mod error;
mod extent;
mod facts;
mod files;
pub(crate) mod kallsyms;
mod kernel;
mod layout;
mod learn;
mod log;
mod modules;
mod now;
mod object;
mod offsets;
mod pages;
mod panic;
mod process;
mod snapshot;
mod stack;
mod symbols;
mod system;
mod task;
mod ticks;
mod time;
mod uts;
mod words;

pub use crate::model::{Backtrace, Caller, Clock, Frame, FrameKind, LEVELS, Log, Record, StackEnd};
pub use arch::registers::{RegisterFinder, TlsSegment};
pub(crate) use arch::unwind::fuzz_stacks;
pub use btf::{Btf, BtfError, ModuleBtf};
pub use discovery::Bounds;
pub use error::LinuxError;
pub use facts::{CrashKernel, KernelText, LinuxFacts, VmcoreInfo};
pub use files::{
    DebugSymbols, FileError, GivenFiles, KernelFile, ModuleFile, Vmlinux, debug_symbols, read_btf,
};
pub use kernel::{BetterSources, Kernel};
pub use layout::{Layout, Member, Types};
pub use learn::{Learned, PageArray};
use learn::{MappedPage, members_of_pages};
pub use modules::{GeneratedCode, Module, ModuleState, Modules, Place, UnwindTables};
pub use object::Object;
pub use offsets::{
    KernelVersion, Known, LayoutItem, LinuxOffsets, OffsetsError, known_layout,
    line as offsets_line,
};
pub use pages::{PageClass, PageClasses, Untold};
pub use panic::{Stopped, Trouble, taint_meaning};
pub(crate) use process::fuzz_process_trees;
pub use process::{
    Backing, Content, Counts, FileRun, Libraries, Library, MappedFile, Missing, Patch, PatchBytes,
    Process, RestoredFile, Run, SectionTable, Vma, VmaFlags,
};
pub use symbols::{Symbol, Symbols};
pub use system::Linux;
pub use task::{
    CommandLine, NoProcess, Task, TaskState, Tasks, ThreadRegisters, living_threads, process_meant,
    processes_asked_for, thread_of_process,
};
pub use uts::UtsName;

/// Asserts that a seed of fuzzing is what a test makes it from;
/// `UPDATE_FUZZ_CORPORA=1` writes it.
#[cfg(test)]
fn assert_seed(target: &str, name: &str, bytes: &[u8]) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let path = dir.join(target).join(format!("seed-{name}"));
    if std::env::var_os("UPDATE_FUZZ_CORPORA").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    let found = std::fs::read(&path).unwrap_or_default();
    assert!(found == bytes, "{} is not what the test makes", path.display());
}
