//! `bt`.

use clap::Args;

use super::GuestArgs;

/// Show what the kernel was doing: stacks of processors and tasks
///
/// Without options the stack of each vCPU. Functions are named from the guest's
/// own symbol table and found by its own unwind tables; words of a stack that
/// are only guesses are marked with a question mark.
///
/// Windows' code is unwound by the unwind data of its images, as far as that is in
/// memory, and named by exported names or by image and distance.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core bt vm.vmss               what each vCPU was doing
  vmss2core bt --pid 1234 vm.vmss    all threads of a process
  vmss2core bt -a vm.vmss            every task")]
pub(crate) struct BtArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    /// Only this processor, as Linux numbers them
    #[arg(long, value_name = "N")]
    pub(crate) cpu: Option<u32>,
    /// All threads of this process, or the thread of this number
    #[arg(long, value_name = "N", conflicts_with = "cpu")]
    pub(crate) pid: Option<u32>,
    /// Every task
    #[arg(short, long, conflicts_with_all = ["cpu", "pid"])]
    pub(crate) all: bool,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}
