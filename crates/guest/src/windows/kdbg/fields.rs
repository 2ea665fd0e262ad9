//! Fields of the debugger data block.
//!
//! Source of the layout: `KDDEBUGGER_DATA64` of the Windows SDK (`wdbgexts.h`),
//! one for all architectures. Unless it says otherwise a field holds the address
//! of the variable that it is named for. A block ends before the fields that its
//! Windows does not know yet.

use vmss2core_mem::Gva;

use super::super::Kdbg;

/// `OwnerTag`, a `u32`: `KDBG`.
pub const OWNER_TAG: usize = 0x10;
/// `Size` of the block in bytes, a `u32`.
pub const SIZE: usize = 0x14;
/// `KernBase`: where the kernel's image begins.
pub const KERN_BASE: usize = 0x18;
/// `SavedContext`: the `CONTEXT` of a bugcheck, or 0.
pub const SAVED_CONTEXT: usize = 0x28;
/// Flags, a `u16`; bit 0 says that PAE is on.
pub const FLAGS: usize = 0x36;
/// `PsLoadedModuleList`.
pub const MODULE_LIST: usize = 0x48;
/// `PsActiveProcessHead`.
pub const PROCESS_HEAD: usize = 0x50;
/// `KiBugcheckData`: code and parameters of a bugcheck.
pub const BUGCHECK_DATA: usize = 0x88;
/// `MmPfnDatabase`.
pub const PFN_DATABASE: usize = 0xc0;
/// `MmPageSize`, the value.
pub const PAGE_SIZE: usize = 0x138;
/// `NtBuildLab`.
pub const BUILD_LAB: usize = 0x208;
/// `KiProcessorBlock`: pointers to the `KPRCB`s.
pub const PROCESSOR_BLOCK: usize = 0x218;
/// `MmUnloadedDrivers`.
pub const UNLOADED_DRIVERS: usize = 0x220;
/// `MmLastUnloadedDriver`.
pub const LAST_UNLOADED_DRIVER: usize = 0x228;
/// `MmPhysicalMemoryBlock`.
pub const PHYSICAL_MEMORY_BLOCK: usize = 0x270;
/// `OffsetKThreadTeb`, a `u16`.
pub const THREAD_TEB: usize = 0x29a;
/// `OffsetKThreadKernelStack`, a `u16`.
pub const THREAD_KERNEL_STACK: usize = 0x29c;
/// `OffsetKThreadInitialStack`, a `u16`.
pub const THREAD_INITIAL_STACK: usize = 0x29e;
/// `OffsetKThreadApcProcess`, a `u16`.
pub const THREAD_APC_PROCESS: usize = 0x2a0;
/// `OffsetKThreadState`, a `u16`.
pub const THREAD_STATE: usize = 0x2a2;
/// `SizeEProcess`, a `u16`.
pub const PROCESS_SIZE: usize = 0x2a8;
/// `OffsetEprocessPeb`, a `u16`.
pub const PROCESS_PEB: usize = 0x2aa;
/// `OffsetEprocessParentCID`, a `u16`.
pub const PROCESS_PARENT: usize = 0x2ac;
/// `OffsetEprocessDirectoryTableBase`, a `u16`.
pub const PROCESS_ROOT: usize = 0x2ae;
/// `OffsetPrcbCurrentThread`, a `u16`.
pub const PRCB_CURRENT_THREAD: usize = 0x2b4;
/// `OffsetPrcbProcStateContext`, a `u16`: the `CONTEXT` in the `KPRCB`.
pub const PRCB_STATE_CONTEXT: usize = 0x2bc;
/// `SizeEThread`, a `u16`.
pub const THREAD_SIZE: usize = 0x2c0;
/// `OffsetPrcbProcStateSpecialReg`, a `u16`.
pub const PRCB_SPECIAL_REGISTERS: usize = 0x2f2;
/// `OffsetPrcbContext`, a `u16`: the pointer to the `CONTEXT` of a crash.
pub const PRCB_CONTEXT: usize = 0x338;
/// `OffsetKThreadStackLimit`, a `u32`.
pub const THREAD_STACK_LIMIT: usize = 0x340;
/// `OffsetKThreadStackBase`, a `u32`.
pub const THREAD_STACK_BASE: usize = 0x344;

impl Kdbg {
    /// The 8 bytes at an offset of the decoded block; `None` after its end.
    pub fn field(&self, offset: usize) -> Option<u64> {
        self.bytes(offset).map(u64::from_le_bytes)
    }

    /// The 4 bytes at an offset.
    pub fn u32(&self, offset: usize) -> Option<u32> {
        self.bytes(offset).map(u32::from_le_bytes)
    }

    /// The 2 bytes at an offset.
    pub fn u16(&self, offset: usize) -> Option<u16> {
        self.bytes(offset).map(u16::from_le_bytes)
    }

    /// The address at an offset. 32-bit kernels extend the sign of theirs, which
    /// is taken away.
    pub fn pointer(&self, offset: usize, is_64_bit: bool) -> Option<Gva> {
        let value = self.field(offset)?;
        Some(Gva(if is_64_bit { value } else { value & 0xffff_ffff }))
    }

    fn bytes<const LEN: usize>(&self, offset: usize) -> Option<[u8; LEN]> {
        self.plain.get(offset..)?.first_chunk().copied()
    }
}
