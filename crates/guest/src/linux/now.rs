//! A Linux kernel at one moment, asked for what every system has.

use std::collections::HashMap;

use vmss2core_mem::Problem;

use super::{Kernel, LinuxError, Module, Task, Tasks, processes_asked_for, thread_of_process};
use crate::model::{
    Backtrace, Clock, Image, ImageUse, Images, Log, Place, Stack, StackOwner, Stacks, StacksOf,
    Started, TaskKind,
};
use crate::system::{AskError, Now};
use crate::{Which, model};

const SECOND_NS: u64 = 1_000_000_000;

impl Now for Kernel {
    fn tasks(&self) -> Option<Result<model::Tasks, AskError>> {
        Some(self.listed().map_err(AskError::from))
    }

    fn stacks(&self, of: &StacksOf) -> Option<Result<Stacks, AskError>> {
        Some(stacks(self, of))
    }

    fn log(&self) -> Option<Result<Log, AskError>> {
        Some(Self::log(self).map_err(AskError::from))
    }

    fn clock(&self, log: Option<&Log>) -> Option<Clock> {
        Some(Self::clock(self, log))
    }

    fn images(&self) -> Option<Images> {
        let found = self.modules();
        Some(Images {
            how: found.how.clone(),
            word_len: self.word_len(),
            loaded: found.modules.iter().map(image).collect(),
            unloaded: Vec::new(),
            problems: found.problems.clone(),
        })
    }
}

impl Kernel {
    fn listed(&self) -> Result<model::Tasks, LinuxError> {
        let first = self.init_task()?;
        let Tasks { tasks, mut problems } = self.tasks()?;
        // Without the guest's own clock it is better to count from its boot.
        let boot_unix_ns = self.clock(None).boot_unix_ns.map(|boot| boot.value);
        let mut lines = CommandLines::of(self);
        let listed = tasks.iter().map(|task| model::Task {
            command_line: lines.of_task(task),
            ..listed(task, boot_unix_ns)
        });
        let listed = listed.collect();
        problems.extend(lines.problems());
        let how = format!("lists from init_task at {}, {}", first.value, first.how);
        Ok(model::Tasks { how, boot_unix_ns, tasks: listed, problems })
    }
}

fn listed(task: &Task, boot_unix_ns: Option<u64>) -> model::Task {
    let unix = boot_unix_ns.zip(task.start_ns);
    let unix = unix.and_then(|(boot, start)| Some(boot.checked_add(start)? / SECOND_NS));
    model::Task {
        kind: if task.is_leader() { TaskKind::FirstThread } else { TaskKind::Thread },
        pid: task.pid.into(),
        tid: Some(task.tid.into()),
        parent: task.ppid.map(u64::from),
        uid: task.uid,
        gid: task.gid,
        state: state(task),
        name: task.name().to_owned(),
        short_name: task.long_name.as_ref().map(|_| task.comm.clone()),
        is_kernel_thread: Some(task.is_kernel_thread),
        started: Started { since_boot_ns: task.start_ns, unix },
        cpu: task.cpu,
        on_vcpu: task.on_vcpu,
        address: task.gva,
        ..model::Task::default()
    }
}

fn state(task: &Task) -> Option<String> {
    task.state.map(|state| state.letter.to_string())
}

/// Command lines by process: all threads of one have the same.
struct CommandLines<'k> {
    kernel: &'k Kernel,
    of_process: HashMap<u32, Option<Vec<String>>>,
    missing: u64,
    cut: u64,
}

impl<'k> CommandLines<'k> {
    fn of(kernel: &'k Kernel) -> Self {
        Self { kernel, of_process: HashMap::new(), missing: 0, cut: 0 }
    }

    fn of_task(&mut self, task: &Task) -> Option<Vec<String>> {
        if let Some(known) = self.of_process.get(&task.pid) {
            return known.clone();
        }
        let line = self.kernel.command_line(task);
        self.missing = self.missing.saturating_add(u64::from(line.is_err()));
        let line = line.ok().flatten();
        let is_cut = line.as_ref().is_some_and(|line| line.is_cut);
        self.cut = self.cut.saturating_add(u64::from(is_cut));
        let words = line.map(|line| line.words);
        self.of_process.insert(task.pid, words.clone());
        words
    }

    fn problems(self) -> impl Iterator<Item = Problem> {
        let Self { missing, cut, .. } = self;
        let missing = (missing > 0)
            .then(|| Problem::note(format!("command lines that are not in memory: {missing}")));
        let cut = (cut > 0).then(|| {
            Problem::note(format!(
                "command lines that are cut off, as the rest is not in memory or beyond 2 MiB: \
                 {cut}"
            ))
        });
        missing.into_iter().chain(cut)
    }
}

fn stacks(kernel: &Kernel, of: &StacksOf) -> Result<Stacks, AskError> {
    let mut found = Stacks::default();
    let tasks = match (kernel.tasks(), of) {
        (Ok(tasks), _) => tasks,
        // The stack of a processor can be told without knowing its task.
        (Err(error), StacksOf::Processors | StacksOf::Processor(_)) => {
            found.problems.push(Problem::warning(format!("tasks are not known: {error}")));
            Tasks::default()
        }
        (Err(error), _) => return Err(error.into()),
    };
    found.problems.extend(tasks.problems);
    let tasks = &tasks.tasks;
    match of {
        StacksOf::Processors => add_processors(kernel, tasks, |_| true, &mut found),
        StacksOf::Processor(cpu) => {
            add_processors(kernel, tasks, |stack| stack.cpu == Some(*cpu), &mut found);
            if found.stacks.is_empty() {
                return Err(no_cpu(kernel, *cpu));
            }
        }
        StacksOf::All => add_tasks(kernel, tasks, |_| true, &mut found),
        StacksOf::Process(which) => {
            let pids = processes_asked_for(tasks, which);
            let is_wanted =
                |task: &Task| pids.contains(&task.pid) || is_idle_asked_for(task, which);
            if !tasks.iter().any(is_wanted) {
                return Err(AskError::NoProcess(which.clone()));
            }
            let is_asked_for = |task: &&Task| *which == Which::Number(task.tid);
            let asked_for = tasks.iter().find(is_asked_for);
            let said = asked_for.and_then(thread_of_process);
            found.problems.extend(said.map(Problem::note));
            add_tasks(kernel, tasks, is_wanted, &mut found);
        }
    }
    Ok(found)
}

/// The idle tasks are no process, but each has a stack: all have number 0, and a name each.
fn is_idle_asked_for(task: &Task, which: &Which) -> bool {
    task.pid == 0
        && match which {
            Which::Number(number) => *number == 0,
            Which::Name(name) => task.is_called(name),
        }
}

/// A CPU of the guest may have no vCPU whose number of it is known.
fn no_cpu(kernel: &Kernel, cpu: u32) -> AskError {
    let mut known: Vec<u32> = kernel.vcpus().iter().filter_map(|vcpu| vcpu.number).collect();
    known.sort_unstable();
    AskError::NoCpu { cpu, known }
}

fn add_processors(
    kernel: &Kernel,
    tasks: &[Task],
    wanted: impl Fn(&Stack) -> bool,
    found: &mut Stacks,
) {
    for index in kernel.vcpus().iter().map(|vcpu| vcpu.index) {
        let task = tasks.iter().find(|task| task.on_vcpu == Some(index));
        match kernel.backtrace_of_vcpu(index) {
            Ok(backtrace) => {
                let stack = stack(kernel, Some(index), task, backtrace);
                found.stacks.extend(Some(stack).filter(&wanted));
            }
            // Nothing is missing.
            Err(error @ LinuxError::NotStarted { .. }) => {
                found.problems.push(Problem::note(error.to_string()));
            }
            Err(error) => {
                let message = format!("stack of vCPU {index}: {error}");
                found.problems.push(Problem::incomplete(message));
            }
        }
    }
}

fn add_tasks(kernel: &Kernel, tasks: &[Task], wanted: impl Fn(&Task) -> bool, found: &mut Stacks) {
    let tasks: Vec<&Task> = tasks.iter().filter(|task| wanted(task)).collect();
    for task in &tasks {
        match kernel.backtrace(task) {
            Ok(one) => found.stacks.push(stack(kernel, task.on_vcpu, Some(task), one)),
            Err(LinuxError::NoStack { .. }) if tasks.len() > 1 => {}
            Err(error) => {
                let message = format!("stack of task {}: {error}", task.tid);
                found.problems.push(Problem::incomplete(message));
            }
        }
    }
}

fn stack(kernel: &Kernel, vcpu: Option<u32>, task: Option<&Task>, backtrace: Backtrace) -> Stack {
    let of_vcpu = vcpu.and_then(|index| kernel.logical_cpu(index));
    let place = |frame: &model::Frame| {
        let found = kernel.symbolize(frame.code_address())?;
        let ahead = frame.ip.0.wrapping_sub(frame.code_address().0);
        let found = super::Place { offset: found.offset.wrapping_add(ahead), ..found };
        Some(Place {
            text: found.to_string(),
            symbol: Some(found.name.to_owned()),
            offset: found.offset,
            module: found.module.map(str::to_owned),
        })
    };
    Stack {
        vcpu,
        cpu: of_vcpu.or_else(|| task?.cpu),
        owner: task.map(owner),
        places: backtrace.frames.iter().map(place).collect(),
        backtrace,
    }
}

fn owner(task: &Task) -> StackOwner {
    StackOwner {
        pid: task.pid.into(),
        tid: Some(task.tid.into()),
        name: task.comm.clone(),
        long_name: task.long_name.clone(),
        state: state(task),
        address: task.gva,
    }
}

fn image(module: &Module) -> Image {
    Image {
        name: module.name.clone(),
        address: Some(module.base),
        size_bytes: module.size(),
        version: module.version.clone(),
        in_use: Some(ImageUse {
            users: module.users,
            used_by: module.used_by.clone(),
            is_permanent: module.is_permanent,
            state: module.state.name(),
            text: module.text,
            parts: module.parts.clone(),
            taint: module.taint.clone(),
            symbols: module.symbols.len() as u64,
        }),
        ..Image::default()
    }
}
