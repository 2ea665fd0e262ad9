//! `bt`: kernel stacks of processors and tasks.

use anyhow::Context;
use clap::Args;
use vmss2core::StacksOf;

use super::open::ask;
use super::{Arguments, Plan};
use crate::args::{Global, GuestArgs, GuestPlan, ProcessArgs, Style, Wanted};
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
  vmss2core bt --name nginx vm.vmss  all threads of all processes of a name
  vmss2core bt -a vm.vmss            every task")]
pub(crate) struct BtArgs {
    #[command(flatten)]
    guest: GuestArgs,
    /// Only this processor, as the guest numbers them
    #[arg(long, value_name = "N", conflicts_with = "processes")]
    cpu: Option<u32>,
    #[command(flatten)]
    processes: ProcessArgs,
    /// Every task
    #[arg(short, long, conflicts_with_all = ["cpu", "processes"])]
    all: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl Arguments for BtArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        let of_process = |wanted: Wanted| StacksOf::Process(wanted.into_which());
        let of_processes: Vec<StacksOf> =
            self.processes.wanted().into_iter().map(of_process).collect();
        let stacks = match self.cpu {
            Some(cpu) => vec![StacksOf::Processor(cpu)],
            None if self.all => vec![StacksOf::All],
            None if of_processes.is_empty() => vec![StacksOf::Processors],
            None => of_processes,
        };
        let style = Style::of(self.json);
        Ok(Box::new(BtPlan { guest: self.guest.plan(global), stacks, style }))
    }
}

/// Show kernel stacks.
#[derive(Debug)]
struct BtPlan {
    guest: GuestPlan,
    /// Each is asked for by itself.
    stacks: Vec<StacksOf>,
    style: Style,
}

impl Plan for BtPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        ask(&self.guest, |guest| {
            let mut answers = self.stacks.iter().map(|of| guest.bt(of));
            let mut all = answers.next().context("nothing was asked for")??;
            for more in answers {
                let more = more?;
                all.answer.add(more.answer);
                all.problems.extend(more.problems);
            }
            output::answer(&all.answer, self.style)?;
            Ok(all.problems)
        })
    }
}
