//! `info`: what a checkpoint holds, and what to type next.

mod tag;

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, ValueHint};
use vmss2core::Guest;
use vmss2core_answers::TagsReport;
use vmss2core_checkpoint::Inventory;

use super::open::to_tell;
use super::{Arguments, Plan};
use crate::args::{Global, GuestPlan, KernelArgs, Style};
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
    #[command(flatten)]
    kernel: KernelArgs,
}

impl Arguments for InfoArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        let style = Style::of(self.json);
        let show = match self.tag {
            Some(tag) => Show::Tag(tag),
            None if self.tags => Show::Tags(style),
            None => Show::Report(style),
        };
        let (spill_dir, talk) = (global.spill_dir(), global.talk());
        let guest = GuestPlan::new(self.inputs, self.kernel, spill_dir, talk);
        Ok(Box::new(InfoPlan { guest, show }))
    }
}

/// Say what a checkpoint holds.
#[derive(Debug)]
struct InfoPlan {
    guest: GuestPlan,
    show: Show,
}

/// Forms of `info`.
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
            Show::Tags(style) => tags(&to_tell(&self.guest)?, *style),
            Show::Tag(name) => tag::run(inventory(&to_tell(&self.guest)?)?, name),
        }
    }
}

fn report(plan: &InfoPlan, style: Style) -> anyhow::Result<Exit> {
    let guest = to_tell(&plan.guest)?;
    if plan.guest.files.are_given() {
        // That they do not fit is an error, as in every command.
        guest.linux()?;
    }
    output::answer(&guest.info(), style)?;
    let failure = guest.read_failure();
    output::problems(&failure);
    Ok(Exit::of_guest(&guest, failure.as_slice()))
}

fn tags(guest: &Guest, style: Style) -> anyhow::Result<Exit> {
    output::answer(&TagsReport::new(inventory(guest)?), style)?;
    output::problems(guest.reader_problems());
    Ok(Exit::with_problems(guest.reader_problems()))
}

fn inventory(guest: &Guest) -> anyhow::Result<&Inventory> {
    guest.inventory().ok_or_else(|| {
        let kind = &guest.checkpoint().about.provenance.kind;
        anyhow!("this checkpoint has no items to list: {kind}")
    })
}
