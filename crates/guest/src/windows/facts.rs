//! Facts about a Windows kernel: all that writers and reports need,
//! each part missing if it was not found.

use crate::model::PdbIdentity;
use vmss2core_mem::{Found, Gva};

use vmss2core_machine::paging::{PagingMode, Root};

/// Facts about a Windows kernel.
#[derive(Clone, Debug)]
pub struct WindowsFacts {
    /// Paging mode and the root that maps the kernel: that of the System process
    /// where it is known, else one that was found to map the kernel.
    pub kernel_root: Found<(PagingMode, Root)>,
    /// CR4.LA57, PAE and the like are in the mode; this is the width of pointers.
    pub is_64_bit: bool,
    /// The kernel's image.
    pub image: Option<Found<KernelImage>>,
    /// The debugger data block.
    pub kdbg: Option<Found<Kdbg>>,
    /// `KUSER_SHARED_DATA`.
    pub shared: Option<SharedData>,
    /// Build number without the bits for free and checked.
    pub build: Option<Found<u32>>,
    /// A checked (debug) kernel.
    pub is_checked: bool,
    /// `NtBuildLab`, such as `19041.1.amd64fre.vb_release.191206-1406`.
    pub lab: Option<Found<String>>,
    /// Address of the `EPROCESS` of the System process.
    pub system_process: Option<Found<Gva>>,
    /// Windows' processors, in the order of `KiProcessorBlock`.
    pub cpus: Vec<WindowsCpu>,
    /// vCPUs (indices of the checkpoint) whose registers are not Windows' own,
    /// because something below it had them.
    pub foreign: Vec<ForeignVcpu>,
    /// Code and parameters of the bugcheck; `None` if Windows runs.
    pub bugcheck: Option<Found<[u64; 5]>>,
    /// How much of what a dump needs was found.
    pub completeness: Completeness,
    /// Missing parts, and why that matters; sentences for the user.
    pub missing: Vec<String>,
}

impl WindowsFacts {
    /// The address at an offset of the debugger data ([`super::kdbg_fields`]);
    /// `None` too if this Windows' block ends before it.
    pub fn kdbg_pointer(&self, offset: usize) -> Option<Gva> {
        self.kdbg.as_ref()?.value.pointer(offset, self.is_64_bit)
    }
}

/// How much was found: the rungs of the ladder, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Completeness {
    /// Debugger data and every processor.
    Full,
    /// Debugger data; some processor is foreign or was not matched to a vCPU.
    SomeProcessors,
    /// The kernel's image, but no debugger data.
    KernelOnly,
    /// Page tables that map Windows' shared data, nothing else.
    PageTablesOnly,
}

/// The kernel's image in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelImage {
    /// First address.
    pub base: Gva,
    /// `SizeOfImage`.
    pub size_bytes: u32,
    /// `TimeDateStamp`; `None` if the header page is not in memory.
    pub timestamp: Option<u32>,
    /// `CheckSum`.
    pub checksum: Option<u32>,
    /// Identity of its PDB.
    pub pdb: Option<PdbIdentity>,
    /// Sections by name, address and length in memory.
    pub sections: Vec<Section>,
}

impl KernelImage {
    /// Whether an address lies in it.
    pub fn contains(&self, gva: Gva) -> bool {
        gva.0.checked_sub(self.base.0).is_some_and(|at| at < u64::from(self.size_bytes))
    }
}

/// A section of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Name, without the zeroes after it.
    pub name: String,
    /// Distance from the image's base.
    pub rva: u32,
    /// Length in memory.
    pub size_bytes: u32,
    /// `Characteristics`.
    pub characteristics: u32,
}

/// The debugger data block (`KDDEBUGGER_DATA64`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kdbg {
    /// Its address.
    pub gva: Gva,
    /// Its bytes as a debugger wants them, decoded if need be.
    pub plain: Vec<u8>,
    /// How it is encoded in memory, if it is.
    pub encoding: Option<KdbgEncoding>,
}

/// How a block is encoded in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KdbgEncoding {
    /// Bits by which each word is rotated.
    pub rotation: u32,
    /// The key that is XORed to each rotated and swapped word.
    pub constant: u64,
    /// The keys and where they are, if they could be told apart.
    pub keys: Option<KdbgKeys>,
}

/// Keys of an encoded block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KdbgKeys {
    /// Value of `KiWaitNever`.
    pub wait_never: u64,
    /// Value of `KiWaitAlways`.
    pub wait_always: u64,
    /// Address of `KdpDataBlockEncoded`, a byte.
    pub flag: Gva,
}

/// Fields of `KUSER_SHARED_DATA`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedData {
    /// `NtSystemRoot`, such as `C:\Windows`.
    pub system_root: String,
    /// `NtMajorVersion`.
    pub major: u32,
    /// `NtMinorVersion`.
    pub minor: u32,
    /// `NtBuildNumber`, if this Windows has it there (10 and later).
    pub build: Option<u32>,
    /// 1 workstation, 2 domain controller, 3 server.
    pub product: u32,
    /// `SuiteMask`.
    pub suite: u32,
    /// `SystemTime`, in 100 ns since 1601.
    pub system_time: u64,
    /// `InterruptTime`, in 100 ns since the start, time asleep included.
    pub interrupt_time: u64,
    /// `TimeZoneBias`, in 100 ns.
    pub time_zone_bias: i64,
    /// `BootId`, of Windows 10 and later.
    pub boot_id: Option<u32>,
    /// `ActiveProcessorCount`, of Windows 7 and later.
    pub processors: Option<u32>,
}

/// A processor as Windows sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowsCpu {
    /// Windows' number.
    pub number: u32,
    /// `KPCR`.
    pub kpcr: Gva,
    /// `KPRCB`.
    pub kprcb: Gva,
    /// The vCPU whose registers are this processor's (index of the checkpoint),
    /// and how that is known. `None` if none matched, or something below Windows
    /// had it.
    pub vcpu: Option<Found<u32>>,
    /// Where `KPRCB.Context` points, if this Windows has it.
    pub context: Option<Gva>,
    /// The `CONTEXT` inside the `KPRCB`.
    pub embedded_context: Option<Gva>,
    /// The `KSPECIAL_REGISTERS` inside the `KPRCB`.
    pub special_registers: Option<Gva>,
    /// `CurrentThread` (`ETHREAD`).
    pub thread: Option<Gva>,
    /// The process of its current thread (`EPROCESS`).
    pub process: Option<Gva>,
    /// Root that maps the kernel for that process.
    pub kernel_root: Option<Root>,
}

/// A vCPU whose registers are not Windows' own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignVcpu {
    /// Index in the checkpoint.
    pub vcpu: u32,
    /// Who had it, in words: "the hypervisor or the secure kernel below Windows".
    pub holder: String,
    /// Why that is thought.
    pub how: String,
}
