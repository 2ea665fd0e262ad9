//! The process that is asked for.

use vmss2core_answers::printable;
use vmss2core_guest::linux::{
    NoProcess, Process, Task, Tasks, process_meant, processes_asked_for, thread_of_process,
};
use vmss2core_guest::{AskError, Which, model};
use vmss2core_machine::paging::{AddressSpace, Root};
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

impl Guest {
    /// Address space of the process that is asked for, with what [`Guest::process`] returns
    /// beside the process.
    pub fn process_space(
        &self,
        which: impl Into<Which>,
    ) -> Result<(AddressSpace, Vec<Problem>), Error> {
        if self.facts().linux().is_some() {
            let (process, problems) = self.process(which)?;
            return Ok((process.space().clone(), problems));
        }
        let listed = self.now()?.tasks().ok_or_else(|| self.not_offered())??;
        let (task, note) = listed_process(&listed.tasks, &which.into())?;
        let root = self.facts().kernel_root().zip(task.page_tables);
        let (kernel, tables) = root.ok_or_else(|| {
            let said = format!("the page tables of {} ({}) are not known", task.pid, task.name);
            Error::NoProcessMemory(printable(&said))
        })?;
        let (mode, _) = kernel.value;
        let space = AddressSpace::new(&self.checkpoint().memory, mode, Root(tables));
        Ok((space, listed.problems.into_iter().chain(note).collect()))
    }
}

/// The process that is asked for in a list of every system's, and the note that the number
/// is a thread's. In a name, small letters count as large ones: Windows does not tell them apart.
fn listed_process<'t>(
    tasks: &'t [model::Task],
    which: &Which,
) -> Result<(&'t model::Task, Option<Problem>), Error> {
    let process_of = |pid| tasks.iter().find(|task| task.is_process() && task.pid == pid);
    let found: Vec<&model::Task> = match which {
        Which::Number(number) => {
            let of_thread = tasks.iter().find(|task| task.tid == Some(u64::from(*number)));
            let of_thread = || process_of(of_thread?.pid);
            process_of(u64::from(*number)).or_else(of_thread).into_iter().collect()
        }
        Which::Name(name) => {
            let is_called = |task: &&model::Task| {
                let names = [Some(&task.name), task.short_name.as_ref()];
                task.is_process()
                    && names.iter().flatten().any(|one| one.eq_ignore_ascii_case(name))
            };
            tasks.iter().filter(is_called).collect()
        }
    };
    match found.as_slice() {
        [one] => {
            let said = which.thread_of_process(one.pid, &one.name);
            Ok((one, said.map(|said| Problem::note(printable(&said)))))
        }
        [] => Err(AskError::NoProcess(which.clone()).into()),
        several => Err(Error::SeveralProcesses {
            name: printable(&which.to_string()),
            pids: several.iter().map(|task| task.pid).collect(),
        }),
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
    process_meant(tasks, number).map_err(|refused| match refused {
        NoProcess::Unknown(number) => AskError::NoProcess(Which::Number(number)).into(),
        refused => Error::NoProcessMemory(refused.to_string()),
    })
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
            .unwrap_or_else(|| AskError::NoProcess(Which::Name(name.to_owned())).into())),
        several => Err(Error::SeveralProcesses {
            name: printable(name),
            pids: several.iter().map(|task| task.pid.into()).collect(),
        }),
    }
}
