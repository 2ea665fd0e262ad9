//! Facts that were found out about a Linux kernel.

use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_mem::{Found, Gpa, Gva};

/// Facts about a Linux kernel.
#[derive(Clone, Debug, Default)]
pub struct LinuxFacts {
    /// The `Linux version ...` line.
    pub banner: Option<Found<String>>,
    /// Release, as `uname -r`.
    pub release: Option<Found<String>>,
    /// 64-bit kernel.
    pub is_64_bit: bool,
    /// Where the kernel image lies.
    pub text: Option<Found<KernelText>>,
    /// Distance of the kernel from its link address, as VMCOREINFO's KERNELOFFSET.
    pub kaslr_offset: Option<Found<u64>>,
    /// `phys_base`: physical minus link address plus the link base; may be negative.
    pub phys_base: Option<Found<i64>>,
    /// Virtual address of physical 0 in the direct map.
    pub direct_map: Option<Found<Gva>>,
    /// Root of the kernel's own page tables (`swapper_pg_dir`), and its mode.
    pub kernel_root: Option<Found<(PagingMode, Root)>>,
    /// The VMCOREINFO text.
    pub vmcoreinfo: Option<Found<VmcoreInfo>>,
    /// The second kernel, if this one has crashed and another runs since then.
    pub crash_kernel: Option<Found<CrashKernel>>,
}

/// A kernel that runs because another one has crashed, to save its memory (kdump).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrashKernel {
    /// The `Linux version ...` line.
    pub banner: String,
    /// Release, as `uname -r`.
    pub release: String,
    /// Where its image lies.
    pub text: Option<KernelText>,
    /// The vCPUs that execute it.
    pub vcpus: Vec<u32>,
    /// Where the CPUs of the kernel that crashed left their registers (`crash_notes`),
    /// by logical CPU number.
    pub notes: Vec<Gpa>,
}

impl LinuxFacts {
    /// How far the kernel lies from its link address, as far as that is known.
    pub fn slide(&self) -> u64 {
        self.kaslr_offset.as_ref().map_or(0, |slide| slide.value)
    }

    /// Whether a vCPU executes the second kernel: its registers and page tables tell
    /// nothing of this one.
    pub fn has_left(&self, vcpu: u32) -> bool {
        self.crash_kernel.as_ref().is_some_and(|kernel| kernel.value.vcpus.contains(&vcpu))
    }

    /// Whether a 32-bit kernel lies where it is linked to by default
    /// (`CONFIG_PHYSICAL_START`), 16 MiB into its direct map. One of which too little
    /// is known is taken to.
    pub fn is_at_default_address(&self) -> bool {
        const PHYSICAL_START: u64 = 16 << 20;
        match (&self.kaslr_offset, &self.text, &self.direct_map) {
            (Some(slide), ..) => slide.value == 0,
            (None, Some(text), Some(map)) => {
                text.value.start.0.checked_sub(map.value.0) == Some(PHYSICAL_START)
            }
            _ => true,
        }
    }
}

/// Extent of the kernel image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelText {
    /// Virtual address of `_text`.
    pub start: Gva,
    /// Its physical address.
    pub gpa: Gpa,
    /// Bytes to the end of the image's mapping; for 32-bit kernels, whose image is
    /// part of the direct map, to the end of code and constants.
    pub len: u64,
}

/// A VMCOREINFO text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmcoreInfo {
    /// `KEY=value` lines.
    pub text: String,
    /// Whether we made it up from other facts because none was found in the guest.
    pub synthesised: bool,
}

impl VmcoreInfo {
    /// The value of a line, if there is one.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }
}
