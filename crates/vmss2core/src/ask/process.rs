//! The process that is asked for.

use vmss2core_answers::printable;
use vmss2core_guest::linux::{
    NoProcess, Process, Task, Tasks, process_meant, processes_asked_for, thread_of_process,
};
use vmss2core_guest::{AskError, Which};
use vmss2core_mem::Problem;

use crate::{Error, Guest};

impl Guest {
    /// The process that is asked for: by its number, by that of one of its threads, or by
    /// its name if there is no other of that name. With it comes what the list of tasks
    /// has to say, and that a number is a thread's.
    pub fn process(&self, which: impl Into<Which>) -> Result<(Process, Vec<Problem>), Error> {
        let kernel = self.linux()?;
        let Tasks { tasks, mut problems, .. } = kernel.tasks()?;
        let task = match which.into() {
            Which::Number(number) => by_number(&tasks, number)?,
            Which::Name(name) => by_name(&tasks, &name)?,
        };
        problems.extend(threads_number(task));
        let process =
            Process::of(kernel, task).map_err(|source| Error::Process { pid: task.pid, source })?;
        Ok((process, problems))
    }
}

/// Note for a process that is asked for by the number of a thread.
pub(crate) fn threads_number(task: &Task) -> Option<Problem> {
    thread_of_process(task).map(|said| Problem::note(printable(&said)))
}

/// The number of the process that is asked for. One that no task has is returned as it is.
pub(crate) fn number(tasks: &[Task], which: &Which) -> Result<u32, Error> {
    match which {
        Which::Name(name) => Ok(by_name(tasks, name)?.pid),
        Which::Number(number) => {
            let found = processes_asked_for(tasks, which);
            Ok(found.first().copied().unwrap_or(*number))
        }
    }
}

fn by_number(tasks: &[Task], number: u32) -> Result<&Task, Error> {
    process_meant(tasks, number).map_err(|refused| refusal(number, refused))
}

fn by_name<'t>(tasks: &'t [Task], name: &str) -> Result<&'t Task, Error> {
    let pids = processes_asked_for(tasks, &Which::Name(name.to_owned()));
    let found: Vec<_> = pids.iter().map(|pid| by_number(tasks, *pid)).collect();
    let with_memory: Vec<&Task> = found.iter().flatten().copied().collect();
    match with_memory.as_slice() {
        [one] => Ok(one),
        [] => Err(found
            .into_iter()
            .find_map(Result::err)
            .unwrap_or_else(|| AskError::NoProcess(Which::Name(printable(name))).into())),
        several => Err(Error::SeveralProcesses {
            name: printable(name),
            pids: several.iter().map(|task| task.pid).collect(),
        }),
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
