//! `symbols`: what the kernel calls its functions and variables.

use clap::Args;

use super::open::ask;
use super::{Arguments, Plan};
use crate::args::{Global, GuestArgs, GuestPlan, Style};
use crate::exit::Exit;
use crate::output;

/// List the symbols of the guest's kernel, or look some up
///
/// The kernel carries a table of its symbols for its own messages; no file from
/// the guest is needed. Symbols of loaded modules are listed too.
#[derive(Debug, Args)]
#[command(
    override_usage = "vmss2core symbols [OPTIONS] <FILE>... [NAME|ADDRESS]...",
    after_help = "\
Of the words after the first, those that name no existing file are symbols to
look up: a name, a pattern with * and ?, or an address (hexadecimal, with 0x).

Examples:
  vmss2core symbols vm.vmss                    all, as nm prints them
  vmss2core symbols vm.vmss init_task
  vmss2core symbols vm.vmss 'tcp_*' '*_lock'
  vmss2core symbols vm.vmss 0xffffffff81001234  the symbol there, and offset"
)]
pub(crate) struct SymbolsArgs {
    #[command(flatten)]
    guest: GuestArgs,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl Arguments for SymbolsArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        let mut guest = self.guest;
        let wanted = guest.take_names();
        let style = Style::of(self.json);
        Ok(Box::new(SymbolsPlan { guest: guest.plan(global), wanted, style }))
    }
}

/// List symbols of the kernel.
#[derive(Debug)]
struct SymbolsPlan {
    guest: GuestPlan,
    /// Names, patterns and addresses; all symbols if there are none.
    wanted: Vec<String>,
    style: Style,
}

impl Plan for SymbolsPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        ask(&self.guest, |guest| {
            let said = guest.symbols(&self.wanted)?;
            output::answer(&said.answer, self.style)?;
            self.guest.source.talk.found_by(said.answer.how);
            Ok(said.problems)
        })
    }
}
