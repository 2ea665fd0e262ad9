//! `info`: what a checkpoint holds, and what to type next.

mod tag;

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, ValueHint};
use vmss2core_answers::{InfoReport, KernelAnswers, TagsReport};
use vmss2core_checkpoint::{Inventory, Opened};
use vmss2core_guest::linux::{BetterSources, Kernel, Task, Tasks};
use vmss2core_machine::Vcpu;
use vmss2core_mem::{Found, Gva};

use super::source::{self, Guest};
use super::{Arguments, Plan};
use crate::args::{Global, Source, Style};
use crate::exit::Exit;
use crate::output;

/// Say what a checkpoint holds, and what to type next
///
/// Shows the product that wrote it, its files and how they were found, the
/// memory map with its holes, where each vCPU is, what is known of the guest's
/// operating system and how it was found, and the commands worth typing next.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core info vm.vmss
  vmss2core info --json vm.vmss | jq .guest.linux.release.value
  vmss2core info --tags vm.vmss
  vmss2core info --tag 'cpu/rip[0]' vm.vmss | xxd

The JSON form carries its name and version in \"schema\"; docs/schema describes
it. Addresses are strings, because many readers hold numbers in 53 bits.")]
pub(crate) struct InfoArgs {
    /// Files of the checkpoint, in any order, or its directory
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    inputs: Vec<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// List every item of the state file: offset, size and value
    #[arg(long)]
    tags: bool,
    /// Write the raw bytes of one item to stdout
    #[arg(
        long,
        value_name = "GROUP/NAME[I][J]",
        conflicts_with_all = ["json", "tags"],
        long_help = "Write the raw bytes of one item to stdout\n\n\
                     The item is named as --tags lists it, for example 'cpu/rip[0]'. What is \
                     compressed in the file is written compressed."
    )]
    tag: Option<String>,
}

impl Arguments for InfoArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        let style = Style::of(self.json);
        let show = match self.tag {
            Some(tag) => Show::Tag(tag),
            None if self.tags => Show::Tags(style),
            None => Show::Report(style),
        };
        let spill_dir = global.spill_dir();
        Ok(Box::new(InfoPlan { source: Source { inputs: self.inputs, spill_dir }, show }))
    }
}

/// Say what a checkpoint holds.
#[derive(Debug)]
struct InfoPlan {
    source: Source,
    show: Show,
}

/// What `info` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Show {
    Report(Style),
    Tags(Style),
    Tag(String),
}

impl Plan for InfoPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        match &self.show {
            Show::Report(style) => report(self, *style),
            Show::Tags(style) => tags(&source::open(&self.source)?, *style),
            Show::Tag(name) => tag::run(inventory(&source::open(&self.source)?)?, name),
        }
    }
}

/// What there is to tell about a guest.
pub(super) fn about(guest: &Guest, inputs: &[PathBuf]) -> InfoReport {
    let mut report = InfoReport::new(&guest.opened.checkpoint, &guest.facts, inputs);
    if let Some(misfit) = &guest.misfit {
        report.add_misfit(misfit);
    }
    if let Some(windows) = &guest.facts.windows {
        report.add_windows(&vmss2core_guest::windows::Kernel::open(
            &guest.opened.checkpoint,
            windows,
        ));
    }
    if let Some(answers) = answers(guest) {
        report.add_kernel(&answers);
    }
    report
}

fn report(plan: &InfoPlan, style: Style) -> anyhow::Result<Exit> {
    let guest = Guest::open(&plan.source)?;
    let report = about(&guest, &plan.source.inputs);
    output::answer(&report, style)?;
    let failure = guest.read_failure();
    output::problems(&failure);
    Ok(guest.exit_with(failure.as_slice()))
}

/// What the guest's kernel itself answers, if it can be asked.
fn answers(guest: &Guest) -> Option<KernelAnswers> {
    let checkpoint = &guest.opened.checkpoint;
    let kernel = Kernel::open(checkpoint, &guest.facts, BetterSources::default()).ok()?;
    let log = kernel.log().ok();
    let place = |vcpu: &Vcpu| {
        // The second kernel's symbols are not these.
        let rip = vcpu.x86()?.rip.filter(|_| !kernel.linux().has_left(vcpu.index))?;
        kernel.symbolize(Gva(rip)).map(|place| place.to_string())
    };
    let tasks = tasks(&kernel);
    Some(KernelAnswers {
        blocked: tasks.as_ref().map(|tasks| blocked(&kernel, &tasks.value)).unwrap_or_default(),
        clock: kernel.clock(log.as_ref()),
        stopped: log.is_some().then(|| kernel.stopped(log.as_ref())),
        places: checkpoint.vcpus.iter().map(place).collect(),
        tasks,
    })
}

/// Tasks whose stacks are looked at: more in the same state would tell nothing new.
const MOST_BLOCKED: usize = 4096;

/// Of each task that cannot be interrupted in its wait, the function that it waits in.
fn blocked(kernel: &Kernel, tasks: &[Task]) -> Vec<Option<String>> {
    let is_blocked = |task: &&Task| task.state.is_some_and(|state| state.letter == 'D');
    let place = |task: &Task| {
        let place = kernel.wait_channel(task)?;
        Some(match place.module {
            Some(module) => format!("{} [{module}]", place.name),
            None => place.name.to_owned(),
        })
    };
    let mut looks_left = MOST_BLOCKED;
    let place = |task: &Task| {
        looks_left = looks_left.checked_sub(1)?;
        place(task)
    };
    tasks.iter().filter(is_blocked).map(place).collect()
}

/// The tasks, as far as their lists can be followed.
fn tasks(kernel: &Kernel) -> Option<Found<Vec<Task>>> {
    let first = kernel.init_task().ok()?;
    let Tasks { tasks, problems } = kernel.tasks().ok()?;
    let how = format!("lists from init_task at {}, {}", first.value, first.how);
    let how = if problems.is_empty() { how } else { format!("{how}; some are broken: see ps") };
    Some(Found::new(tasks, how))
}

fn tags(opened: &Opened, style: Style) -> anyhow::Result<Exit> {
    output::answer(&TagsReport::new(inventory(opened)?), style)?;
    output::problems(&opened.checkpoint.about.problems);
    Ok(Exit::with_problems(&opened.checkpoint.about.problems))
}

fn inventory(opened: &Opened) -> anyhow::Result<&Inventory> {
    opened.inventory.as_ref().ok_or_else(|| {
        anyhow!("this checkpoint has no items to list: {}", opened.checkpoint.about.provenance.kind)
    })
}
