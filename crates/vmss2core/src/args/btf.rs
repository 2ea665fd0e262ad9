use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::GuestArgs;

/// Write the type information of the guest's kernel (BTF) to a file
///
/// Kernels since 5.2 carry it for BPF programs, if they were built with
/// CONFIG_DEBUG_INFO_BTF. The file is as /sys/kernel/btf/vmlinux in the guest:
/// bpftool and pahole open it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core btf vm.vmss -o kernel.btf
  pahole -C task_struct kernel.btf
  bpftool btf dump file kernel.btf format c
  vmss2core btf vm.vmss --module nf_tables -o nf_tables.btf
  bpftool -B kernel.btf btf dump file nf_tables.btf")]
pub(crate) struct BtfArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    /// File to write, - for stdout
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
    /// Write the types of a module, which refer to those of the kernel
    #[arg(long, value_name = "NAME")]
    pub(crate) module: Option<String>,
    /// Replace OUT if it exists
    #[arg(long)]
    pub(crate) force: bool,
}
