//! `modules`: what the kernel has loaded.

use clap::Args;
use vmss2core_answers::ModuleList;

use super::open::ask;
use super::{Arguments, Plan};
use crate::args::{Global, GuestArgs, GuestPlan, Style};
use crate::exit::Exit;
use crate::output;

/// List the modules that the guest's kernel has loaded
///
/// As lsmod lists them, with the address of each. How they were found is said
/// on stderr. Of a Windows guest: images with the path of the PDB in a symbol
/// store, and those that were unloaded. Of macOS: the kernel and its extensions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core modules vm.vmss
  vmss2core modules --proc vm.vmss       as /proc/modules has them
  vmss2core modules --json vm.vmss | jq -r '.modules[] | .name + \" \" + .text'")]
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
        Ok(Box::new(ModulesPlan {
            guest: self.guest.plan(global),
            list: if self.proc { ModuleList::Proc } else { ModuleList::Table },
            style: Style::of(self.json),
        }))
    }
}

/// List the modules.
#[derive(Debug)]
struct ModulesPlan {
    guest: GuestPlan,
    list: ModuleList,
    style: Style,
}

impl Plan for ModulesPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        ask(&self.guest, |guest| {
            let said = guest.modules(self.list)?;
            output::answer(&said.answer, self.style)?;
            if !said.answer.how.is_empty() {
                output::talk(&format!("vmss2core: found by {}", said.answer.how));
            }
            Ok(said.problems)
        })
    }
}
