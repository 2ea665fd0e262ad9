//! What `vmss2core ps` says, as plain data, and its printer for people.
//!
//! The member names are the JSON members; `docs/schema/ps-1.json` describes them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};

use serde::Serialize;
use vmss2core_guest::linux::{Task, Tasks};
use vmss2core_mem::{Gva, Problem};

use crate::escape::printable;
use crate::info::{Hex, ProblemInfo, problem_info};
use crate::units::utc_time;

/// Name and version of the JSON form of [`PsReport`].
pub const PS_SCHEMA: &str = "vmss2core/ps/1";

const SECOND: u64 = 1_000_000_000;
/// Deeper branches of a tree are drawn no further to the right.
const DEEPEST: usize = 40;

/// The processes of a guest, or its threads.
#[derive(Clone, Debug, Serialize)]
pub struct PsReport {
    /// Always [`PS_SCHEMA`].
    pub schema: &'static str,
    /// When the guest booted, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_unix: Option<u64>,
    /// What was found, by number.
    pub tasks: Vec<TaskInfo>,
    /// How many there are.
    pub totals: Totals,
    /// What is missing, odd or broken.
    pub problems: Vec<ProblemInfo>,
    /// Whether each thread has a line.
    #[serde(skip)]
    lists_threads: bool,
}

/// A process by its first thread, or a thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskInfo {
    /// Number of the process.
    pub pid: u32,
    /// Number of the thread.
    pub tid: u32,
    /// Number of the parent process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppid: Option<u32>,
    /// Effective user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Effective group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// What it was doing, as the letter of `ps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<char>,
    /// Threads of the process.
    pub threads: usize,
    /// Nanoseconds from boot to its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_ns: Option<u64>,
    /// When it started, if it is known when the guest booted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_unix: Option<u64>,
    /// The CPU it ran on last, as Linux numbers them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// The vCPUs that run it, or a thread of it, in this moment.
    pub running_on: Vec<u32>,
    /// Whether it is a thread of the kernel.
    pub kernel_thread: bool,
    /// Its name as `ps` in the guest shows it.
    pub name: String,
    /// `task_struct.comm`, where that is another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// Its command line, if it has one that is in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line: Option<Vec<String>>,
    /// Address of its `task_struct`.
    pub task: Hex,
}

/// How many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Processes with memory of their own or that had it.
    pub processes: usize,
    /// Their threads.
    pub threads: usize,
    /// Threads of the kernel, the idle ones among them.
    pub kernel_threads: usize,
    /// Threads of both kinds by state; what has none is not counted.
    pub states: BTreeMap<char, usize>,
}

/// What to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct PsOptions {
    /// Every thread instead of every process.
    pub threads: bool,
    /// When the guest booted: nanoseconds since 1970.
    pub boot_unix_ns: Option<u64>,
}

impl PsReport {
    /// The report about `tasks`; `command_lines` by `task_struct`.
    pub fn new(
        tasks: &Tasks,
        mut command_lines: HashMap<Gva, Vec<String>>,
        problems: &[Problem],
        options: PsOptions,
    ) -> Self {
        let processes = Processes::of(&tasks.tasks);
        let listed = tasks.tasks.iter().filter(|task| options.threads || task.is_leader());
        let info = |task: &Task| TaskInfo {
            command_line: command_lines.remove(&task.gva),
            ..task_info(task, &processes, options)
        };
        let mut listed: Vec<TaskInfo> = listed.map(info).collect();
        listed.sort_by_key(|task| (task.pid, task.tid));
        Self {
            schema: PS_SCHEMA,
            boot_unix: options.boot_unix_ns.map(|boot| boot / SECOND),
            tasks: listed,
            totals: totals(&tasks.tasks),
            problems: problems.iter().chain(&tasks.problems).map(problem_info).collect(),
            lists_threads: options.threads,
        }
    }

    /// Writes a line for each, and what they come to.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let order = self.tasks.iter().map(|task| (task, 0));
        self.write_lines(order, out)
    }

    /// The same with every process below its parent.
    pub fn write_tree(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write_lines(tree(&self.tasks).into_iter(), out)
    }

    fn write_lines<'t>(
        &self,
        lines: impl Iterator<Item = (&'t TaskInfo, usize)>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let columns = Columns { threads: self.lists_threads, dates: self.boot_unix.is_some() };
        writeln!(out, "{}", columns.title())?;
        for (task, depth) in lines {
            writeln!(out, "{}", columns.line(task, depth))?;
        }
        writeln!(out, "{}", self.totals)
    }
}

/// What the threads of each process come to.
struct Processes {
    threads: HashMap<u32, usize>,
    running: HashMap<u32, Vec<u32>>,
}

impl Processes {
    fn of(tasks: &[Task]) -> Self {
        let (mut threads, mut running) = (HashMap::new(), HashMap::<u32, Vec<u32>>::new());
        for task in tasks {
            count(threads.entry(task.pid).or_default());
            if let Some(vcpu) = task.on_vcpu {
                running.entry(task.pid).or_default().push(vcpu);
            }
        }
        Self { threads, running }
    }
}

fn task_info(task: &Task, processes: &Processes, options: PsOptions) -> TaskInfo {
    // The idle tasks share a number but are no process.
    let is_alone = options.threads || task.pid == 0;
    let mut running_on = if is_alone {
        task.on_vcpu.into_iter().collect()
    } else {
        processes.running.get(&task.pid).cloned().unwrap_or_default()
    };
    running_on.sort_unstable();
    let threads = processes.threads.get(&task.pid).copied().unwrap_or(1);
    let start = options.boot_unix_ns.zip(task.start_ns);
    TaskInfo {
        pid: task.pid,
        tid: task.tid,
        ppid: task.ppid,
        uid: task.uid,
        gid: task.gid,
        state: task.state.map(|state| state.letter),
        threads: if task.pid == 0 { 1 } else { threads },
        start_ns: task.start_ns,
        start_unix: start.and_then(|(boot, start)| Some(boot.checked_add(start)? / SECOND)),
        cpu: task.cpu,
        running_on,
        kernel_thread: task.is_kernel_thread,
        name: task.name().to_owned(),
        comm: task.long_name.as_ref().map(|_| task.comm.clone()),
        command_line: None,
        task: Hex(task.gva.0),
    }
}

/// Counts one more.
fn count(counter: &mut usize) {
    *counter = counter.saturating_add(1);
}

fn totals(tasks: &[Task]) -> Totals {
    let mut totals = Totals::default();
    for task in tasks {
        if task.is_kernel_thread {
            count(&mut totals.kernel_threads);
        } else {
            count(&mut totals.threads);
            totals.processes = totals.processes.saturating_add(usize::from(task.is_leader()));
        }
        if let Some(state) = task.state {
            count(totals.states.entry(state.letter).or_default());
        }
    }
    totals
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { processes, threads, kernel_threads, states } = self;
        write!(f, "{processes} processes with {threads} threads, {kernel_threads} kernel threads")?;
        let mut separator = ":";
        for (state, count) in states {
            write!(f, "{separator} {count} {state}")?;
            separator = ",";
        }
        Ok(())
    }
}

/// Every task behind its parent, with its depth. Whose parent is not listed is a
/// root, and so is one of those that are parents of each other.
fn tree(tasks: &[TaskInfo]) -> Vec<(&TaskInfo, usize)> {
    let mut children = HashMap::<u32, Vec<usize>>::new();
    let leaders: HashSet<u32> = tasks.iter().map(|task| task.pid).collect();
    let mut roots = Vec::new();
    for (index, task) in tasks.iter().enumerate() {
        let parent = match (task.pid, task.tid) {
            (0, _) => None,
            (pid, tid) if pid == tid => task.ppid,
            (pid, _) => Some(pid),
        };
        match parent.filter(|parent| *parent != 0 && leaders.contains(parent)) {
            Some(parent) => children.entry(parent).or_default().push(index),
            None => roots.push(index),
        }
    }
    let mut lines = Vec::with_capacity(tasks.len());
    let mut seen = vec![false; tasks.len()];
    for root in roots.into_iter().chain(0..tasks.len()) {
        let mut waiting = vec![(root, 0_usize)];
        while let Some((index, depth)) = waiting.pop() {
            let Some(task) = tasks.get(index) else { continue };
            if seen.get(index).is_none_or(|seen| *seen) {
                continue;
            }
            if let Some(seen) = seen.get_mut(index) {
                *seen = true;
            }
            lines.push((task, depth));
            if task.tid == task.pid && task.pid != 0 {
                let below = children.get(&task.pid).into_iter().flatten().rev();
                waiting.extend(below.map(|child| (*child, depth.saturating_add(1))));
            }
        }
    }
    lines
}

/// The columns of the text form.
#[derive(Clone, Copy)]
struct Columns {
    threads: bool,
    dates: bool,
}

impl Columns {
    fn title(self) -> String {
        let tid = if self.threads { format!("{:>7} ", "TID") } else { String::new() };
        let start = self.start_column("START");
        format!(
            "  {:>7} {tid}{:>7} {:>6} S {:>4} {:>3} {start} COMMAND",
            "PID", "PPID", "UID", "NLWP", "CPU"
        )
    }

    fn line(self, task: &TaskInfo, depth: usize) -> String {
        let mark = if task.running_on.is_empty() { ' ' } else { '>' };
        let tid = if self.threads { format!("{:>7} ", task.tid) } else { String::new() };
        let start = self.start_column(&self.start(task));
        let branch = match depth.min(DEEPEST) {
            0 => String::new(),
            depth => format!("{:1$}\\_ ", "", depth.saturating_mul(4).saturating_sub(3)),
        };
        format!(
            "{mark} {:>7} {tid}{:>7} {:>6} {} {:>4} {:>3} {start} {branch}{}",
            task.pid,
            or_unknown(task.ppid),
            or_unknown(task.uid),
            task.state.unwrap_or('?'),
            task.threads,
            or_unknown(task.cpu),
            command(task)
        )
    }

    fn start_column(self, text: &str) -> String {
        if self.dates { format!("{text:<19}") } else { format!("{text:>12}") }
    }

    /// A date, or seconds after boot.
    fn start(self, task: &TaskInfo) -> String {
        if self.dates {
            let date = task.start_unix.and_then(utc_time);
            return date.map_or_else(|| "?".to_owned(), |date| date.replace(" UTC", ""));
        }
        match task.start_ns {
            Some(ns) => format!("{}.{:02} s", ns / SECOND, ns % SECOND / 10_000_000),
            None => "?".to_owned(),
        }
    }
}

fn or_unknown(number: Option<u32>) -> String {
    number.map_or_else(|| "?".to_owned(), |number| number.to_string())
}

/// The command line; without one the name in brackets, as `ps` has it. A thread
/// has its name in braces, as `pstree` has it.
fn command(task: &TaskInfo) -> String {
    if task.tid != task.pid {
        return printable(&format!("{{{}}}", task.name));
    }
    let words = task.command_line.as_deref().unwrap_or_default().join(" ");
    let text = if words.trim().is_empty() { format!("[{}]", task.name) } else { words };
    let dead = if matches!(task.state, Some('Z' | 'X')) { " <defunct>" } else { "" };
    printable(text.trim_end()) + dead
}
