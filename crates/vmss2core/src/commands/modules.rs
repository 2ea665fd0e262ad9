//! `modules`: what the kernel has loaded.

use anyhow::anyhow;
use clap::Args;
use vmss2core_answers::{ModuleList, printable};

use super::open::ask;
use super::{Arguments, Plan};
use crate::args::{Global, GuestArgs, GuestPlan, Style};
use crate::exit::Exit;
use crate::output;

/// List the modules that the guest's kernel has loaded
///
/// As lsmod lists them, with the address of each. Of a Windows guest: images with the path of the PDB in a symbol
/// store, and those that were unloaded. Of macOS: the kernel and its extensions.
#[derive(Debug, Args)]
#[command(
    override_usage = "vmss2core modules [OPTIONS] <FILE>... [NAME]...",
    after_help = "\
Of the words after the first, those that name no existing file are modules: a name,
or a pattern with * and ?.

Examples:
  vmss2core modules vm.vmss
  vmss2core modules vm.vmss 'nf_*'
  vmss2core modules --proc vm.vmss       as /proc/modules has them
  vmss2core modules --json vm.vmss | jq -r '.modules[] | .name + \" \" + .text'"
)]
pub(crate) struct ModulesArgs {
    #[command(flatten)]
    guest: GuestArgs,
    /// Print lines as in /proc/modules
    #[arg(long, conflicts_with = "json")]
    proc: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl Arguments for ModulesArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        let mut guest = self.guest;
        let names = guest.take_names();
        Ok(Box::new(ModulesPlan {
            guest: guest.plan(global),
            names,
            list: if self.proc { ModuleList::Proc } else { ModuleList::Table },
            style: Style::of(self.json),
        }))
    }
}

/// List the modules.
#[derive(Debug)]
struct ModulesPlan {
    guest: GuestPlan,
    /// Names and patterns; all modules if there are none.
    names: Vec<String>,
    list: ModuleList,
    style: Style,
}

impl Plan for ModulesPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        ask(&self.guest, |guest| {
            let mut said = guest.modules(self.list)?;
            said.answer.keep(&self.names).map_err(|name| {
                anyhow!("no module is called {}; vmss2core modules lists all", printable(&name))
            })?;
            output::answer(&said.answer, self.style)?;
            self.guest.source.talk.found_by(&said.answer.how);
            Ok(said.problems)
        })
    }
}
