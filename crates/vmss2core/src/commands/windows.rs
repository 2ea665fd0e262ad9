//! Questions that a Windows kernel is asked.

use std::io::Write;

use anyhow::bail;
use vmss2core_answers::{
    WindowsBtReport, WindowsModulesReport, WindowsPsReport, WindowsStack, write_json,
};
use vmss2core_guest::windows::{Kernel, Process, Processes, Thread, WindowsError};
use vmss2core_mem::Problem;

use super::bt::{BtPlan, Stacks};
use super::modules::ModulesPlan;
use super::ps::{PsPlan, PsStyle};
use crate::args::Style;
use crate::output;

/// `ps`.
pub(super) fn ps(plan: &PsPlan, kernel: &Kernel) -> anyhow::Result<Vec<Problem>> {
    let threads = if plan.threads { Listed::Threads } else { Listed::Processes };
    let mut out = output::stdout();
    let problems = write_ps(kernel, (plan.style, threads), &mut out)?;
    out.flush()?;
    Ok(problems)
}

/// What a list has a line for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    Processes,
    Threads,
}

/// Writes what `ps` says.
pub(super) fn write_ps(
    kernel: &Kernel,
    (style, listed): (PsStyle, Listed),
    mut out: &mut dyn Write,
) -> anyhow::Result<Vec<Problem>> {
    let found = kernel.processes()?;
    let report = WindowsPsReport::new(&found);
    match (style, listed) {
        (PsStyle::Json, _) => write_json(&report, &mut out)?,
        (PsStyle::Tree, _) => report.write_tree(&mut out)?,
        (PsStyle::Text, Listed::Threads) => report.write_threads(&mut out)?,
        (PsStyle::Text, Listed::Processes) => report.write_text(&mut out)?,
    }
    Ok(found.problems)
}

/// `modules`.
pub(super) fn modules(plan: &ModulesPlan, kernel: &Kernel) -> anyhow::Result<Vec<Problem>> {
    let mut out = output::stdout();
    let problems = write_modules(kernel, plan.style, &mut out)?;
    out.flush()?;
    Ok(problems)
}

/// Writes what `modules` says.
pub(super) fn write_modules(
    kernel: &Kernel,
    style: Style,
    mut out: &mut dyn Write,
) -> anyhow::Result<Vec<Problem>> {
    let modules = kernel.modules();
    let report = WindowsModulesReport::new(modules);
    match style {
        Style::Json => write_json(&report, &mut out)?,
        Style::Text => report.write_text(&mut out)?,
    }
    Ok(modules.problems.clone())
}

/// `bt`.
pub(super) fn bt(plan: &BtPlan, kernel: &Kernel) -> anyhow::Result<Vec<Problem>> {
    let mut out = output::stdout();
    let problems = write_bt(kernel, (plan.style, plan.stacks), &mut out)?;
    out.flush()?;
    Ok(problems)
}

/// Writes what `bt` says.
pub(super) fn write_bt(
    kernel: &Kernel,
    (style, wanted): (Style, Stacks),
    mut out: &mut dyn Write,
) -> anyhow::Result<Vec<Problem>> {
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
    let report = WindowsBtReport::new(stacks);
    match style {
        Style::Text => report.write_text(&mut out)?,
        Style::Json => write_json(&report, &mut out)?,
    }
    Ok(problems)
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
