//! The process that the user names by number.

use anyhow::{Context, bail};
use vmss2core_answers::printable;
use vmss2core_guest::linux::{Kernel, NoProcess, Process, process_meant};
use vmss2core_mem::Problem;

/// The process of this number, or that has a thread of this number, and what the
/// list of tasks has to say.
pub(super) fn of(kernel: &Kernel, number: u32) -> anyhow::Result<(Process, Vec<Problem>)> {
    let tasks = kernel.tasks()?;
    let task = match process_meant(&tasks.tasks, number) {
        Ok(task) => task,
        Err(NoProcess::Unknown) => {
            bail!("the guest has no process or thread {number}; vmss2core ps lists all")
        }
        Err(refused) => {
            let name = refused.task().map(|task| task.comm.as_str()).unwrap_or_default();
            bail!("process {number} ({}) has no memory to look at: {refused}", printable(name))
        }
    };
    let process = Process::of(kernel, task)
        .with_context(|| format!("opening the memory of process {}", task.pid))?;
    Ok((process, tasks.problems))
}
