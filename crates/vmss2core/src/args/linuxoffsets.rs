use std::path::PathBuf;

use clap::{Args, ValueHint};
use vmss2core_guest::linux::KernelVersion;

use super::{GuestArgs, KernelArgs};

/// Print the offsets of the kernel's structures, as -l takes them
///
/// What the getlinuxoffsets scripts of the original printed from a vmlinux in gdb:
/// the kernel's version and 13 offsets and sizes. Here they come from the guest's
/// own memory, or from a kernel file. They are rarely needed: every command finds
/// them itself.
#[derive(Debug, Args)]
#[command(after_help = "\
A kernel file is a vmlinux with debug information, or BTF, for example
/sys/kernel/btf/vmlinux.

Examples:
  vmss2core linuxoffsets vm.vmss
  vmss2core linuxoffsets --print-layout vm.vmss    all that is asked of layouts
  vmss2core linuxoffsets /usr/lib/debug/boot/vmlinux-6.1.0-28-amd64
  vmss2core -P -l \"$(vmss2core linuxoffsets vmlinux)\" old.vmss")]
pub(crate) struct LinuxoffsetsArgs {
    /// Files of the checkpoint, or its directory; or a kernel file
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) inputs: Vec<PathBuf>,
    /// Print every member that is asked for, and who says where it lies
    ///
    /// Each line is an item that -l takes; behind the # is a remark.
    #[arg(long)]
    pub(crate) print_layout: bool,
    /// The version of a kernel file that does not tell it, such as 6.1.0
    #[arg(long, value_name = "VERSION", value_parser = version)]
    pub(crate) kernel_version: Option<KernelVersion>,
    #[command(flatten)]
    pub(crate) kernel: KernelArgs,
}

impl LinuxoffsetsArgs {
    /// What is asked if the files are a checkpoint.
    pub(crate) fn guest(&self) -> GuestArgs {
        GuestArgs { inputs: self.inputs.clone(), kernel: self.kernel.clone() }
    }
}

fn version(text: &str) -> Result<KernelVersion, String> {
    KernelVersion::of_release(text).ok_or_else(|| format!("not a kernel version: {text}"))
}
