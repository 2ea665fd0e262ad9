//! `bt`: kernel stacks of processors and tasks.

use std::io::Write;

use anyhow::{anyhow, bail};
use vmss2core_answers::{BtReport, StackInfo, write_json};
use vmss2core_guest::linux::{Kernel, LinuxError, Task, Tasks};
use vmss2core_mem::Problem;

use super::kernel::with_either_kernel;
use super::windows;
use crate::exit::Exit;
use crate::output;
use crate::plan::{BtPlan, Stacks, Style};

pub(super) fn run(plan: &BtPlan) -> anyhow::Result<Exit> {
    with_either_kernel(
        &plan.guest,
        |kernel| of_linux(plan, kernel),
        |kernel| windows::bt(plan, kernel),
    )
}

fn of_linux(plan: &BtPlan, kernel: &Kernel) -> anyhow::Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let stacks = stacks(kernel, plan.stacks, &mut problems)?;
    let report = BtReport::new(stacks);
    let mut out = output::stdout();
    match plan.style {
        Style::Text => report.write_text(&mut out)?,
        Style::Json => write_json(&report, &mut out)?,
    }
    out.flush()?;
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
    let mut known: Vec<u32> = kernel.linux().logical_cpus.iter().flatten().copied().collect();
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
