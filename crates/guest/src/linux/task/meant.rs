//! Which process is meant by a number.
//!
//! A process lives as long as any of its threads does. The main thread may have ended
//! before the others: `ps` shows it as a zombie, and it has no memory any more.

use std::fmt;

use vmss2core_mem::text::printable;

use super::Task;
use crate::{Which, which};

/// Why no process is meant by a number; as text, a sentence that is safe to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoProcess<'t> {
    /// The guest has no task of this number.
    Unknown(u32),
    /// It is a thread of the kernel.
    Kernel(&'t Task),
    /// All threads of the process have ended.
    Ended(&'t Task),
    /// Some thread lives, but no memory of the process is known.
    NoMemory(&'t Task),
}

impl fmt::Display for NoProcess<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (task, what) = match self {
            Self::Unknown(number) => return f.write_str(&which::absent(&Which::Number(*number))),
            Self::Kernel(task) => (task, "is a thread of the kernel, without memory of its own"),
            Self::Ended(task) => (task, "has ended, and its memory is gone"),
            Self::NoMemory(task) => (task, "is about to end, or its memory is not known"),
        };
        write!(f, "{} ({}) {what}", task.tid, printable(&task.comm))
    }
}

/// The processes, those of the kernel among them, that are asked for: all of a name, or
/// the one of a number or of a thread's number. Empty if there is none.
pub fn processes_asked_for(tasks: &[Task], which: &Which) -> Vec<u32> {
    let is_meant = |task: &&Task| match which {
        Which::Number(number) => task.tid == *number && task.tid != 0,
        // The idle tasks share a number but are no process.
        Which::Name(name) => task.is_leader() && task.is_called(name) && task.pid != 0,
    };
    tasks.iter().filter(is_meant).map(|task| task.pid).collect()
}

/// A thread with memory of the process that `number` is of, which may be the number of
/// any of its threads: that thread itself, or the first that lives if it has ended.
pub fn process_meant(tasks: &[Task], number: u32) -> Result<&Task, NoProcess<'_>> {
    let found = tasks.iter().find(|task| task.tid == number && number != 0);
    let task = found.ok_or(NoProcess::Unknown(number))?;
    if task.is_kernel_thread {
        return Err(NoProcess::Kernel(task));
    }
    if task.mm.is_some() {
        return Ok(task);
    }
    living_threads(tasks, task.pid).next().ok_or_else(|| {
        let of_process = tasks.iter().filter(|other| other.pid == task.pid);
        let has_ended = |task: &Task| task.state.is_some_and(|state| "ZX".contains(state.letter));
        if of_process.into_iter().all(has_ended) {
            NoProcess::Ended(task)
        } else {
            NoProcess::NoMemory(task)
        }
    })
}

/// Says that the number of this task, by which a process was asked for, is a thread's.
pub fn thread_of_process(task: &Task) -> Option<String> {
    which::thread_of_process(task.tid.into(), task.pid.into(), &task.comm)
}

/// The threads of a process that have not ended, in the order of the list.
pub fn living_threads(tasks: &[Task], pid: u32) -> impl Iterator<Item = &Task> {
    tasks.iter().filter(move |task| task.pid == pid && task.mm.is_some())
}

#[cfg(test)]
mod tests {
    use vmss2core_mem::Gva;

    use super::*;
    use crate::linux::TaskState;

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
    fn a_process_lives_as_long_as_any_of_its_threads() {
        let tasks = [
            task(0, 0, 'I'),
            task(2, 2, 'I'),
            task(7, 7, 'S'),
            task(8, 7, 'S'),
            task(9, 9, 'Z'),
            // The main thread has ended, others go on.
            task(10, 10, 'Z'),
            task(11, 10, 'X'),
            task(12, 10, 'S'),
            task(13, 13, 'R'),
        ];
        for (number, tid) in [(7, 7), (8, 8), (10, 12), (11, 12), (12, 12)] {
            assert_eq!(process_meant(&tasks, number).unwrap().tid, tid, "{number}");
        }
        for (number, why) in [
            (0, "the guest has no process or thread 0"),
            (77, "the guest has no process or thread 77"),
            (2, "2 () is a thread of the kernel"),
            (9, "9 () has ended"),
            (13, "13 () is about to end"),
        ] {
            let said = process_meant(&tasks, number).unwrap_err().to_string();
            assert!(said.starts_with(why), "{number}: {said}");
        }
        for (which, pids) in [("8", &[7][..]), ("2", &[2]), ("0", &[]), ("77", &[]), ("x", &[])] {
            let which = which.parse().unwrap();
            assert_eq!(processes_asked_for(&tasks, &which), pids, "{which}");
        }
        let living: Vec<u32> = living_threads(&tasks, 10).map(|task| task.tid).collect();
        assert_eq!(living, [12]);
    }
}
