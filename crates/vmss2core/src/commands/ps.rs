//! `ps`: the processes of a guest.

use std::collections::HashMap;

use clap::Args;
use vmss2core_answers::{PsOptions, PsReport};
use vmss2core_guest::linux::{Kernel, Tasks};
use vmss2core_mem::{Gva, Problem};

use super::kernel::with_either_kernel;
use super::{Arguments, Plan, windows};
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
    guest: GuestArgs,
    /// List every thread
    #[arg(long)]
    threads: bool,
    /// List every process below its parent
    #[arg(long, conflicts_with = "json")]
    tree: bool,
    /// Print JSON instead of text (docs/schema/ps-1.json)
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

/// What a list has a line for, and in which order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Listed {
    /// Threads, not only processes.
    pub(crate) threads: bool,
    /// Processes below their parents.
    pub(crate) tree: bool,
}

impl Plan for PsPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        with_either_kernel(
            &self.guest,
            |kernel| of_linux(self, kernel),
            |kernel| {
                let (report, problems) = windows::ps(kernel, self.listed)?;
                output::answer(&report, self.style)?;
                Ok(problems)
            },
        )
    }
}

fn of_linux(plan: &PsPlan, kernel: &Kernel) -> anyhow::Result<Vec<Problem>> {
    let (report, problems) = report(kernel, plan.listed)?;
    output::answer(&report, plan.style)?;
    Ok(problems)
}

/// The processes, or all threads, and what is missing.
pub(super) fn report(kernel: &Kernel, listed: Listed) -> anyhow::Result<(PsReport, Vec<Problem>)> {
    let tasks = kernel.tasks()?;
    let (command_lines, problems) = command_lines(kernel, &tasks);
    // Without the guest's own clock it is better to count from its boot.
    let boot_unix_ns = kernel.clock(None).boot_unix_ns.map(|boot| boot.value);
    let Listed { threads, tree } = listed;
    let options = PsOptions { threads, tree, boot_unix_ns };
    let report = PsReport::new(&tasks, command_lines, &problems, options);
    Ok((report, tasks.problems.into_iter().chain(problems).collect()))
}

/// By `task_struct`. All threads of a process have the same.
fn command_lines(kernel: &Kernel, tasks: &Tasks) -> (HashMap<Gva, Vec<String>>, Vec<Problem>) {
    let mut found = HashMap::new();
    let mut of_process: HashMap<u32, Option<Vec<String>>> = HashMap::new();
    let (mut missing, mut cut) = (0_u64, 0_u64);
    for task in &tasks.tasks {
        let read = || {
            let line = kernel.command_line(task);
            missing = missing.saturating_add(u64::from(line.is_err()));
            let line = line.ok().flatten()?;
            cut = cut.saturating_add(u64::from(line.is_cut));
            Some(line.words)
        };
        if let Some(words) = of_process.entry(task.pid).or_insert_with(read) {
            found.insert(task.gva, words.clone());
        }
    }
    let missing = (missing > 0).then(|| {
        Problem::note(format!("the command lines of {missing} processes are not in memory"))
    });
    let cut = (cut > 0).then(|| {
        Problem::note(format!(
            "the command lines of {cut} processes are cut off: the rest is not in memory, or they \
             are longer than 2 MiB"
        ))
    });
    (found, missing.into_iter().chain(cut).collect())
}
