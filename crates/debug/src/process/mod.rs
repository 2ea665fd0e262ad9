//! Process mode: each process that a client attaches to is an inferior, whose
//! threads have their user-mode registers and see its memory.
//!
//! gdb finds out by itself where the program and its libraries lie; the files come
//! from the guest's page cache or from a directory, what Linux tells in `/proc` is
//! made up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use vmss2core_gdb::description::Description;
use vmss2core_gdb::{Attach, FileError, GuestFile, GuestFiles, Inferior, SystemTable, Target};
use vmss2core_guest::linux::{Kernel, NoProcess, RegisterFinder, Task, process_meant};
use vmss2core_mem::{PhysicalMemory, Setting};

mod attached;
mod cached;
mod proc;
mod registers;
mod sysroot;
mod tables;

pub use attached::Attached;
use cached::Caches;
use sysroot::Sysroot;

/// The one process that is served, in messages.
const PID: Setting = Setting::named("pid");
/// A directory that has the guest's files, in messages.
const SYSROOT: Setting = Setting::with_value("sysroot", "DIR");

/// The inferiors for clients: processors or tasks for `target remote`, any process for
/// `target extended-remote`, or one process for both.
pub struct Processes {
    kernel: Kernel,
    whole: Arc<dyn Inferior>,
    only: Option<Arc<Attached>>,
    sysroot: Option<Sysroot>,
    /// The registers that a client is told before it attaches.
    before: Description,
    tasks: OnceLock<Result<Vec<Task>, String>>,
    finder: OnceLock<RegisterFinder>,
    /// Those that a client has attached: several may look at the same one.
    attached: Mutex<BTreeMap<u32, Weak<Attached>>>,
    caches: Caches,
    tables: tables::Tables,
}

impl Processes {
    /// The processes of a Linux guest; `whole` is what others get: its processors or
    /// its tasks.
    pub fn new(kernel: &Kernel, whole: Arc<dyn Inferior>) -> Self {
        Self {
            kernel: kernel.clone(),
            whole,
            only: None,
            sysroot: None,
            before: registers::before_attaching(kernel.linux().is_64_bit),
            tasks: OnceLock::new(),
            finder: OnceLock::new(),
            attached: Mutex::default(),
            caches: Caches::new(kernel),
            tables: tables::Tables::default(),
        }
    }

    /// Files of the guest are taken from below a directory, if they are there.
    pub fn with_sysroot(self, dir: Option<PathBuf>) -> Self {
        Self { sysroot: dir.map(Sysroot::new), ..self }
    }

    /// Every client gets this process; the error is a sentence for the user.
    pub fn with_only(mut self, pid: u32) -> Result<Self, String> {
        self.only = Some(self.find(pid)?);
        Ok(self)
    }

    /// The process that every client gets.
    pub fn only(&self) -> Option<&Attached> {
        self.only.as_deref()
    }

    fn tasks(&self) -> Result<&[Task], String> {
        let list = || match self.kernel.tasks() {
            Ok(tasks) => Ok(tasks.tasks),
            Err(error) => Err(error.to_string()),
        };
        self.tasks.get_or_init(list).as_deref().map_err(Clone::clone)
    }

    /// A process by its number or by that of one of its threads; the error is a sentence
    /// for the user.
    fn find(&self, pid: u32) -> Result<Arc<Attached>, String> {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached.retain(|_, process| process.strong_count() > 0);
        if let Some(known) = attached.get(&pid).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let tasks = self.tasks()?;
        let task = choose(tasks, pid)?;
        let finder = self.finder.get_or_init(|| RegisterFinder::new(&self.kernel, tasks));
        let process = Arc::new(Attached::new(&self.kernel, finder, (pid, task), tasks)?);
        attached.insert(pid, Arc::downgrade(&process));
        Ok(process)
    }

    /// A file that Linux makes up: `/proc/PID/...`.
    fn open_made_up(&self, path: proc::ProcPath<'_>) -> Result<Box<dyn GuestFile>, FileError> {
        let process = self.find(path.pid).map_err(|_| FileError::NotFound)?;
        let file: Box<dyn GuestFile> =
            Box::new(proc::open(&process, &path).ok_or(FileError::NotFound)?);
        Ok(file)
    }
}

impl Target for Processes {
    fn physical(&self) -> PhysicalMemory {
        self.kernel.memory().clone()
    }

    fn description(&self) -> Option<&Description> {
        Some(&self.before)
    }

    fn inferiors(&self) -> Vec<Arc<dyn Inferior>> {
        match &self.only {
            Some(only) => vec![only.clone()],
            None => vec![self.whole.clone()],
        }
    }

    /// Nothing: gdb asks before it leaves one process for another, and the numbers of
    /// processes are the guest's, which leaves none for the processors.
    fn extended_inferiors(&self) -> Vec<Arc<dyn Inferior>> {
        match &self.only {
            Some(only) => vec![only.clone()],
            None => Vec::new(),
        }
    }

    fn attach(&self) -> Option<&dyn Attach> {
        Some(self)
    }

    fn files(&self) -> Option<&dyn GuestFiles> {
        Some(self)
    }

    fn system_table(&self, name: &str) -> Option<SystemTable> {
        self.tables.get(name, &self.kernel, self.tasks().ok()?)
    }
}

impl Attach for Processes {
    fn attach(&self, pid: u32) -> Result<Arc<dyn Inferior>, String> {
        match &self.only {
            Some(only) if !only.tasks().iter().any(|task| task.tid == pid) => Err(format!(
                "only process {} is served: start the server without {PID} to attach to others",
                only.pid()
            )),
            _ => Ok(self.find(pid)?),
        }
    }
}

impl GuestFiles for Processes {
    fn open(&self, pid: u32, path: &str) -> Result<Box<dyn GuestFile>, FileError> {
        if let Some(path) = proc::ProcPath::parse(path) {
            return self.open_made_up(path);
        }
        if let Some(file) = self.sysroot.as_ref().and_then(|sysroot| sysroot.open(path)) {
            return Ok(file);
        }
        let process = self.find(pid).map_err(|_| FileError::NotFound)?;
        let file = process.file(path).ok_or(FileError::NotFound)?;
        match self.caches.open(&process, file) {
            Ok(opened) => {
                process.keep_problem(file, opened.problem());
                Ok(Box::new(opened))
            }
            Err(why) => {
                process.keep_problem(file, Some(why));
                Err(FileError::Unreadable)
            }
        }
    }

    fn read_link(&self, _: u32, path: &str) -> Result<String, FileError> {
        let path = proc::ProcPath::parse(path).ok_or(FileError::NotFound)?;
        let process = self.find(path.pid).map_err(|_| FileError::NotFound)?;
        proc::link(&process, &path).ok_or(FileError::NotFound)
    }
}

/// A thread of the process that is asked for, if it can be attached to.
fn choose(tasks: &[Task], pid: u32) -> Result<&Task, String> {
    let refused = match process_meant(tasks, pid) {
        Ok(task) => return Ok(task),
        Err(refused) => refused,
    };
    Err(match refused {
        NoProcess::Unknown(_) => {
            format!("{refused}; \"info os processes\" or \"monitor ps\" lists them")
        }
        NoProcess::Kernel(_) => format!("{refused}; \"monitor bt {pid}\" prints its stack"),
        _ => refused.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use vmss2core_guest::linux::TaskState;
    use vmss2core_mem::Gva;

    use super::*;

    fn task(tid: u32, pid: u32, letter: char) -> Task {
        Task {
            tid,
            pid,
            state: Some(TaskState { letter, bits: 0 }),
            mm: (letter == 'S').then_some(Gva(1)),
            is_kernel_thread: letter == 'I',
            ..Task::default()
        }
    }

    #[test]
    fn what_cannot_be_attached_to_is_refused_with_the_next_step() {
        let tasks = [
            task(0, 0, 'I'),
            task(2, 2, 'I'),
            task(7, 7, 'S'),
            task(8, 7, 'S'),
            task(9, 9, 'Z'),
            // The first thread has ended, another goes on.
            task(10, 10, 'Z'),
            task(11, 10, 'S'),
        ];
        assert_eq!(choose(&tasks, 7).unwrap().tid, 7);
        assert_eq!(choose(&tasks, 10).unwrap().tid, 11);
        for (pid, why) in [
            (0, "\"monitor ps\" lists them"),
            (77, "the guest has no process or thread 77"),
            (2, "\"monitor bt 2\" prints its stack"),
            (9, "has ended"),
        ] {
            let said = choose(&tasks, pid).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert_eq!(choose(&tasks, 8).map(|task| (task.tid, task.pid)), Ok((8, 7)));
    }
}
