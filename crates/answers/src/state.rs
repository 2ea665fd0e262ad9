//! The state of the guest's kernel: part of the report about a checkpoint.

use std::collections::BTreeMap;

use serde::Serialize;
use vmss2core_guest::linux::{Clock, Stopped, Task, taint_meaning};
use vmss2core_mem::Found;

use crate::info::{InfoReport, Known, known_as};
use crate::units::utc_time;

/// Answers of the kernel itself.
#[derive(Clone, Debug, Default)]
pub struct KernelAnswers {
    /// The time in the guest.
    pub clock: Clock,
    /// Why it stopped; `None` if its log could not be read.
    pub stopped: Option<Stopped>,
    /// By position of the vCPU in the checkpoint, the symbol that it executes.
    pub places: Vec<Option<String>>,
    /// Of each task in state D, the function that it waits in, if that is known.
    pub blocked: Vec<Option<String>>,
    /// All tasks, and which lists they are from; `None` if they cannot be told.
    pub tasks: Option<Found<Vec<Task>>>,
}

/// How many tasks there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TaskCounts {
    /// Programs that run.
    pub processes: usize,
    /// Threads of the kernel, without the idle task of each CPU.
    pub kernel_threads: usize,
    /// All threads, those of the kernel too.
    pub threads: usize,
}

/// Tasks that wait and cannot be interrupted: state D.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// How many.
    pub tasks: usize,
    /// Where, most of them first.
    pub places: Vec<BlockedPlace>,
}

/// Where tasks wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockedPlace {
    /// The function, with its module in brackets.
    pub symbol: String,
    /// How many tasks wait there.
    pub tasks: usize,
}

/// The task that a processor runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunningTask {
    /// Number of the process; 0 is the idle task.
    pub pid: u32,
    /// Number of the thread.
    pub tid: u32,
    /// Name of the thread.
    pub name: String,
}

/// The state of the kernel.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KernelState {
    /// The guest's time in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Known<String>>,
    /// When it was started, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub booted: Option<Known<String>>,
    /// For how many seconds it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<Known<u64>>,
    /// How many tasks there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Known<TaskCounts>>,
    /// Tasks that wait and cannot be interrupted; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,
    /// Why it stopped, or what else went wrong; absent if its log could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<StoppedInfo>,
    /// The CPU that gave up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panic_cpu: Option<Known<u32>>,
    /// Taints of the kernel, as the letters of its own messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taint: Option<Known<String>>,
}

/// Why the kernel stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoppedInfo {
    /// `panic`, `oops`, `lockup`, `hung task`, or `none`.
    pub trouble: &'static str,
    /// The message that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How it is known.
    pub how: String,
}

impl InfoReport {
    /// Adds what the kernel itself answers.
    pub fn add_kernel(&mut self, answers: &KernelAnswers) {
        for (vcpu, place) in self.vcpus.iter_mut().zip(&answers.places) {
            if let Some(location) = &mut vcpu.location {
                location.symbol.clone_from(place);
            }
        }
        for vcpu in &mut self.vcpus {
            vcpu.task = answers.tasks.as_ref().and_then(|tasks| running(&tasks.value, vcpu.index));
        }
        if let Some(linux) = &mut self.guest.linux {
            linux.state = Some(KernelState::new(answers));
        }
    }
}

fn running(tasks: &[Task], vcpu: u32) -> Option<RunningTask> {
    let task = tasks.iter().find(|task| task.on_vcpu == Some(vcpu))?;
    Some(RunningTask { pid: task.pid, tid: task.tid, name: task.name().to_owned() })
}

impl Blocked {
    fn of(places: &[Option<String>]) -> Option<Self> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for place in places.iter().flatten() {
            let count = counts.entry(place).or_default();
            *count = count.saturating_add(1);
        }
        let place = |(symbol, tasks): (&str, usize)| BlockedPlace { symbol: symbol.into(), tasks };
        let mut found: Vec<BlockedPlace> = counts.into_iter().map(place).collect();
        found.sort_by_key(|place| std::cmp::Reverse(place.tasks));
        (!places.is_empty()).then_some(Self { tasks: places.len(), places: found })
    }
}

impl TaskCounts {
    fn of(tasks: &[Task]) -> Self {
        let all = || tasks.iter().filter(|task| task.tid != 0);
        Self {
            processes: all().filter(|task| task.is_leader() && !task.is_kernel_thread).count(),
            kernel_threads: all().filter(|task| task.is_kernel_thread).count(),
            threads: all().count(),
        }
    }
}

impl KernelState {
    fn new(answers: &KernelAnswers) -> Self {
        const SECOND: u64 = 1_000_000_000;
        let KernelAnswers { clock, stopped, .. } = answers;
        let date =
            |unix: u64, how: &str| Some(Known { value: utc_time(unix)?, how: how.to_owned() });
        Self {
            time: clock.now_unix.as_ref().and_then(|now| date(now.value, &now.how)),
            booted: clock.boot_unix_ns.as_ref().and_then(|at| date(at.value / SECOND, &at.how)),
            uptime_seconds: clock.uptime_ns.as_ref().map(|time| known_as(time, |ns| ns / SECOND)),
            blocked: Blocked::of(&answers.blocked),
            tasks: answers.tasks.as_ref().map(|tasks| known_as(tasks, |all| TaskCounts::of(all))),
            stopped: stopped.as_ref().map(StoppedInfo::new),
            panic_cpu: stopped.as_ref().and_then(|stopped| {
                stopped.panic_cpu.as_ref().map(|cpu| known_as(cpu, |cpu| *cpu))
            }),
            taint: stopped.as_ref().and_then(|stopped| {
                stopped.taint.as_ref().map(|taint| known_as(taint, Clone::clone))
            }),
        }
    }

    /// "panic on CPU 1: Kernel panic - not syncing: ..."
    pub(crate) fn why_stopped(&self) -> Option<Known<String>> {
        let stopped = self.stopped.as_ref()?;
        let Some(message) = &stopped.message else {
            let value = "no: it was running".to_owned();
            return Some(Known { value, how: stopped.how.clone() });
        };
        let cpu = self.panic_cpu.as_ref().map(|cpu| format!(" on CPU {}", cpu.value));
        let value = format!("{}{}: {message}", stopped.trouble, cpu.unwrap_or_default());
        Some(Known { value, how: stopped.how.clone() })
    }

    /// "W (kernel issued a warning)", one after the other.
    pub(crate) fn taints(&self) -> Option<Known<String>> {
        let taint = self.taint.as_ref()?;
        let meaning = |letter: char| match taint_meaning(letter) {
            Some(meaning) => format!("{letter} ({meaning})"),
            None => letter.to_string(),
        };
        let letters: Vec<String> = taint.value.chars().map(meaning).collect();
        let value = if letters.is_empty() { "not tainted".to_owned() } else { letters.join(", ") };
        Some(Known { value, how: taint.how.clone() })
    }
}

impl StoppedInfo {
    fn new(stopped: &Stopped) -> Self {
        match &stopped.trouble {
            Some(found) => Self {
                trouble: found.value.0.name(),
                message: Some(found.value.1.clone()),
                how: found.how.clone(),
            },
            None => Self {
                trouble: "none",
                message: None,
                how: "the kernel's log tells of no trouble".to_owned(),
            },
        }
    }
}
