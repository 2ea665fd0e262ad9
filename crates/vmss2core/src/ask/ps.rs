//! The processes of a guest.

use std::collections::HashMap;

use vmss2core_answers::{PsOptions, PsReport, WindowsPsReport};
use vmss2core_guest::OperatingSystem;
use vmss2core_guest::linux::{Kernel as Linux, Tasks};
use vmss2core_guest::windows::Kernel as Windows;
use vmss2core_mem::{Gva, Problem};

use super::{Answered, Processes};
use crate::{Error, Guest, Kernel};

/// What a list of processes has a line for, and in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Threads, not only processes.
    pub threads: bool,
    /// Processes below their parents.
    pub tree: bool,
}

impl Guest {
    /// Its processes, or their threads.
    pub fn ps(&self, listed: Listed) -> Result<Answered<Processes>, Error> {
        match self.kernel()? {
            Kernel::Linux(kernel) => of_linux(kernel, listed),
            Kernel::Windows(kernel) => of_windows(kernel, listed),
            Kernel::Macos(_) => Err(Error::OtherSystem(OperatingSystem::MacOs)),
        }
    }
}

fn of_linux(kernel: &Linux, listed: Listed) -> Result<Answered<Processes>, Error> {
    let Listed { threads, tree } = listed;
    let tasks = kernel.tasks()?;
    let (command_lines, problems) = command_lines(kernel, &tasks);
    // Without the guest's own clock it is better to count from its boot.
    let boot_unix_ns = kernel.clock(None).boot_unix_ns.map(|boot| boot.value);
    let options = PsOptions { threads, tree, boot_unix_ns };
    let report = PsReport::new(&tasks, command_lines, &problems, options);
    let problems = tasks.problems.into_iter().chain(problems).collect();
    Ok(Answered { answer: Processes::Linux(report), problems })
}

fn of_windows(kernel: &Windows, listed: Listed) -> Result<Answered<Processes>, Error> {
    let found = kernel.processes()?;
    let report = WindowsPsReport::new(&found);
    let report = match listed {
        Listed { tree: true, .. } => report.as_tree(),
        Listed { threads: true, .. } => report.with_threads(),
        Listed { .. } => report,
    };
    Ok(Answered { answer: Processes::Windows(report), problems: found.problems })
}
/// By `task_struct`. All threads of a process have the same.
fn command_lines(kernel: &Linux, tasks: &Tasks) -> (HashMap<Gva, Vec<String>>, Vec<Problem>) {
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
