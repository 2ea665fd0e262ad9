//! `/proc/PID/status` and `stat` (`fs/proc/array.c`), as much as debuggers read.

use std::fmt::Write;

use vmss2core_guest::linux::{Task, Vma};

use crate::process::Attached;
use crate::process::attached::state_in_words;

/// `DEFAULT_PRIO`: a nice value of 0.
const DEFAULT_PRIORITY: i64 = 120;
/// Fields of a line of `stat`.
const FIELDS: usize = 52;

/// Known values, a line each, in the kernel's order.
pub(super) fn status(process: &Attached, task: &Task) -> String {
    let mut text = format!("Name:\t{}\n", task.comm.replace('\n', "\\n"));
    // Writing to a String cannot fail.
    if let Some(state) = task.state {
        let _ = writeln!(text, "State:\t{} ({})", state.letter, state_in_words(state.letter));
    }
    let _ = writeln!(text, "Tgid:\t{}\nPid:\t{}", task.pid, task.tid);
    if let Some(ppid) = task.ppid {
        let _ = writeln!(text, "PPid:\t{ppid}");
    }
    for (name, members) in
        [("Uid", ["uid", "euid", "suid", "fsuid"]), ("Gid", ["gid", "egid", "sgid", "fsgid"])]
    {
        if let Some(ids) = ids(process, task, members) {
            let _ = writeln!(text, "{name}:\t{}", ids.join("\t"));
        }
    }
    let _ = writeln!(text, "Threads:\t{}", process.tasks().len());
    text
}

fn ids(process: &Attached, task: &Task, members: [&str; 4]) -> Option<Vec<String>> {
    let task = process.process().kernel().object(task.gva, "task_struct");
    let cred = task.follow("real_cred|cred", "cred").ok()??;
    members.iter().map(|member| Some(cred.uint(member).ok()?.to_string())).collect()
}

/// One line, in which Linux too has zeroes for what it does not tell.
pub(super) fn stat(process: &Attached, task: &Task) -> String {
    let kernel = process.process().kernel();
    let object = kernel.object(task.gva, "task_struct");
    let letter = task.state.map_or('?', |state| state.letter);
    let mut fields = vec![0_i64; FIELDS];
    let vsize = process.process().vmas().iter().map(Vma::len_bytes).fold(0, u64::saturating_add);
    let nice = object.uint("static_prio").ok().and_then(|priority| i64::try_from(priority).ok());
    let known = [
        (4, task.ppid.map(i64::from)),
        (5, kernel.group_of(task).map(i64::from)),
        (6, kernel.session_of(task).map(i64::from)),
        (9, object.uint("flags").ok().and_then(|flags| i64::try_from(flags).ok())),
        (19, nice.map(|priority| priority.saturating_sub(DEFAULT_PRIORITY))),
        (20, i64::try_from(process.tasks().len()).ok()),
        (23, i64::try_from(vsize).ok()),
        (39, task.cpu.map(i64::from)),
    ];
    for (number, value) in known {
        // They are counted from 1.
        if let Some(field) = fields.get_mut(usize::saturating_sub(number, 1)) {
            *field = value.unwrap_or(0);
        }
    }
    let rest: Vec<String> = fields.iter().skip(3).map(i64::to_string).collect();
    format!("{} ({}) {letter} {}\n", task.tid, task.comm, rest.join(" "))
}
