//! Tables of the guest's system, for `info os`.

use std::sync::OnceLock;

use vmss2core_gdb::SystemTable;
use vmss2core_guest::linux::{Kernel, Task};

/// Longest command line in the table.
const LONGEST: usize = 256;

/// The tables that were asked for already.
#[derive(Default)]
pub(super) struct Tables {
    processes: OnceLock<SystemTable>,
    threads: OnceLock<SystemTable>,
}

impl Tables {
    /// A table by its name; the empty one lists the others.
    pub(super) fn get(&self, name: &str, kernel: &Kernel, tasks: &[Task]) -> Option<SystemTable> {
        match name {
            "" => Some(types()),
            "processes" => Some(self.processes.get_or_init(|| processes(kernel, tasks)).clone()),
            "threads" => Some(self.threads.get_or_init(|| threads(tasks)).clone()),
            _ => None,
        }
    }
}

fn table(
    kind: &'static str,
    rows: impl Iterator<Item = Vec<(&'static str, String)>>,
) -> SystemTable {
    SystemTable { kind, rows: rows.collect() }
}

fn types() -> SystemTable {
    let all = [
        ("processes", "Listing of all processes", "Processes"),
        ("threads", "Listing of all threads", "Threads"),
    ];
    let row = |(name, about, title): (&str, &str, &str)| {
        vec![("Type", name.to_owned()), ("Description", about.into()), ("Title", title.into())]
    };
    table("types", all.into_iter().map(row))
}

fn processes(kernel: &Kernel, tasks: &[Task]) -> SystemTable {
    let row = |task: &Task| {
        let cores = tasks.iter().filter(|of| of.pid == task.pid).filter_map(|of| of.on_vcpu);
        let cores: Vec<String> = cores.map(|core| core.to_string()).collect();
        vec![
            ("pid", task.pid.to_string()),
            ("user", task.uid.map(|uid| uid.to_string()).unwrap_or_default()),
            ("command", command(kernel, task)),
            ("cores", cores.join(",")),
        ]
    };
    let leaders = tasks.iter().filter(|task| task.is_leader() && task.tid != 0);
    table("processes", leaders.map(row))
}

/// With its arguments; what has none, such as threads of the kernel, is in brackets
/// as `ps` has it.
fn command(kernel: &Kernel, task: &Task) -> String {
    let words = kernel.command_line(task).ok().flatten().unwrap_or_default().words;
    match words.join(" ") {
        line if line.is_empty() => format!("[{}]", task.comm),
        line => line.chars().take(LONGEST).collect(),
    }
}

fn threads(tasks: &[Task]) -> SystemTable {
    let row = |task: &Task| {
        vec![
            ("pid", task.pid.to_string()),
            ("command", task.comm.clone()),
            ("tid", task.tid.to_string()),
            ("core", task.on_vcpu.map(|core| core.to_string()).unwrap_or_default()),
        ]
    };
    table("threads", tasks.iter().filter(|task| task.tid != 0).map(row))
}
