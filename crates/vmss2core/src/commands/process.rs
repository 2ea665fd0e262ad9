//! The process that the user names by number.

use anyhow::{Context, bail};
use vmss2core_guest::linux::{Kernel, Process};
use vmss2core_mem::Problem;

/// The process of this number, or that has a thread of this number, and what the
/// list of tasks has to say.
pub(super) fn of<'k>(
    kernel: &'k Kernel<'k>,
    number: u32,
) -> anyhow::Result<(Process<'k>, Vec<Problem>)> {
    let tasks = kernel.tasks()?;
    let task = tasks.tasks.iter().find(|task| task.tid == number && number != 0);
    let Some(task) = task else {
        bail!("the guest has no process or thread {number}; vmss2core ps lists all");
    };
    let process = Process::of(kernel, task)
        .with_context(|| format!("opening the memory of process {}", task.pid))?;
    Ok((process, tasks.problems))
}
