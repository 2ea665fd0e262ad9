//! The answer of `vmss2core ps`, as plain data and as a page.
//!
//! The member names are the JSON members; `docs/schema/ps-2.json` describes them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use vmss2core_guest::Which;
use vmss2core_guest::model::{Task, Tasks};

use crate::info::{Hex, ProblemInfo, problem_info};
use crate::page::{Answer, Column, Page};
use crate::units::{counted, utc_time};

const SECOND: u64 = 1_000_000_000;
/// Deeper branches of a tree are drawn no further to the right.
const DEEPEST: usize = 40;

/// The processes of a guest, or its threads.
#[derive(Clone, Debug, Serialize)]
pub struct PsReport {
    /// How they were found.
    pub how: String,
    /// When the guest booted, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_unix: Option<u64>,
    /// Processes or threads, by number.
    pub tasks: Vec<TaskInfo>,
    /// How many the guest has, whichever are listed.
    pub totals: Totals,
    /// Problems: missing, odd or broken data.
    pub problems: Vec<ProblemInfo>,
    #[serde(skip)]
    listed: Listed,
    #[serde(skip)]
    is_part: bool,
}

/// A process, or a thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskInfo {
    /// Number of the process.
    pub pid: u64,
    /// Number of the thread; absent for a process that is no thread itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<u64>,
    /// Number of the parent process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppid: Option<u64>,
    /// Effective user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Effective group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// State: the letter of `ps`, or the guest's word for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Threads of the process.
    pub threads: usize,
    /// Nanoseconds from boot to its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_ns: Option<u64>,
    /// When it started, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_unix: Option<u64>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_unix: Option<u64>,
    /// The processor it ran on last, as the guest numbers them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// The vCPUs that run it, or a thread of it, in this moment.
    pub running_on: Vec<u32>,
    /// Whether it is a thread of the kernel, if the guest tells them apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_thread: Option<bool>,
    /// Its name as the guest's own tools show it.
    pub name: String,
    /// The name in its structure, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// Its command line, if it has one that is in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line: Option<Vec<String>>,
    /// Path of its image as the kernel names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Address of its `task_struct`, `EPROCESS` or `ETHREAD`.
    pub address: Hex,
    /// Physical address of its page tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_tables: Option<Hex>,
    /// Address of its `PEB` or `TEB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Hex>,
    /// Where the thread began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<Hex>,
    /// The processors of the column, as the guest numbers them.
    #[serde(skip)]
    cpus: Vec<u32>,
    #[serde(skip)]
    is_process: bool,
}

/// How many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Processes, without threads of the kernel where the guest tells those apart.
    pub processes: usize,
    /// Their threads.
    pub threads: usize,
    /// Threads of the kernel, the idle ones among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_threads: Option<usize>,
    /// Threads of both kinds by state; what has none is not counted.
    pub states: BTreeMap<String, usize>,
}

/// Lines of a list of processes, and their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Threads, not only processes.
    pub threads: bool,
    /// Processes below their parents.
    pub tree: bool,
}

/// Which of them are listed: all that fit each of these which is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// These processes.
    pub which: Vec<Which>,
    /// Processes of these effective users.
    pub users: Vec<u32>,
    /// Tasks in these states, by letter or the guest's word, in small letters or large ones.
    pub states: Vec<String>,
}

impl Only {
    fn is_everything(&self) -> bool {
        self.which.is_empty() && self.users.is_empty() && self.states.is_empty()
    }

    fn fits(&self, task: &TaskInfo) -> bool {
        let in_state = |wanted: &String| {
            // "t" and "T" are two states.
            let is_letter = wanted.chars().count() == 1;
            let state = task.state.as_ref();
            state.is_some_and(|state| {
                state == wanted || !is_letter && state.eq_ignore_ascii_case(wanted)
            })
        };
        (self.which.is_empty() || self.which.iter().any(|which| is_meant(which, task)))
            && (self.users.is_empty() || task.uid.is_some_and(|uid| self.users.contains(&uid)))
            && (self.states.is_empty() || self.states.iter().any(in_state))
    }
}

/// Whether a task is meant, or belongs to the process that is.
fn is_meant(which: &Which, task: &TaskInfo) -> bool {
    match which {
        Which::Number(number) => [Some(task.pid), task.tid].contains(&Some(u64::from(*number))),
        Which::Name(name) => {
            task.name == *name || task.comm.as_ref().is_some_and(|comm| comm == name)
        }
    }
}

impl PsReport {
    /// Keeps only some. Error: nothing is meant by this.
    pub fn keep(&mut self, only: &Only) -> Result<(), Which> {
        let is_there = |which: &&Which| self.tasks.iter().any(|task| is_meant(which, task));
        if let Some(absent) = only.which.iter().find(|which| !is_there(which)) {
            return Err(absent.clone());
        }
        self.is_part = !only.is_everything();
        self.tasks.retain(|task| only.fits(task));
        Ok(())
    }

    /// The report about `tasks`.
    pub fn new(tasks: &Tasks, listed: Listed) -> Self {
        let processes = Processes::of(&tasks.tasks);
        let wanted = tasks.tasks.iter().filter(|task| listed.threads || task.is_process());
        let info = |task| task_info(task, &processes, listed);
        let mut infos: Vec<TaskInfo> = wanted.map(info).collect();
        infos.sort_by_key(|task| (task.pid, task.tid));
        Self {
            how: tasks.how.clone(),
            boot_unix: tasks.boot_unix_ns.map(|boot| boot / SECOND),
            tasks: infos,
            totals: totals(&tasks.tasks),
            problems: tasks.problems.iter().map(problem_info).collect(),
            listed,
            is_part: false,
        }
    }

    /// Columns that no task has something for are left out.
    fn columns(&self) -> Vec<Column> {
        let has = |column, is_there| Some(column).filter(|_| is_there);
        let any = |known: fn(&TaskInfo) -> bool| self.tasks.iter().any(known);
        let states = self.tasks.iter().filter_map(|task| task.state.as_ref());
        let state = match states.map(|state| state.chars().count()).max() {
            Some(longest) if longest > 1 => Some(Column::left("STATE", longest.max(5))),
            longest => longest.map(|_| Column::left("S", 1)),
        };
        let start =
            if self.has_dates() { Column::left("START", 19) } else { Column::right("START", 12) };
        let columns = [
            Some(Column::left("", 1)),
            Some(Column::right("PID", 7)),
            has(Column::right("TID", 7), self.listed.threads),
            Some(Column::right("PPID", 7)),
            has(Column::right("UID", 6), any(|task| task.uid.is_some())),
            state,
            Some(Column::right("NLWP", 4)),
            Some(Column::right("CPU", 3)),
            Some(start),
            Some(Column::left("COMMAND", 0)),
        ];
        columns.into_iter().flatten().collect()
    }

    fn row(&self, columns: &[Column], task: &TaskInfo, depth: usize) -> Vec<Cow<'static, str>> {
        let cell = |column: &Column| match column.head {
            "PID" => task.pid.to_string(),
            "TID" => task.tid.map_or_else(String::new, |tid| tid.to_string()),
            "PPID" => or_unknown(task.ppid),
            "UID" => or_unknown(task.uid),
            "S" | "STATE" if task.tid.is_none() && task.is_process => String::new(),
            "S" | "STATE" => or_unknown(task.state.as_ref()),
            "NLWP" => task.threads.to_string(),
            "CPU" => cpus(task),
            "START" => self.start(task),
            "COMMAND" => branch(depth) + &command(task),
            _ => if task.running_on.is_empty() { "" } else { ">" }.to_owned(),
        };
        columns.iter().map(cell).map(Cow::from).collect()
    }

    fn has_dates(&self) -> bool {
        self.boot_unix.is_some() || self.tasks.iter().any(|task| task.start_unix.is_some())
    }

    /// A date, or seconds after boot.
    fn start(&self, task: &TaskInfo) -> String {
        let is_known = task.start_unix.is_some() || task.start_ns.is_some();
        // Threads of Windows have none of their own here.
        if !task.is_process && !is_known {
            return String::new();
        }
        if self.has_dates() {
            let date = task.start_unix.and_then(utc_time);
            return date
                .map_or_else(|| "?".to_owned(), |date| date.replace('T', " ").replace('Z', ""));
        }
        match task.start_ns {
            Some(ns) => format!("{}.{:02} s", ns / SECOND, ns % SECOND / 10_000_000),
            None => "?".to_owned(),
        }
    }
}

impl Answer for PsReport {
    const SCHEMA: &'static str = "vmss2core/ps/2";

    /// A row for each, and what they come to.
    fn page(&self, page: &mut Page<'_>) {
        let tasks = if self.listed.tree {
            tree(&self.tasks)
        } else {
            self.tasks.iter().map(|task| (task, 0)).collect()
        };
        let columns = self.columns();
        page.table(
            &columns,
            tasks.into_iter().map(|(task, depth)| self.row(&columns, task, depth)),
        );
        if !self.is_part {
            page.line(&self.totals.to_string());
        }
    }
}

/// Totals of the threads of each process.
struct Processes {
    threads: HashMap<u64, usize>,
    running: HashMap<u64, Vec<(u32, Option<u32>)>>,
    /// Numbers that several have, as the idle tasks of Linux: each is alone.
    shared: HashSet<u64>,
}

impl Processes {
    fn of(tasks: &[Task]) -> Self {
        let (mut threads, mut running) = (HashMap::new(), HashMap::<_, Vec<_>>::new());
        let (mut seen, mut shared) = (HashSet::new(), HashSet::new());
        for task in tasks {
            if task.is_thread() {
                count(threads.entry(task.pid).or_default());
            }
            if let Some(vcpu) = task.on_vcpu {
                running.entry(task.pid).or_default().push((vcpu, task.cpu));
            }
            if task.is_process() && !seen.insert(task.pid) {
                shared.insert(task.pid);
            }
        }
        Self { threads, running, shared }
    }

    fn threads(&self, task: &Task) -> usize {
        let alone = usize::from(task.is_thread());
        if self.shared.contains(&task.pid) {
            return alone;
        }
        self.threads.get(&task.pid).copied().unwrap_or(alone)
    }

    /// The vCPUs that run a task, and the guest's numbers of them.
    fn running(&self, task: &Task, listed: Listed) -> Vec<(u32, Option<u32>)> {
        let is_alone = listed.threads && task.is_thread() || self.shared.contains(&task.pid);
        let mut running = if is_alone {
            task.on_vcpu.map(|vcpu| (vcpu, task.cpu)).into_iter().collect()
        } else {
            self.running.get(&task.pid).cloned().unwrap_or_default()
        };
        running.sort_unstable();
        running
    }
}

fn task_info(task: &Task, processes: &Processes, listed: Listed) -> TaskInfo {
    let running = processes.running(task, listed);
    let running_cpus = || running.iter().filter_map(|(_, cpu)| *cpu).collect();
    TaskInfo {
        pid: task.pid,
        tid: task.tid,
        ppid: task.parent,
        uid: task.uid,
        gid: task.gid,
        state: task.state.clone(),
        threads: processes.threads(task),
        start_ns: task.started.since_boot_ns,
        start_unix: task.started.unix,
        end_unix: task.ended_unix,
        cpu: task.cpu,
        cpus: task.cpu.map_or_else(running_cpus, |cpu| vec![cpu]),
        running_on: running.into_iter().map(|(vcpu, _)| vcpu).collect(),
        kernel_thread: task.is_kernel_thread,
        name: task.name.clone(),
        comm: task.short_name.clone(),
        command_line: task.command_line.clone(),
        path: task.path.clone(),
        address: Hex(task.address.0),
        page_tables: task.page_tables.map(|root| Hex(root.0)),
        environment: task.environment.map(|at| Hex(at.0)),
        entry: task.entry.map(|at| Hex(at.0)),
        is_process: task.is_process(),
    }
}

/// Counts one more.
fn count(counter: &mut usize) {
    *counter = counter.saturating_add(1);
}

fn totals(tasks: &[Task]) -> Totals {
    let mut totals = Totals::default();
    for task in tasks {
        if let Some(is_kernel_thread) = task.is_kernel_thread {
            let kernel_threads = totals.kernel_threads.get_or_insert(0);
            *kernel_threads = kernel_threads.saturating_add(usize::from(is_kernel_thread));
        }
        if task.is_kernel_thread != Some(true) {
            totals.threads = totals.threads.saturating_add(usize::from(task.is_thread()));
            totals.processes = totals.processes.saturating_add(usize::from(task.is_process()));
        }
        if let Some(state) = &task.state {
            count(totals.states.entry(state.clone()).or_default());
        }
    }
    totals
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { processes, threads, kernel_threads, states } = self;
        write!(
            f,
            "{} with {}",
            counted(*processes, "process", "es"),
            counted(*threads, "thread", "s")
        )?;
        if let Some(kernel_threads) = kernel_threads {
            write!(f, ", {}", counted(*kernel_threads, "kernel thread", "s"))?;
        }
        let mut separator = ":";
        for (state, count) in states {
            write!(f, "{separator} {count} {state}")?;
            separator = ",";
        }
        Ok(())
    }
}

/// Every task after its parent, with its depth. Whose parent is not listed is a
/// root, and so is one of those that are parents of each other. Number 0 is nobody's
/// parent: idle tasks have it, which made nothing.
fn tree(tasks: &[TaskInfo]) -> Vec<(&TaskInfo, usize)> {
    let mut children = HashMap::<u64, Vec<usize>>::new();
    let leaders: HashSet<u64> =
        tasks.iter().filter(|task| task.is_process).map(|task| task.pid).collect();
    let mut roots = Vec::new();
    for (index, task) in tasks.iter().enumerate() {
        let parent = match task.pid {
            0 if task.is_process => None,
            _ if task.is_process => task.ppid,
            pid => Some(pid),
        };
        match parent.filter(|parent| *parent != 0 && leaders.contains(parent)) {
            Some(parent) => children.entry(parent).or_default().push(index),
            None => roots.push(index),
        }
    }
    let mut lines = Vec::with_capacity(tasks.len());
    let mut seen = HashSet::new();
    for root in roots.into_iter().chain(0..tasks.len()) {
        let mut waiting = vec![(root, 0_usize)];
        while let Some((index, depth)) = waiting.pop() {
            let Some(task) = tasks.get(index).filter(|_| seen.insert(index)) else { continue };
            lines.push((task, depth));
            if task.is_process && task.pid != 0 {
                let below = children.get(&task.pid).into_iter().flatten().rev();
                waiting.extend(below.map(|child| (*child, depth.saturating_add(1))));
            }
        }
    }
    lines
}

fn or_unknown(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "?".to_owned(), |number| number.to_string())
}

/// The processor that it ran on last, or those that run it.
fn cpus(task: &TaskInfo) -> String {
    let is_unknown = task.cpus.is_empty() && !task.running_on.is_empty();
    let cpus: Vec<String> = task.cpus.iter().map(u32::to_string).collect();
    if is_unknown { "?".to_owned() } else { cpus.join(",") }
}

/// The line that leads from a parent to its child.
fn branch(depth: usize) -> String {
    match depth.min(DEEPEST) {
        0 => String::new(),
        depth => format!("{:1$}\\_ ", "", depth.saturating_mul(4).saturating_sub(3)),
    }
}

/// The command line, or the path of the image; without both the name in brackets, as `ps` has
/// it. A thread has its name in braces, as `pstree` has it.
fn command(task: &TaskInfo) -> String {
    if !task.is_process {
        let began = task.entry.map(|entry| format!(" began at {entry}")).unwrap_or_default();
        return format!("{{{}}}{began}", task.name);
    }
    let words = task.command_line.as_deref().unwrap_or_default().join(" ");
    let words = if words.trim().is_empty() { task.path.clone().unwrap_or_default() } else { words };
    let text = if words.is_empty() { format!("[{}]", task.name) } else { words };
    let is_dead = matches!(task.state.as_deref(), Some("Z" | "X"));
    let state = match (is_dead, task.end_unix) {
        (true, _) => " <defunct>",
        (false, Some(_)) => " <ended>",
        (false, None) => "",
    };
    format!("{}{state}", text.trim_end())
}
