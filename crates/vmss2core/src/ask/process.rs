//! The process that is meant by a number.

use vmss2core_answers::printable;
use vmss2core_guest::linux::{NoProcess, Process, process_meant};
use vmss2core_mem::Problem;

use crate::{Error, Guest};

impl Guest {
    /// The process of this number, or that has a thread of this number, and what the
    /// list of tasks has to say.
    pub fn process(&self, number: u32) -> Result<(Process, Vec<Problem>), Error> {
        let kernel = self.linux()?;
        let tasks = kernel.tasks()?;
        let task =
            process_meant(&tasks.tasks, number).map_err(|refused| refusal(number, refused))?;
        let process =
            Process::of(kernel, task).map_err(|source| Error::Process { pid: task.pid, source })?;
        Ok((process, tasks.problems))
    }
}

fn refusal(number: u32, refused: NoProcess<'_>) -> Error {
    match refused.task() {
        None => Error::NoTask(number),
        Some(task) => {
            let (name, why) = (printable(&task.comm), refused.to_string());
            Error::NoProcessMemory { number, name, why }
        }
    }
}
