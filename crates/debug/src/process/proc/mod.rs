//! Files of `/proc/PID` that debuggers read, made up from what the kernel's data
//! says (`fs/proc`). What cannot be told is not there.

mod maps;
mod status;

use std::sync::Arc;

use vmss2core_gdb::{FileError, GuestFile};
use vmss2core_guest::linux::Task;

use super::Attached;

/// `MMF_DUMP_FILTER_SHIFT` and how many bits there are (`include/linux/sched/coredump.h`).
const FILTER_SHIFT: u64 = 2;
const FILTER_MASK: u64 = 0x1ff;

/// A path below `/proc/PID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcPath<'p> {
    /// The process.
    pub(super) pid: u32,
    /// The thread, of `/proc/PID/task/TID/NAME`.
    tid: Option<u32>,
    name: &'p str,
}

/// A file that was made up.
struct MadeUp(Arc<Vec<u8>>);

impl<'p> ProcPath<'p> {
    /// `None` for other paths.
    pub(super) fn parse(path: &'p str) -> Option<Self> {
        let (pid, rest) = path.strip_prefix("/proc/")?.split_once('/')?;
        let of = |tid, name| Some(Self { pid: number(pid)?, tid, name });
        match rest.strip_prefix("task/") {
            Some(thread) => {
                let (tid, name) = thread.split_once('/')?;
                of(Some(number(tid)?), name)
            }
            None => of(None, rest),
        }
    }

    /// The thread that it is about.
    fn task<'t>(&self, process: &'t Attached) -> Option<&'t Task> {
        match self.tid {
            Some(tid) => process.tasks().iter().find(|task| task.tid == tid),
            None => process.tasks().first(),
        }
    }
}

/// Decimal, as the kernel writes numbers.
fn number(digits: &str) -> Option<u32> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Opens a file; `None` if there is none of that name.
pub(super) fn open(process: &Attached, path: &ProcPath<'_>) -> Option<impl GuestFile + use<>> {
    let task = path.task(process)?;
    let of_process = |name, make: &dyn Fn() -> Option<Vec<u8>>| process.made_up(name, make);
    let bytes = match path.name {
        "maps" => of_process("maps", &|| Some(maps::maps(process.process()).into_bytes()))?,
        "smaps" => of_process("smaps", &|| Some(maps::smaps(process.process()).into_bytes()))?,
        "cmdline" => of_process("cmdline", &|| process.process().command_line())?,
        "environ" => of_process("environ", &|| process.process().environment())?,
        "auxv" => of_process("auxv", &|| vmss2core_gdb::Inferior::auxv(process))?,
        "coredump_filter" => of_process("coredump_filter", &|| filter(process))?,
        "status" => Arc::new(status::status(process, task).into_bytes()),
        "stat" => Arc::new(status::stat(process, task).into_bytes()),
        "comm" => Arc::new(format!("{}\n", task.comm).into_bytes()),
        _ => return None,
    };
    Some(MadeUp(bytes))
}

/// The target of a symbolic link; `None` if there is no link of that name.
pub(super) fn link(process: &Attached, path: &ProcPath<'_>) -> Option<String> {
    path.task(process)?;
    match path.name {
        "exe" => {
            let file = process.process().executable()?;
            (!file.path.is_empty()).then(|| file.path.clone())
        }
        "cwd" => process.process().directory(),
        _ => None,
    }
}

/// Which mappings go into cores of this process.
fn filter(process: &Attached) -> Option<Vec<u8>> {
    let flags = process.process().mm().uint("flags").ok()?;
    Some(format!("{:08x}\n", flags >> FILTER_SHIFT & FILTER_MASK).into_bytes())
}

impl GuestFile for MadeUp {
    fn len_bytes(&self) -> u64 {
        // As Linux has it: the length is not known before it is read.
        0
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize, FileError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let held = self.0.get(start..).unwrap_or_default();
        for (to, from) in buf.iter_mut().zip(held) {
            *to = *from;
        }
        Ok(held.len().min(buf.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_processes_are_taken() {
        let path = |pid, tid, name| Some(ProcPath { pid, tid, name });
        assert_eq!(ProcPath::parse("/proc/92/maps"), path(92, None, "maps"));
        assert_eq!(ProcPath::parse("/proc/92/task/93/stat"), path(92, Some(93), "stat"));
        // Nothing has such a name.
        assert_eq!(ProcPath::parse("/proc/92/../1/maps"), path(92, None, "../1/maps"));
        for other in [
            "/proc/92",
            "/proc/self/maps",
            "/proc/+9/maps",
            "/proc/4294967296/maps",
            "/proc//maps",
            "/proc/92/task/93",
            "proc/92/maps",
            "",
        ] {
            assert_eq!(ProcPath::parse(other), None, "{other}");
        }
    }
}
