//! `crash-args`: how to open the guest in kernel debuggers.

use clap::Args;

use super::open::ask;
use super::{Arguments, Plan};
use crate::args::{Global, GuestArgs, GuestPlan, Style};
use crate::exit::Exit;
use crate::output;

/// Print the lines that open this guest in crash, drgn and gdb
///
/// With the numbers that they need filled in, the package that has the symbols
/// of the guest's kernel, and the file that it puts them in, or the one given
/// with --vmlinux.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core crash-args vm.vmss
  vmss2core crash-args --json vm.vmss | jq -r .kaslr")]
pub(crate) struct CrashArgsArgs {
    #[command(flatten)]
    guest: GuestArgs,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl Arguments for CrashArgsArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        let style = Style::of(self.json);
        Ok(Box::new(CrashArgsPlan { guest: self.guest.plan(global), style }))
    }
}

/// Print command lines for debuggers.
#[derive(Debug)]
struct CrashArgsPlan {
    guest: GuestPlan,
    style: Style,
}

impl Plan for CrashArgsPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        ask(&self.guest, |guest| {
            output::answer(&guest.crash_args()?, self.style)?;
            Ok(Vec::new())
        })
    }
}
