//! `ps`: the processes of a guest.

use clap::Args;
use vmss2core::Listed;

use super::open::ask;
use super::{Arguments, Plan};
use crate::args::{Global, GuestArgs, GuestPlan, Style};
use crate::exit::Exit;
use crate::output;

/// List the processes of a guest
///
/// Everything is read from the guest's memory: no symbol file is needed. A ">"
/// in front marks what a vCPU was running. UID is the effective user. START is
/// a date (UTC) if the guest's clock is found, or else counts from its boot. A
/// name in brackets is a thread of the kernel, or a process whose command line
/// is empty or not in memory.
///
/// Of a Windows guest COMMAND is the path of the image, and --threads says where each thread
/// began. --json has addresses as well.
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
    guest: GuestArgs,
    /// List every thread
    #[arg(long)]
    threads: bool,
    /// List every process below its parent
    #[arg(long, conflicts_with = "json")]
    tree: bool,
    /// Print JSON instead of text (docs/schema/ps-2.json)
    #[arg(long)]
    json: bool,
}

impl Arguments for PsArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        Ok(Box::new(PsPlan {
            guest: self.guest.plan(global),
            listed: Listed { threads: self.threads, tree: self.tree },
            style: Style::of(self.json),
        }))
    }
}

/// List processes.
#[derive(Debug)]
pub(crate) struct PsPlan {
    pub(crate) guest: GuestPlan,
    pub(crate) listed: Listed,
    pub(crate) style: Style,
}

impl Plan for PsPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        ask(&self.guest, |guest| {
            let said = guest.ps(self.listed)?;
            output::answer(&said.answer, self.style)?;
            Ok(said.problems)
        })
    }
}
