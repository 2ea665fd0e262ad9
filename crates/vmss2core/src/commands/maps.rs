//! `maps`: the mappings of a process.

use clap::Args;
use vmss2core::Which;

use super::open::ask;
use super::{Arguments, Plan};
use crate::args::{Global, GuestArgs, GuestPlan, Style};
use crate::exit::Exit;
use crate::output;

/// List the mappings of a process of a Linux guest
///
/// As /proc/PID/maps in the guest, with how much of each mapping the checkpoint
/// has: in memory, never touched (zero), not touched by the process but in the
/// guest's page cache of the file, swapped out, or missing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core maps vm.vmss --pid 1234
  vmss2core maps vm.vmss --pid 1234 --proc | grep libc
  vmss2core maps vm.vmss --pid 1234 --json | jq '.mappings[] | select(.missing > 0)'

Numbers of memory are KiB.")]
pub(crate) struct MapsArgs {
    #[command(flatten)]
    guest: GuestArgs,
    /// The process: its number or name, or the number of one of its threads
    #[arg(long, value_name = "PID|TID|NAME")]
    pid: Which,
    /// Print the lines of /proc/PID/maps, and nothing else
    #[arg(long, conflicts_with = "json")]
    proc: bool,
    /// Print JSON instead of text (docs/schema/maps-1.json)
    #[arg(long)]
    json: bool,
}

impl Arguments for MapsArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        Ok(Box::new(MapsPlan {
            guest: self.guest.plan(global),
            pid: self.pid,
            proc: self.proc,
            style: Style::of(self.json),
        }))
    }
}

/// List the mappings of a process.
#[derive(Debug)]
struct MapsPlan {
    guest: GuestPlan,
    pid: Which,
    /// As `/proc/PID/maps`.
    proc: bool,
    style: Style,
}

impl Plan for MapsPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        ask(&self.guest, |guest| {
            let said = guest.maps(self.pid.clone())?;
            let report = if self.proc { said.answer.as_proc() } else { said.answer };
            output::answer(&report, self.style)?;
            Ok(said.problems)
        })
    }
}
