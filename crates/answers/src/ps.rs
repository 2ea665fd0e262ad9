//! What `vmss2core ps` says, as plain data and as a page.
//!
//! The member names are the JSON members; `docs/schema/ps-1.json` describes them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use vmss2core_guest::linux::{Task, Tasks};
use vmss2core_mem::{Gva, Problem};

use crate::info::{Hex, ProblemInfo, problem_info};
use crate::page::{Answer, Column, Page};
use crate::units::utc_time;

const SECOND: u64 = 1_000_000_000;
/// Deeper branches of a tree are drawn no further to the right.
const DEEPEST: usize = 40;

/// The processes of a guest, or its threads.
#[derive(Clone, Debug, Serialize)]
pub struct PsReport {
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
    /// Whether each process is shown below its parent.
    #[serde(skip)]
    is_tree: bool,
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
    /// Every process below its parent.
    pub tree: bool,
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
            boot_unix: options.boot_unix_ns.map(|boot| boot / SECOND),
            tasks: listed,
            totals: totals(&tasks.tasks),
            problems: problems.iter().chain(&tasks.problems).map(problem_info).collect(),
            lists_threads: options.threads,
            is_tree: options.tree,
        }
    }

    fn columns(&self) -> Vec<Column> {
        let tid = self.lists_threads.then_some(Column::right("TID", 7));
        let start = match self.boot_unix {
            Some(_) => Column::left("START", 19),
            None => Column::right("START", 12),
        };
        let before = [Column::left("", 1), Column::right("PID", 7)];
        let after = [
            Column::right("PPID", 7),
            Column::right("UID", 6),
            Column::left("S", 1),
            Column::right("NLWP", 4),
            Column::right("CPU", 3),
            start,
            Column::left("COMMAND", 0),
        ];
        before.into_iter().chain(tid).chain(after).collect()
    }

    fn row(&self, task: &TaskInfo, depth: usize) -> Vec<Cow<'static, str>> {
        let mark = if task.running_on.is_empty() { "" } else { ">" };
        let tid = self.lists_threads.then(|| task.tid.to_string());
        let branch = match depth.min(DEEPEST) {
            0 => String::new(),
            depth => format!("{:1$}\\_ ", "", depth.saturating_mul(4).saturating_sub(3)),
        };
        let after = [
            or_unknown(task.ppid),
            or_unknown(task.uid),
            task.state.unwrap_or('?').to_string(),
            task.threads.to_string(),
            or_unknown(task.cpu),
            self.start(task),
            branch + &command(task),
        ];
        let cells = [mark.to_owned(), task.pid.to_string()].into_iter().chain(tid).chain(after);
        cells.map(Cow::from).collect()
    }

    /// A date, or seconds after boot.
    fn start(&self, task: &TaskInfo) -> String {
        if self.boot_unix.is_some() {
            let date = task.start_unix.and_then(utc_time);
            return date.map_or_else(|| "?".to_owned(), |date| date.replace(" UTC", ""));
        }
        match task.start_ns {
            Some(ns) => format!("{}.{:02} s", ns / SECOND, ns % SECOND / 10_000_000),
            None => "?".to_owned(),
        }
    }
}

impl Answer for PsReport {
    const SCHEMA: &'static str = "vmss2core/ps/1";

    /// A row for each, and what they come to.
    fn page(&self, page: &mut Page<'_>) {
        let tasks = if self.is_tree {
            tree(&self.tasks)
        } else {
            self.tasks.iter().map(|task| (task, 0)).collect()
        };
        let rows = tasks.into_iter().map(|(task, depth)| self.row(task, depth));
        page.table(&self.columns(), rows);
        page.line(&self.totals.to_string());
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

/// Every task after its parent, with its depth. Whose parent is not listed is a
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

fn or_unknown(number: Option<u32>) -> String {
    number.map_or_else(|| "?".to_owned(), |number| number.to_string())
}

/// The command line; without one the name in brackets, as `ps` has it. A thread
/// has its name in braces, as `pstree` has it.
fn command(task: &TaskInfo) -> String {
    if task.tid != task.pid {
        return format!("{{{}}}", task.name);
    }
    let words = task.command_line.as_deref().unwrap_or_default().join(" ");
    let text = if words.trim().is_empty() { format!("[{}]", task.name) } else { words };
    let dead = if matches!(task.state, Some('Z' | 'X')) { " <defunct>" } else { "" };
    format!("{}{dead}", text.trim_end())
}
