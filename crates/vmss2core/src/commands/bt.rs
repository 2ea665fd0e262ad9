//! `bt`: kernel stacks of processors and tasks.

use clap::Args;
use vmss2core::{StacksOf, Which};

use super::open::ask;
use super::{Arguments, Plan};
use crate::args::{Global, GuestArgs, GuestPlan, Style};
use crate::exit::Exit;
use crate::output;

/// Show what the kernel was doing: stacks of processors and tasks
///
/// Without options the stack of each vCPU. Functions are named from the guest's
/// own symbol table and found by its own unwind tables; words of a stack that
/// are only guesses are marked with a question mark.
///
/// Windows' code is unwound by the unwind data of its images, as far as that is in
/// memory, and named by exported names or by image and distance.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core bt vm.vmss               what each vCPU was doing
  vmss2core bt --pid 1234 vm.vmss    all threads of a process
  vmss2core bt -a vm.vmss            every task")]
pub(crate) struct BtArgs {
    #[command(flatten)]
    guest: GuestArgs,
    /// Only this processor, as the guest numbers them
    #[arg(long, value_name = "N")]
    cpu: Option<u32>,
    /// All threads of a process: its number or name, or the number of one of them
    #[arg(long, value_name = "PID|TID|NAME", conflicts_with = "cpu")]
    pid: Option<Which>,
    /// Every task
    #[arg(short, long, conflicts_with_all = ["cpu", "pid"])]
    all: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl Arguments for BtArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        let stacks = match (self.cpu, self.pid) {
            (Some(cpu), _) => StacksOf::Processor(cpu),
            (_, Some(pid)) => StacksOf::Process(pid),
            _ if self.all => StacksOf::All,
            _ => StacksOf::Processors,
        };
        let style = Style::of(self.json);
        Ok(Box::new(BtPlan { guest: self.guest.plan(global), stacks, style }))
    }
}

/// Show kernel stacks.
#[derive(Debug)]
struct BtPlan {
    guest: GuestPlan,
    stacks: StacksOf,
    style: Style,
}

impl Plan for BtPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        ask(&self.guest, |guest| {
            let said = guest.bt(&self.stacks)?;
            output::answer(&said.answer, self.style)?;
            Ok(said.problems)
        })
    }
}
