//! The target of debugging, as the protocol's handlers see it.
//!
//! A [`Target`] says what is attached when a client comes, attaches more where it can,
//! and runs where it can. Each [`Inferior`] is what
//! gdb calls so: threads with registers that see memory. Handlers know nothing
//! else of vCPUs, tasks and processes.

use std::ops::Range;
use std::sync::Arc;

use vmss2core_machine::paging::{AddressSpace, Permissions};
use vmss2core_machine::{Control, Registers};
use vmss2core_mem::{Gva, PhysicalMemory};

use crate::description::Description;

/// One thread of an inferior.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its number; 0 is none.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// A remark for lists of threads: `halted, ring 0`.
    pub extra: String,
    /// Number of the processor that runs it.
    pub core: Option<u32>,
}

/// How far a kernel lies from where it was linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slide {
    /// Run-time address of the first byte of its first segment (`_text`).
    pub text: u64,
    /// Distance from the link address.
    pub offset: u64,
}

/// Where the kernel of macOS lies, for lldb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachKernel {
    /// Address of its Mach-O header.
    pub address: u64,
    /// Its UUID as lldb shows it.
    pub uuid: Option<String>,
}

/// A file that an inferior has in memory, apart from its main one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// Name of its file.
    pub name: String,
    /// Addresses of its sections, in the order of the file; or of its one segment.
    pub addresses: LibraryAddresses,
}

/// How a library's addresses are told to gdb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LibraryAddresses {
    /// One for each section that has memory.
    Sections(Vec<u64>),
    /// Where its first segment lies.
    Segment(u64),
}

/// Libraries that the dynamic linker of a program has loaded, as it lists them for debuggers
/// (`<link.h>`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linked {
    /// Where the linker's `r_debug` lies, which stands for the namespace of the list.
    pub debug: Gva,
    /// Where the program's dynamic section has the address of that: `DT_DEBUG`.
    pub debug_pointer: Option<Gva>,
    /// Where the `link_map` of the program itself lies.
    pub program: Option<Gva>,
    /// The libraries that have a path.
    pub libraries: Vec<LinkedLibrary>,
}

/// A library in the dynamic linker's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedLibrary {
    /// The path that the program loaded it by.
    pub name: String,
    /// Where its `link_map` lies.
    pub entry: Gva,
    /// How far it lies from the addresses in its file.
    pub bias: u64,
    /// Where its dynamic section lies.
    pub dynamic: Gva,
}

/// A table of the guest's system, such as its processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemTable {
    /// The kind of its rows: `processes`.
    pub kind: &'static str,
    /// Its rows, each column with its name.
    pub rows: Vec<Vec<(&'static str, String)>>,
}

/// Addresses that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The addresses; the last one is in it, so that the top of memory can be.
    pub range: Range<u64>,
    /// Rights there; `None` if nothing is mapped.
    pub permissions: Option<Permissions>,
    /// File that is mapped there.
    pub name: Option<String>,
}

/// Threads that share a list of files and symbols: all vCPUs, all tasks, or one
/// process.
pub trait Inferior: Send + Sync {
    /// Its number; 0 is none.
    fn pid(&self) -> u32;

    /// Its threads, the one to look at first in front.
    fn threads(&self) -> &[Thread];

    /// The registers of a thread, in which order and of what kind.
    fn description(&self) -> &Description;

    /// Index of the processor that executes a thread, if one does.
    fn cpu(&self, tid: u32) -> Option<u32> {
        self.threads().iter().find(|thread| thread.tid == tid)?.core
    }

    /// The registers of one thread; `None` if there is no such thread.
    fn registers(&self, tid: u32) -> Option<Registers>;

    /// Fills `buf` with memory as a thread sees it; returns how many bytes there
    /// are before the first that is not available.
    fn read(&self, tid: u32, address: u64, buf: &mut [u8]) -> usize;

    /// The mapping around an address.
    fn region(&self, tid: u32, address: u64) -> Option<Region>;

    /// The page tables that a thread uses.
    fn space(&self, _tid: u32) -> Option<AddressSpace> {
        None
    }

    /// Where the symbol file of the kernel belongs, if that is what is debugged.
    fn slide(&self) -> Option<Slide> {
        None
    }

    /// The list of `qXfer:libraries`; `None` if it is not to be asked.
    fn libraries(&self) -> Option<Vec<Library>> {
        None
    }

    /// The dynamic linker's list, if a client cannot find that out by itself.
    fn linked(&self) -> Option<Linked> {
        None
    }

    /// The auxiliary vector as the process has it in memory.
    fn auxv(&self) -> Option<Vec<u8>> {
        None
    }

    /// Path of the executable.
    fn executable(&self) -> Option<String> {
        None
    }

    /// Missing or doubtful parts, a sentence each.
    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    /// The triple that lldb is told, such as `x86_64-unknown-linux-gnu`. Without
    /// one it looks for a kernel by itself.
    fn triple(&self) -> Option<String> {
        None
    }

    /// Where lldb finds the kernel of macOS, so that it need not search.
    fn mach_kernel(&self) -> Option<MachKernel> {
        None
    }
}

/// Why a file of the guest cannot be opened or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// There is no such file.
    NotFound,
    /// Its bytes are not available, or reading them failed.
    Unreadable,
}

/// A file of the guest, open.
pub trait GuestFile: Send {
    /// Its length in bytes.
    fn len_bytes(&self) -> u64;

    /// Fills `buf` from `offset` on; returns how many bytes there were.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize, FileError>;
}

/// Inferiors that are attached when a client names them.
pub trait Attach: Send + Sync {
    /// A process by its number, or by another that stands for it: the inferior has the
    /// number that was asked for. The error is a sentence for the user.
    fn attach(&self, pid: u32) -> Result<Arc<dyn Inferior>, String>;
}

/// The files of a guest.
pub trait GuestFiles: Send + Sync {
    /// Opens one, as `pid` sees it (0: as all do).
    fn open(&self, pid: u32, path: &str) -> Result<Box<dyn GuestFile>, FileError>;

    /// The target of a symbolic link.
    fn read_link(&self, pid: u32, path: &str) -> Result<String, FileError>;
}

/// The target of debugging. An ability that not every target has is an accessor that may be
/// absent; what the protocol says it can do is put together from what is there.
///
/// Nothing is kept over a stop: each time it is asked, a target gives inferiors as they
/// are now.
pub trait Target: Send + Sync {
    /// Guest physical memory.
    fn physical(&self) -> PhysicalMemory;

    /// The registers that inferiors will have, for a client that asks before it
    /// attaches to one.
    fn description(&self) -> Option<&Description> {
        None
    }

    /// The inferiors that are attached when a client comes.
    fn inferiors(&self) -> Vec<Arc<dyn Inferior>>;

    /// The inferiors for a client that can attach by itself (`target extended-remote`).
    fn extended_inferiors(&self) -> Vec<Arc<dyn Inferior>> {
        self.inferiors()
    }

    /// Attaching to others.
    fn attach(&self) -> Option<&dyn Attach> {
        None
    }

    /// Why nothing else can, a sentence for the user.
    fn nothing_to_attach(&self) -> &'static str {
        "this server has nothing to attach to"
    }

    /// Files of the guest.
    fn files(&self) -> Option<&dyn GuestFiles> {
        None
    }

    /// The control that makes it go on; `None` of a checkpoint.
    fn control(&self) -> Option<&dyn Control> {
        None
    }

    /// A table of the guest's system (`info os NAME`).
    fn system_table(&self, _name: &str) -> Option<SystemTable> {
        None
    }
}

/// Answers `monitor` commands that are not about the session itself.
pub trait Monitor: Send + Sync {
    /// The commands that there are.
    fn commands(&self) -> &[MonitorCommand];

    /// Runs one of them; what it says, or why it cannot.
    fn run(&self, name: &str, arguments: &[&str], at: Selected<'_>) -> Result<String, String>;
}

/// A `monitor` command.
#[derive(Clone, Copy, Debug)]
pub struct MonitorCommand {
    /// Its name.
    pub name: &'static str,
    /// Its arguments: `ADDR [PROCESS]`.
    pub usage: &'static str,
    /// Its purpose, one line.
    pub about: &'static str,
    /// More about it; may be empty.
    pub details: &'static str,
    /// It is not listed: it says only why there is no such thing.
    pub is_hidden: bool,
}

/// The thread that a client looks at.
#[derive(Clone, Copy)]
pub struct Selected<'a> {
    /// Its inferior; `None` if nothing is attached.
    pub inferior: Option<&'a dyn Inferior>,
    /// Its number; 0 if there is none.
    pub tid: u32,
}
