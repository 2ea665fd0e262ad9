//! Questions that a Windows kernel is asked.

use anyhow::bail;
use vmss2core_answers::{WindowsBtReport, WindowsPsReport, WindowsStack};
use vmss2core_guest::windows::{Kernel, Process, Processes, Thread, WindowsError};
use vmss2core_mem::Problem;

use super::bt::Stacks;
use super::ps::Listed;

/// What `ps` says, and what is missing.
pub(super) fn ps(
    kernel: &Kernel,
    listed: Listed,
) -> anyhow::Result<(WindowsPsReport, Vec<Problem>)> {
    let found = kernel.processes()?;
    let report = WindowsPsReport::new(&found);
    let report = match listed {
        Listed { tree: true, .. } => report.as_tree(),
        Listed { threads: true, .. } => report.with_threads(),
        Listed { .. } => report,
    };
    Ok((report, found.problems))
}

/// What `bt` says, and what is missing.
pub(super) fn bt(
    kernel: &Kernel,
    wanted: Stacks,
) -> anyhow::Result<(WindowsBtReport, Vec<Problem>)> {
    let mut problems = Vec::new();
    let listed = match kernel.processes() {
        Ok(listed) => listed,
        // The stack of a processor can be told without knowing its thread.
        Err(error) if matches!(wanted, Stacks::Processors | Stacks::Processor(_)) => {
            problems.push(Problem::warning(format!("processes are not known: {error}")));
            Processes::default()
        }
        Err(error) => return Err(error.into()),
    };
    problems.extend(listed.problems.iter().cloned());
    let stacks = stacks(kernel, &listed.processes, wanted, &mut problems)?;
    Ok((WindowsBtReport::new(stacks), problems))
}

fn stacks(
    kernel: &Kernel,
    processes: &[Process],
    wanted: Stacks,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Vec<WindowsStack>> {
    match wanted {
        Stacks::Processors => {
            let cpus = kernel.windows().cpus.iter().map(|cpu| cpu.number);
            let stack = |cpu| told(of_cpu(kernel, processes, cpu), problems);
            Ok(cpus.filter_map(stack).collect())
        }
        Stacks::Processor(cpu) => Ok(vec![of_cpu(kernel, processes, cpu)?]),
        Stacks::All => Ok(of_threads(kernel, processes.iter(), problems)),
        Stacks::Process(pid) => {
            let wanted = processes.iter().filter(|process| process.pid == u64::from(pid));
            if wanted.clone().next().is_none() {
                bail!("the guest has no process {pid}; vmss2core ps lists them");
            }
            Ok(of_threads(kernel, wanted, problems))
        }
    }
}

fn told(
    stack: Result<WindowsStack, WindowsError>,
    problems: &mut Vec<Problem>,
) -> Option<WindowsStack> {
    stack.map_err(|error| problems.push(Problem::incomplete(error.to_string()))).ok()
}

fn of_cpu(kernel: &Kernel, processes: &[Process], cpu: u32) -> Result<WindowsStack, WindowsError> {
    let found = kernel.backtrace_of_cpu(cpu)?;
    let runs = |process: &&Process| process.threads.iter().any(|thread| thread.cpu == Some(cpu));
    let process = processes.iter().find(runs);
    let mut threads = process.into_iter().flat_map(|process| &process.threads);
    let thread = threads.find(|thread| thread.cpu == Some(cpu));
    Ok(WindowsStack::new(kernel, Some(cpu), (process, thread), &found))
}

fn of_threads<'p>(
    kernel: &Kernel,
    processes: impl Iterator<Item = &'p Process>,
    problems: &mut Vec<Problem>,
) -> Vec<WindowsStack> {
    let threads =
        processes.flat_map(|process| process.threads.iter().map(move |one| (process, one)));
    let stack = |(process, thread): (&Process, &Thread)| {
        let found = kernel.backtrace_of_thread(thread);
        let owner = (Some(process), Some(thread));
        told(found.map(|found| WindowsStack::new(kernel, thread.cpu, owner, &found)), problems)
    };
    threads.filter_map(stack).collect()
}
