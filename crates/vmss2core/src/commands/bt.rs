//! `bt`: kernel stacks of processors and tasks.

use anyhow::{anyhow, bail};
use clap::Args;
use vmss2core_answers::{BtReport, StackInfo};
use vmss2core_guest::linux::{Kernel, LinuxError, Task, Tasks};
use vmss2core_mem::Problem;

use super::kernel::with_either_kernel;
use super::{Arguments, Plan, windows};
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
    /// Only this processor, as Linux numbers them
    #[arg(long, value_name = "N")]
    cpu: Option<u32>,
    /// All threads of this process, or the thread of this number
    #[arg(long, value_name = "N", conflicts_with = "cpu")]
    pid: Option<u32>,
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
            (Some(cpu), _) => Stacks::Processor(cpu),
            (_, Some(pid)) => Stacks::Process(pid),
            _ if self.all => Stacks::All,
            _ => Stacks::Processors,
        };
        let style = Style::of(self.json);
        Ok(Box::new(BtPlan { guest: self.guest.plan(global), stacks, style }))
    }
}

/// Show kernel stacks.
#[derive(Debug)]
pub(super) struct BtPlan {
    pub(super) guest: GuestPlan,
    pub(super) stacks: Stacks,
    pub(super) style: Style,
}

/// Whose stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stacks {
    Processors,
    /// As Linux numbers them.
    Processor(u32),
    Process(u32),
    All,
}

impl Plan for BtPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        with_either_kernel(
            &self.guest,
            |kernel| of_linux(self, kernel),
            |kernel| {
                let (report, problems) = windows::bt(kernel, self.stacks)?;
                output::answer(&report, self.style)?;
                Ok(problems)
            },
        )
    }
}

fn of_linux(plan: &BtPlan, kernel: &Kernel) -> anyhow::Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let stacks = stacks(kernel, plan.stacks, &mut problems)?;
    output::answer(&BtReport::new(stacks), plan.style)?;
    Ok(problems)
}

/// The stacks that are wanted.
pub(super) fn stacks(
    kernel: &Kernel,
    wanted: Stacks,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Vec<StackInfo>> {
    let tasks = match (kernel.tasks(), wanted) {
        (Ok(tasks), _) => tasks,
        // The stack of a processor can be told without knowing its task.
        (Err(error), Stacks::Processors | Stacks::Processor(_)) => {
            problems.push(Problem::warning(format!("tasks are not known: {error}")));
            Tasks::default()
        }
        (Err(error), _) => return Err(error.into()),
    };
    problems.extend(tasks.problems);
    let tasks = &tasks.tasks;
    match wanted {
        Stacks::Processors => Ok(of_processors(kernel, tasks, |_| true, problems)),
        Stacks::Processor(cpu) => {
            let found = of_processors(kernel, tasks, |stack| stack.cpu == Some(cpu), problems);
            if found.is_empty() { Err(no_cpu(kernel, cpu)) } else { Ok(found) }
        }
        Stacks::All => Ok(of_tasks(kernel, tasks, |_| true, problems)),
        Stacks::Process(pid) => {
            let is_process = tasks.iter().any(|task| task.pid == pid && pid != 0);
            let wanted = |task: &Task| if is_process { task.pid == pid } else { task.tid == pid };
            if !tasks.iter().any(wanted) {
                bail!("the guest has no process {pid}; vmss2core ps lists them");
            }
            Ok(of_tasks(kernel, tasks, wanted, problems))
        }
    }
}

/// A CPU of the guest may have no vCPU whose number of it is known.
fn no_cpu(kernel: &Kernel, cpu: u32) -> anyhow::Error {
    let mut known: Vec<u32> = kernel.vcpus().iter().filter_map(|vcpu| vcpu.number).collect();
    known.sort_unstable();
    let known: Vec<String> = known.iter().map(u32::to_string).collect();
    match known.as_slice() {
        [] => {
            anyhow!("which vCPU is CPU {cpu} of the guest is not known; bt without --cpu shows all")
        }
        known => anyhow!("no vCPU is CPU {cpu} of the guest, but CPU {}", known.join(", ")),
    }
}

fn of_processors(
    kernel: &Kernel,
    tasks: &[Task],
    wanted: impl Fn(&StackInfo) -> bool,
    problems: &mut Vec<Problem>,
) -> Vec<StackInfo> {
    let indices = kernel.vcpus().iter().map(|vcpu| vcpu.index);
    let stack = |index| {
        let task = tasks.iter().find(|task| task.on_vcpu == Some(index));
        match kernel.backtrace_of_vcpu(index) {
            Ok(found) => Some(StackInfo::new(kernel, Some(index), task, &found)),
            Err(error) => {
                problems.push(Problem::incomplete(format!("stack of vCPU {index}: {error}")));
                None
            }
        }
    };
    indices.filter_map(stack).filter(|stack| wanted(stack)).collect()
}

fn of_tasks(
    kernel: &Kernel,
    tasks: &[Task],
    wanted: impl Fn(&Task) -> bool,
    problems: &mut Vec<Problem>,
) -> Vec<StackInfo> {
    let tasks: Vec<&Task> = tasks.iter().filter(|task| wanted(task)).collect();
    let stack = |task: &&Task| match kernel.backtrace(task) {
        Ok(found) => Some(StackInfo::new(kernel, task.on_vcpu, Some(task), &found)),
        Err(LinuxError::NoStack { .. }) if tasks.len() > 1 => None,
        Err(error) => {
            problems.push(Problem::incomplete(format!("stack of task {}: {error:#}", task.tid)));
            None
        }
    };
    tasks.iter().filter_map(stack).collect()
}
