//! What `vmss2core ps` says about a Windows guest.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use vmss2core_guest::windows::{Process, Processes, Thread};

use super::windows_time;
use crate::info::{Hex, ProblemInfo, problem_info};
use crate::page::{Answer, Page};

/// Deeper branches of a tree are drawn no further to the right.
const DEEPEST: usize = 40;

/// The processes of a Windows guest.
#[derive(Clone, Debug, Serialize)]
pub struct WindowsPsReport {
    /// How the list was found.
    pub how: String,
    /// By number.
    pub processes: Vec<WindowsProcess>,
    /// What is missing, odd or broken.
    pub problems: Vec<ProblemInfo>,
    #[serde(skip)]
    form: Form,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WindowsProcess {
    /// Number.
    pub pid: u64,
    /// Number of the process that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppid: Option<u64>,
    /// Name of its image.
    pub name: String,
    /// Path of its image as the kernel names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// When it was made, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// When it ended; absent if it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exited: Option<String>,
    /// Physical address of its page tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_tables: Option<Hex>,
    /// `PEB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peb: Option<Hex>,
    /// Windows' numbers of the processors that run it.
    pub running_on: Vec<u32>,
    /// Address of its `EPROCESS`.
    pub eprocess: Hex,
    /// Its threads.
    pub threads: Vec<WindowsThread>,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WindowsThread {
    /// Number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<u64>,
    /// What it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// Windows' number of the processor that runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Where it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Hex>,
    /// `TEB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teb: Option<Hex>,
    /// Address of its `ETHREAD`.
    pub ethread: Hex,
}

impl WindowsPsReport {
    /// The report about these processes.
    pub fn new(found: &Processes) -> Self {
        let mut processes: Vec<WindowsProcess> = found.processes.iter().map(process).collect();
        processes.sort_by_key(|process| process.pid);
        Self {
            how: found.how.clone(),
            processes,
            problems: found.problems.iter().map(problem_info).collect(),
            form: Form::List,
        }
    }

    /// The same with every process below the one that made it.
    pub fn as_tree(self) -> Self {
        Self { form: Form::Tree, ..self }
    }

    /// The same with a line for each thread below its process.
    pub fn with_threads(self) -> Self {
        Self { form: Form::Threads, ..self }
    }
}

impl Answer for WindowsPsReport {
    const SCHEMA: &'static str = "vmss2core/windows-ps/1";

    fn page(&self, page: &mut Page<'_>) {
        page.line(&title());
        let processes = match self.form {
            Form::Tree => tree(&self.processes),
            Form::List | Form::Threads => self.processes.iter().map(|one| (one, 0)).collect(),
        };
        for (process, depth) in processes {
            page.line(&process.line(depth));
            let threads = process.threads.iter().filter(|_| self.form == Form::Threads);
            threads.for_each(|thread| page.line(&thread.line()));
        }
        let threads = self.processes.iter().map(|process| process.threads.len());
        let threads = threads.fold(0, usize::saturating_add);
        page.line(&format!("{} processes with {threads} threads", self.processes.len()));
    }
}

/// What the list looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    List,
    Tree,
    Threads,
}

fn process(process: &Process) -> WindowsProcess {
    WindowsProcess {
        pid: process.pid,
        ppid: process.parent,
        name: process.full_name().to_owned(),
        path: process.path.clone(),
        created: process.created.filter(|time| *time != 0).and_then(windows_time),
        exited: process.exited.filter(|time| *time != 0).and_then(windows_time),
        page_tables: process.root.map(|root| Hex(root.0)),
        peb: process.peb.map(|peb| Hex(peb.0)),
        running_on: process.running_on(),
        eprocess: Hex(process.gva.0),
        threads: process.threads.iter().map(thread).collect(),
    }
}

fn thread(thread: &Thread) -> WindowsThread {
    WindowsThread {
        tid: thread.tid,
        state: thread.state_name(),
        cpu: thread.cpu,
        start: thread.start.map(|start| Hex(start.0)),
        teb: thread.teb.map(|teb| Hex(teb.0)),
        ethread: Hex(thread.gva.0),
    }
}

fn title() -> String {
    format!("  {:>7} {:>7} {:>4} {:>6} {:<19} IMAGE", "PID", "PPID", "THR", "CPU", "CREATED")
}

impl WindowsProcess {
    fn line(&self, depth: usize) -> String {
        let mark = if self.running_on.is_empty() { ' ' } else { '>' };
        let ppid = self.ppid.map_or_else(|| "?".to_owned(), |ppid| ppid.to_string());
        let created = self.created.as_deref().map_or("?", |text| text.trim_end_matches(" UTC"));
        let cpus: Vec<String> = self.running_on.iter().map(u32::to_string).collect();
        let branch = match depth.min(DEEPEST) {
            0 => String::new(),
            depth => format!("{:1$}\\_ ", "", depth.saturating_mul(4).saturating_sub(3)),
        };
        let ended = if self.exited.is_some() { " <ended>" } else { "" };
        format!(
            "{mark} {:>7} {ppid:>7} {:>4} {:>6} {created:<19} {branch}{}{ended}",
            self.pid,
            self.threads.len(),
            cpus.join(","),
            self.path.as_deref().unwrap_or(&self.name),
        )
    }
}

impl WindowsThread {
    fn line(&self) -> String {
        let mark = if self.cpu.is_some() { '>' } else { ' ' };
        let tid = self.tid.map_or_else(|| "?".to_owned(), |tid| tid.to_string());
        let cpu = self.cpu.map_or_else(String::new, |cpu| cpu.to_string());
        let start = self.start.map_or_else(|| "?".to_owned(), |start| start.to_string());
        let state = self.state.unwrap_or("?");
        format!("{mark}   thread {tid:>9} {cpu:>9} {state:<14} began at {start}")
    }
}

/// Every process after the one that made it, with its depth. Whose parent is not
/// listed is a root, and so is one of those that are parents of each other.
fn tree(processes: &[WindowsProcess]) -> Vec<(&WindowsProcess, usize)> {
    let pids: HashSet<u64> = processes.iter().map(|process| process.pid).collect();
    let mut children = HashMap::<u64, Vec<usize>>::new();
    let mut roots = Vec::new();
    for (index, process) in processes.iter().enumerate() {
        match process.ppid.filter(|parent| pids.contains(parent) && *parent != process.pid) {
            Some(parent) => children.entry(parent).or_default().push(index),
            None => roots.push(index),
        }
    }
    let mut lines = Vec::with_capacity(processes.len());
    let mut seen = HashSet::new();
    for root in roots.into_iter().chain(0..processes.len()) {
        let mut waiting = vec![(root, 0_usize)];
        while let Some((index, depth)) = waiting.pop() {
            let Some(process) = processes.get(index).filter(|_| seen.insert(index)) else {
                continue;
            };
            lines.push((process, depth));
            let below = children.get(&process.pid).into_iter().flatten().rev();
            waiting.extend(below.map(|child| (*child, depth.saturating_add(1))));
        }
    }
    lines
}
