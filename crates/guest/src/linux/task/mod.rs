//! Tasks: the threads of all processes, and the kernel's own.
//!
//! Processes come from the ring of `init_task.tasks`, threads from a ring of each
//! process, the idle tasks, which are in no ring, from the CPUs. What a debugger
//! calls the current task of a CPU comes from its per-CPU variable.

mod command_line;
mod current;
mod family;
mod idle;
mod meant;
mod moment;
mod name;
mod record;
mod registers;
mod rings;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use vmss2core_mem::{Gva, Problem};

pub use self::command_line::CommandLine;
use self::record::{Fields, Record};
use self::rings::Rings;
use super::{Kernel, LinuxError};

pub use meant::{NoProcess, living_threads, process_meant, processes_asked_for, thread_of_process};
pub use registers::ThreadRegisters;

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskState {
    /// `R`, `S`, `D`, `T`, `t`, `X`, `Z`, `P` or `I`, as `ps` has it; `?` for others.
    pub letter: char,
    /// The kernel's bits: `state | exit_state`.
    pub bits: u64,
}

/// One thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Where its `task_struct` lies.
    pub gva: Gva,
    /// Thread number (`task_struct.pid`); 0 for the idle tasks.
    pub tid: u32,
    /// Process number (`task_struct.tgid`).
    pub pid: u32,
    /// Process number of the parent; `None` if it could not be told.
    pub ppid: Option<u32>,
    /// Effective user; `None` if it could not be told.
    pub uid: Option<u32>,
    /// Effective group; `None` if it could not be told.
    pub gid: Option<u32>,
    /// Its name, as `task_struct.comm` has it: 15 letters at most.
    pub comm: String,
    /// The name of a kernel thread that `ps` shows, if it is another one: workers with
    /// what they work on, names that have more letters.
    pub long_name: Option<String>,
    /// Its state; `None` if it could not be told.
    pub state: Option<TaskState>,
    /// Its `mm_struct`; `None` for kernel threads and what has ended.
    pub mm: Option<Gva>,
    /// A thread of the kernel.
    pub is_kernel_thread: bool,
    /// Lowest address of its kernel stack; `None` if it could not be told.
    pub stack: Option<Gva>,
    /// When it started, in nanoseconds after boot, time asleep included where
    /// the kernel counts it (`start_boottime`, else `start_time`).
    pub start_ns: Option<u64>,
    /// CPU it ran on last, as Linux numbers them.
    pub cpu: Option<u32>,
    /// Index of the vCPU that runs it in this moment.
    pub on_vcpu: Option<u32>,
}

impl Task {
    /// Its name as `ps` in the guest shows it.
    pub fn name(&self) -> &str {
        self.long_name.as_deref().unwrap_or(&self.comm)
    }

    /// Whether a name means it: the one in its structure, or the one that `ps` shows.
    pub fn is_called(&self, name: &str) -> bool {
        self.comm == name || self.name() == name
    }

    /// The first thread of its process, whose number is that of the process.
    pub fn is_leader(&self) -> bool {
        self.tid == self.pid
    }
}

/// All tasks that were found: processes in the order of their making, each
/// followed by its other threads; then the idle tasks.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// Parts that could not be followed.
    pub problems: Vec<Problem>,
}

impl Kernel {
    /// All tasks. Best effort: a broken list ends early and `problems` says so.
    pub fn tasks(&self) -> Result<Tasks, LinuxError> {
        let fields = Fields::of(self)?;
        let init = fields.read(self.init_task()?.value)?;
        let mut rings = Rings::new(self, &fields);
        let mut records = Vec::new();
        for leader in rings.processes(&init) {
            let threads = rings.threads(&leader);
            records.push(leader);
            records.extend(threads);
        }
        let others = self.idle_tasks(&fields, &mut rings, init.snapshot.gva());
        records.push(init);
        records.extend(others);
        let mut problems = rings.problems;
        let mut tasks = with_parents(&fields, &records);
        for (task, record) in tasks.iter_mut().zip(&records) {
            task.long_name = self.long_name(task, fields.flags(record));
        }
        self.mark_current(&fields, &records, &mut tasks, &mut problems);
        Ok(Tasks { tasks, problems })
    }
}

/// The tasks with the numbers of their parents.
fn with_parents(fields: &Fields<'_>, records: &[Record]) -> Vec<Task> {
    let pids: HashMap<Gva, u32> =
        records.iter().map(|record| (record.snapshot.gva(), record.pid)).collect();
    let pid_of = |parent: Gva| match pids.get(&parent) {
        Some(pid) => Some(*pid),
        None => fields.read(parent).ok().map(|record| record.pid),
    };
    let ppid = |record| fields.parent(record).and_then(pid_of);
    records.iter().map(|record| Task { ppid: ppid(record), ..fields.task(record) }).collect()
}
