//! Everything that was put into a guest.

use std::collections::BTreeMap;

use super::fixture::Doing;
pub use super::space::{Paging, Residence};

/// What a reader should find.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Build number, as in `10.0.19041`.
    pub build: u32,
    /// Major and minor version.
    pub version: (u32, u32),
    /// `NtBuildLab`.
    pub lab: String,
    /// 1 workstation, 2 domain controller, 3 server.
    pub product: u32,
    /// `SuiteMask`.
    pub suite: u32,
    /// `CmNtCSDVersion`.
    pub service_pack: u32,
    /// `SystemTime`, in 100 ns since 1601.
    pub system_time: u64,
    /// `InterruptTime`, in 100 ns since the start.
    pub interrupt_time: u64,
    /// `BootId`.
    pub boot_id: u32,
    /// How the processors translate.
    pub paging: Paging,
    /// Page table root of the System process.
    pub dtb: u64,
    /// Index of the self map in a 64-bit root.
    pub self_map: u64,
    /// The kernel's image.
    pub kernel: Module,
    /// Its PDB.
    pub pdb: Pdb,
    /// The debugger data block.
    pub kdbg: Kdbg,
    /// Addresses of the kernel's variables and functions.
    pub symbols: BTreeMap<&'static str, u64>,
    /// Processors, in the machine's order.
    pub cpus: Vec<CpuTruth>,
    /// In the order of `PsActiveProcessHead`.
    pub processes: Vec<Process>,
    /// In the order of `PsLoadedModuleList`.
    pub modules: Vec<Module>,
    /// Unloaded drivers, the oldest first.
    pub unloaded: Vec<Unloaded>,
    /// Of a crashed guest: the code and its parameters.
    pub bugcheck: Option<[u64; 5]>,
    /// `MmPhysicalMemoryBlock`: runs of (page frame, pages).
    pub physical_memory: Vec<(u64, u64)>,
    /// The low stub's page, if there is one.
    pub low_stub: Option<u64>,
    /// Every page that was mapped, in every space; kernel pages under the
    /// System process's root only.
    pub mappings: Vec<Mapping>,
    /// Layouts of the build, by structure and member.
    pub layout: BTreeMap<(&'static str, &'static str), u64>,
}

/// A page and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Page table root.
    pub root: u64,
    /// Virtual address.
    pub va: u64,
    /// Physical address.
    pub pa: u64,
    /// Length: more than 4096 for a large page.
    pub len: u64,
    /// Whether it is there.
    pub residence: Residence,
}

/// Identity of a PDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdb {
    /// File name.
    pub name: String,
    /// GUID as 32 digits, as a symbol store writes it.
    pub guid: String,
    /// Age.
    pub age: u32,
}

/// The debugger data block.
#[derive(Clone, Debug)]
pub struct Kdbg {
    /// Address.
    pub va: u64,
    /// As the debugger wants it.
    pub plain: Vec<u8>,
    /// As it is in memory.
    pub stored: Vec<u8>,
    /// How it was encoded, if it was.
    pub keys: Option<Keys>,
}

/// Keys of an encoded block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Value of `KiWaitNever`.
    pub never: u64,
    /// Value of `KiWaitAlways`.
    pub always: u64,
    /// Address of `KdpDataBlockEncoded`.
    pub flag: u64,
}

/// A processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuTruth {
    /// What it was doing.
    pub doing: Doing,
    /// `KPCR`.
    pub kpcr: u64,
    /// `KPRCB`.
    pub kprcb: u64,
    /// Interrupt descriptor table of NT on it.
    pub idt: u64,
    /// Global descriptor table.
    pub gdt: u64,
    /// Task state segment.
    pub tss: u64,
    /// Where `KPRCB.Context` points, if the build has it.
    pub context: Option<u64>,
    /// The `CONTEXT` inside the `KPRCB`.
    pub embedded_context: u64,
    /// The `KSPECIAL_REGISTERS` inside the `KPRCB`.
    pub special_registers: u64,
    /// What Windows itself saved there: (instruction pointer, stack pointer).
    pub saved: Option<(u64, u64)>,
    /// Current thread.
    pub thread: u64,
    /// Index of its process in [`Truth::processes`].
    pub process: usize,
    /// Root that maps the kernel for that process.
    pub kernel_dtb: u64,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// `EPROCESS`.
    pub eprocess: u64,
    /// Number.
    pub pid: u64,
    /// Number of its parent.
    pub parent: u64,
    /// `ImageFileName`, cut at 14 characters.
    pub name: String,
    /// Path of its image, whole.
    pub path: String,
    /// Page table root.
    pub dtb: u64,
    /// Root while in user mode, if the kernel hides itself.
    pub user_dtb: Option<u64>,
    /// `PEB`; 0 if it has none.
    pub peb: u64,
    /// Creation, in 100 ns since 1601.
    pub created: u64,
    /// End, or 0.
    pub exited: u64,
    /// Image base; 0 without user space.
    pub image_base: u64,
    /// Threads.
    pub threads: Vec<Thread>,
}

/// A thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// `ETHREAD`.
    pub ethread: u64,
    /// Number.
    pub tid: u64,
    /// `KTHREAD.State`.
    pub state: u8,
    /// `TEB`, or 0.
    pub teb: u64,
    /// Lowest and highest address of its kernel stack.
    pub stack: (u64, u64),
    /// `KTHREAD.KernelStack`.
    pub kernel_stack: u64,
    /// `StartAddress`.
    pub start: u64,
}

/// An image in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// `BaseDllName`.
    pub name: String,
    /// `FullDllName`.
    pub path: String,
    /// `DllBase`.
    pub base: u64,
    /// `SizeOfImage`.
    pub size: u32,
    /// `EntryPoint`.
    pub entry: u64,
    /// `TimeDateStamp`.
    pub timestamp: u32,
    /// Its list entry.
    pub ldr: u64,
}

/// A driver that was unloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unloaded {
    /// Name.
    pub name: String,
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// When, in 100 ns since 1601.
    pub time: u64,
}
