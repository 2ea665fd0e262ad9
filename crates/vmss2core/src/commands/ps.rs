//! `ps`: the processes of a guest.

use clap::Args;
use vmss2core::answers::Only;
use vmss2core::{AskError, Error, Listed};

use super::open::ask;
use super::{Arguments, Plan};
use crate::args::{Global, GuestArgs, GuestPlan, ProcessArgs, Style, Wanted};
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
  vmss2core ps --state D vm.vmss                 who waits and cannot be woken
  vmss2core ps --user 0 --name sshd vm.vmss
  vmss2core ps --json vm.vmss | jq '.tasks[] | select(.state == \"D\") | .pid'

The last line counts by state: R running or ready, S asleep, D asleep and not to
be woken by signals, I idle thread of the kernel, T stopped, t stopped by a
debugger, Z ended and not yet waited for, X ended, P parked.")]
pub(crate) struct PsArgs {
    #[command(flatten)]
    guest: GuestArgs,
    #[command(flatten)]
    processes: ProcessArgs,
    /// Only those of this effective user, by number; several with commas
    #[arg(long, value_name = "UID", value_delimiter = ',')]
    user: Vec<u32>,
    /// Only threads in one of these states, by their letters or names; several with commas
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<String>,
    /// List every thread
    #[arg(short = 'T', long)]
    threads: bool,
    /// List every process below its parent
    #[arg(long, conflicts_with_all = ["json", "processes", "user", "state"])]
    tree: bool,
    /// Print JSON instead of text (docs/schema/ps-2.json)
    #[arg(long)]
    json: bool,
}

impl Arguments for PsArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        Ok(Box::new(PsPlan {
            guest: self.guest.plan(global),
            listed: Listed { threads: self.threads || !self.state.is_empty(), tree: self.tree },
            only: Only {
                which: self.processes.wanted().into_iter().map(Wanted::into_which).collect(),
                users: self.user,
                states: self.state,
            },
            style: Style::of(self.json),
        }))
    }
}

/// List processes.
#[derive(Debug)]
pub(crate) struct PsPlan {
    pub(crate) guest: GuestPlan,
    pub(crate) listed: Listed,
    pub(crate) only: Only,
    pub(crate) style: Style,
}

impl Plan for PsPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        ask(&self.guest, |guest| {
            let mut said = guest.ps(self.listed)?;
            said.answer.keep(&self.only).map_err(AskError::NoProcess).map_err(Error::from)?;
            output::answer(&said.answer, self.style)?;
            self.guest.source.talk.found_by(&said.answer.how);
            Ok(said.problems)
        })
    }
}
