//! `vmss2core ps`.

use clap::Args;

use super::GuestArgs;

/// List the processes of a guest
///
/// Everything is read from the guest's memory: no symbol file is needed. A ">"
/// in front marks what a vCPU was running. UID is the effective user. START is
/// a date (UTC) if the guest's clock is found, or else counts from its boot. A
/// name in brackets is a thread of the kernel, or a process whose command line
/// is empty or not in memory.
///
/// Of a Windows guest: number, parent, threads, CPUs that run it, date of creation
/// (UTC), path of the image; --json has addresses as well.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core ps vm.vmss
  vmss2core ps --tree --threads vm.vmss
  vmss2core ps --json vm.vmss | jq '.tasks[] | select(.state == \"D\") | .pid'

The last line counts by state: R running or ready, S asleep, D asleep and not to
be woken by signals, I idle thread of the kernel, T stopped, t stopped by a
debugger, Z ended and not yet waited for, X ended, P parked.")]
pub(crate) struct PsArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    /// List every thread
    #[arg(long)]
    pub(crate) threads: bool,
    /// List every process below its parent
    #[arg(long, conflicts_with = "json")]
    pub(crate) tree: bool,
    /// Print JSON instead of text (docs/schema/ps-1.json)
    #[arg(long)]
    pub(crate) json: bool,
}
