//! `ps`: the processes of a guest.

use std::collections::HashMap;
use std::io::Write;

use vmss2core_answers::{PsOptions, PsReport, write_json};
use vmss2core_guest::linux::{Kernel, Tasks};
use vmss2core_mem::{Gva, Problem};

use super::kernel::with_either_kernel;
use super::windows;
use crate::exit::Exit;
use crate::output;
use crate::plan::{PsPlan, PsStyle};

pub(super) fn run(plan: &PsPlan) -> anyhow::Result<Exit> {
    with_either_kernel(
        &plan.guest,
        |kernel| of_linux(plan, kernel),
        |kernel| windows::ps(plan, kernel),
    )
}

fn of_linux(plan: &PsPlan, kernel: &Kernel) -> anyhow::Result<Vec<Problem>> {
    let (report, problems) = report(kernel, plan.threads)?;
    let mut out = output::stdout();
    match plan.style {
        PsStyle::Text => report.write_text(&mut out)?,
        PsStyle::Tree => report.write_tree(&mut out)?,
        PsStyle::Json => write_json(&report, &mut out)?,
    }
    out.flush()?;
    Ok(problems)
}

/// The processes, or all threads, and what is missing.
pub(super) fn report(kernel: &Kernel, threads: bool) -> anyhow::Result<(PsReport, Vec<Problem>)> {
    let tasks = kernel.tasks()?;
    let (command_lines, problems) = command_lines(kernel, &tasks);
    // Without the guest's own clock it is better to count from its boot.
    let boot_unix_ns = kernel.clock(None).boot_unix_ns.map(|boot| boot.value);
    let options = PsOptions { threads, boot_unix_ns };
    let report = PsReport::new(&tasks, command_lines, &problems, options);
    Ok((report, tasks.problems.into_iter().chain(problems).collect()))
}

/// By `task_struct`. All threads of a process have the same.
fn command_lines(kernel: &Kernel, tasks: &Tasks) -> (HashMap<Gva, Vec<String>>, Vec<Problem>) {
    let mut found = HashMap::new();
    let mut of_process: HashMap<u32, Option<Vec<String>>> = HashMap::new();
    let (mut missing, mut cut) = (0_u64, 0_u64);
    for task in &tasks.tasks {
        let read = || {
            let line = kernel.command_line(task);
            missing = missing.saturating_add(u64::from(line.is_err()));
            let line = line.ok().flatten()?;
            cut = cut.saturating_add(u64::from(line.is_cut));
            Some(line.words)
        };
        if let Some(words) = of_process.entry(task.pid).or_insert_with(read) {
            found.insert(task.gva, words.clone());
        }
    }
    let missing = (missing > 0).then(|| {
        Problem::note(format!("the command lines of {missing} processes are not in memory"))
    });
    let cut = (cut > 0).then(|| {
        Problem::note(format!(
            "the command lines of {cut} processes are cut off: the rest is not in memory, or they \
             are longer than 2 MiB"
        ))
    });
    (found, missing.into_iter().chain(cut).collect())
}
