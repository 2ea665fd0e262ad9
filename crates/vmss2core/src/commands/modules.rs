//! `modules`: what the kernel has loaded.

use clap::Args;
use vmss2core_answers::{ModuleList, ModulesReport, WindowsModulesReport};
use vmss2core_guest::linux::Kernel;
use vmss2core_mem::Problem;

use super::kernel::with_any_kernel;
use super::{Arguments, Plan, macos};
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
pub(super) struct ModulesPlan {
    pub(super) guest: GuestPlan,
    pub(super) list: ModuleList,
    pub(super) style: Style,
}

impl Plan for ModulesPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        with_any_kernel(
            &self.guest,
            |kernel| of_linux(self, kernel),
            |kernel| {
                let modules = kernel.modules();
                output::answer(&WindowsModulesReport::new(modules), self.style)?;
                Ok(modules.problems.clone())
            },
            |guest| {
                output::answer(&macos::modules(&guest.facts)?, self.style)?;
                Ok(Vec::new())
            },
        )
    }
}

fn of_linux(plan: &ModulesPlan, kernel: &Kernel) -> anyhow::Result<Vec<Problem>> {
    let modules = kernel.modules();
    let report = ModulesReport::new(modules, kernel.word_len(), plan.list);
    output::answer(&report, plan.style)?;
    if !modules.how.is_empty() {
        output::talk(&format!("vmss2core: {}", modules.how));
    }
    Ok(modules.problems.clone())
}
