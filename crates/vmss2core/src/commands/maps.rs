//! `maps`: the mappings of a process.

use std::io::Write;

use clap::Args;

use super::open::ask;
use super::processes;
use super::{Arguments, Plan};
use crate::args::{Global, GuestArgs, GuestPlan, ProcessArgs, Style, Wanted};
use crate::exit::Exit;
use crate::output;

/// List the mappings of a process of a Linux guest
///
/// As /proc/PID/maps in the guest, with how much of each mapping the checkpoint
/// has: in memory, never touched (zero), not touched by the process but in the
/// guest's page cache of the file, swapped out, or missing.
#[derive(Debug, Args)]
#[command(mut_group("processes", |group| group.required(true)), after_help = "\
Examples:
  vmss2core maps vm.vmss --pid 1234
  vmss2core maps vm.vmss --pid 1234 --proc | grep libc
  vmss2core maps vm.vmss --pid 1234 --json | jq '.mappings[] | select(.missing > 0)'

Numbers of memory are KiB. The JSON form of several processes is one document for
each, as jq reads them.")]
pub(crate) struct MapsArgs {
    #[command(flatten)]
    guest: GuestArgs,
    #[command(flatten)]
    processes: ProcessArgs,
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
            wanted: self.processes.wanted(),
            proc: self.proc,
            style: Style::of(self.json),
        }))
    }
}

/// List the mappings of a process.
#[derive(Debug)]
struct MapsPlan {
    guest: GuestPlan,
    wanted: Vec<Wanted>,
    /// As `/proc/PID/maps`.
    proc: bool,
    style: Style,
}

impl Plan for MapsPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        ask(&self.guest, |guest| {
            let mut problems = Vec::new();
            let tasks = guest.linux()?.tasks()?.tasks;
            let chosen = processes::chosen(&tasks, &self.wanted, &mut problems)?;
            for (index, one) in chosen.iter().enumerate() {
                let said = guest.maps(one.number)?;
                let report = if self.proc { said.answer.as_proc() } else { said.answer };
                if index > 0 && self.style == Style::Text {
                    writeln!(output::stdout())?;
                }
                output::answer(&report, self.style)?;
                problems.extend(said.problems);
            }
            Ok(problems)
        })
    }
}
