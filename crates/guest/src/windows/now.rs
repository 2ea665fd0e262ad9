//! A Windows kernel at one moment, asked for what every system has.

use vmss2core_mem::{Gva, Problem};

use super::{Kernel, Module, Process, Processes, Thread, UnloadedModule, WindowsError};
use crate::Which;
use crate::model::{
    Backtrace, Frame, Image, Images, Place, Stack, StackOwner, Stacks, StacksOf, Started, Task,
    TaskKind, Tasks, Unloaded,
};
use crate::system::{AskError, Now};

/// Seconds from 1601 to 1970.
const EPOCH: u64 = 11_644_473_600;

/// A time of Windows (100 ns since 1601) in seconds since 1970; `None` for times before that
/// and for none at all.
pub fn unix_time(time: u64) -> Option<u64> {
    (time / 10_000_000).checked_sub(EPOCH)
}

impl Now for Kernel {
    fn tasks(&self) -> Option<Result<Tasks, AskError>> {
        Some(self.processes().map(|found| self.listed(found)).map_err(AskError::from))
    }

    fn stacks(&self, of: &StacksOf) -> Option<Result<Stacks, AskError>> {
        Some(stacks(self, of))
    }

    fn images(&self) -> Option<Images> {
        let found = self.modules();
        Some(Images {
            how: found.how.clone(),
            word_len: self.view().word_len(),
            loaded: found.modules.iter().map(image).collect(),
            unloaded: found.unloaded.iter().map(unloaded).collect(),
            problems: found.problems.clone(),
        })
    }
}

impl Kernel {
    fn listed(&self, found: Processes) -> Tasks {
        let tasks = found.processes.iter().flat_map(|process| {
            let threads = process.threads.iter().map(|thread| self.listed_thread(process, thread));
            [listed_process(process)].into_iter().chain(threads)
        });
        let tasks = tasks.collect();
        Tasks { how: found.how, boot_unix_ns: None, tasks, problems: found.problems }
    }

    fn listed_thread(&self, process: &Process, thread: &Thread) -> Task {
        Task {
            kind: TaskKind::Thread,
            pid: process.pid,
            tid: thread.tid,
            parent: process.parent,
            state: state(thread),
            name: process.full_name().to_owned(),
            cpu: thread.cpu,
            on_vcpu: thread.cpu.and_then(|cpu| self.vcpu_of(cpu)),
            address: thread.gva,
            environment: thread.teb,
            entry: thread.start,
            ..Task::default()
        }
    }

    fn vcpu_of(&self, cpu: u32) -> Option<u32> {
        Some(self.cpu(cpu).ok()?.vcpu.as_ref()?.value)
    }
}

fn listed_process(process: &Process) -> Task {
    let time = |time: Option<u64>| time.filter(|time| *time != 0).and_then(unix_time);
    Task {
        kind: TaskKind::Process,
        pid: process.pid,
        parent: process.parent,
        name: process.full_name().to_owned(),
        short_name: long_name(process).map(|_| process.name.clone()),
        path: process.path.clone(),
        started: Started { since_boot_ns: None, unix: time(process.created) },
        ended_unix: time(process.exited),
        address: process.gva,
        page_tables: process.root,
        environment: process.peb,
        ..Task::default()
    }
}

/// The whole name, if the one in its structure is cut.
fn long_name(process: &Process) -> Option<String> {
    let name = process.full_name();
    (name != process.name).then(|| name.to_owned())
}

fn state(thread: &Thread) -> Option<String> {
    thread.state_name().map(str::to_owned)
}

fn stacks(kernel: &Kernel, of: &StacksOf) -> Result<Stacks, AskError> {
    let mut found = Stacks::default();
    let listed = match kernel.processes() {
        Ok(listed) => listed,
        // The stack of a processor can be told without knowing its thread.
        Err(error) if matches!(of, StacksOf::Processors | StacksOf::Processor(_)) => {
            found.problems.push(Problem::warning(format!("processes are not known: {error}")));
            Processes::default()
        }
        Err(error) => return Err(error.into()),
    };
    found.problems.extend(listed.problems);
    let processes = &listed.processes;
    match of {
        StacksOf::Processors => {
            for cpu in &kernel.windows().cpus {
                found.add(of_cpu(kernel, processes, cpu.number));
            }
        }
        StacksOf::Processor(cpu) => {
            let known: Vec<u32> = kernel.windows().cpus.iter().map(|cpu| cpu.number).collect();
            if !known.contains(cpu) {
                return Err(AskError::NoCpu { cpu: *cpu, known });
            }
            found.stacks.push(of_cpu(kernel, processes, *cpu)?);
        }
        StacksOf::All => add_threads(kernel, processes.iter(), &mut found),
        StacksOf::Process(which) => {
            let wanted = processes.iter().filter(|process| is_asked_for(process, which));
            let Some(first) = wanted.clone().next() else {
                return Err(AskError::NoProcess(which.clone()));
            };
            let said = which.thread_of_process(first.pid, first.full_name());
            found.problems.extend(said.map(Problem::note));
            add_threads(kernel, wanted, &mut found);
        }
    }
    Ok(found)
}

/// By the number of it or of one of its threads, or by the name of its image, in which
/// Windows does not tell small letters from large ones.
fn is_asked_for(process: &Process, which: &Which) -> bool {
    match which {
        Which::Number(number) => {
            let number = u64::from(*number);
            process.pid == number || process.threads.iter().any(|thread| thread.tid == Some(number))
        }
        Which::Name(name) => {
            let names = [process.full_name(), process.name.as_str()];
            names.into_iter().any(|one| one.eq_ignore_ascii_case(name))
        }
    }
}

impl Stacks {
    fn add(&mut self, stack: Result<Stack, WindowsError>) {
        match stack {
            Ok(stack) => self.stacks.push(stack),
            Err(error) => self.problems.push(Problem::incomplete(error.to_string())),
        }
    }
}

fn of_cpu(kernel: &Kernel, processes: &[Process], cpu: u32) -> Result<Stack, WindowsError> {
    let backtrace = kernel.backtrace_of_cpu(cpu)?;
    let runs = |thread: &&Thread| thread.cpu == Some(cpu);
    let running = processes.iter().find_map(|process| {
        let thread = process.threads.iter().find(runs)?;
        Some((process, thread))
    });
    Ok(stack(kernel, Some(cpu), running, backtrace))
}

fn add_threads<'p>(
    kernel: &Kernel,
    processes: impl Iterator<Item = &'p Process>,
    found: &mut Stacks,
) {
    for process in processes {
        for thread in &process.threads {
            let backtrace = kernel.backtrace_of_thread(thread);
            let running = Some((process, thread));
            found.add(backtrace.map(|one| stack(kernel, thread.cpu, running, one)));
        }
    }
}

fn stack(
    kernel: &Kernel,
    cpu: Option<u32>,
    running: Option<(&Process, &Thread)>,
    backtrace: Backtrace,
) -> Stack {
    Stack {
        vcpu: cpu.and_then(|cpu| kernel.vcpu_of(cpu)),
        cpu,
        owner: running.map(|(process, thread)| StackOwner {
            pid: process.pid,
            tid: thread.tid,
            name: process.name.clone(),
            long_name: long_name(process),
            state: state(thread),
            address: thread.gva,
        }),
        places: backtrace.frames.iter().map(|frame| place(kernel, frame)).collect(),
        backtrace,
    }
}

fn place(kernel: &Kernel, frame: &Frame) -> Option<Place> {
    // The call may be the last instruction of its function.
    let ahead = frame.ip.0.wrapping_sub(frame.code_address().0);
    let mut found = kernel.place(frame.code_address())?;
    found.offset = found.offset.wrapping_add(ahead);
    found.symbol = found.symbol.map(|(name, at)| (name, at.wrapping_add(ahead)));
    Some(Place {
        text: found.to_string(),
        symbol: found.symbol.map(|(name, _)| name.to_owned()),
        offset: found.symbol.map_or(found.offset, |(_, at)| at),
        module: Some(found.module.to_owned()),
    })
}

/// Where an image's first section usually lies, after its headers.
const FIRST_SECTION: u64 = 0x1000;

fn image(module: &Module) -> Image {
    let sections = module.sections().iter().map(|section| u64::from(section.rva));
    let first = sections.min().unwrap_or(FIRST_SECTION);
    Image {
        // gdb takes the address of the one segment of an image for that of its lowest
        // section, as gdbserver has it on Windows itself (`win32-low.cc` adds 0x1000 to each
        // base).
        symbols_at: Some(Gva(module.base.0.wrapping_add(first))),
        name: module.name.clone(),
        path: module.path.clone(),
        address: Some(module.base),
        size_bytes: module.size_bytes.into(),
        timestamp: module.timestamp,
        key: module.image_key(),
        pdb: module.pdb.clone(),
        ..Image::default()
    }
}

fn unloaded(module: &UnloadedModule) -> Unloaded {
    Unloaded {
        name: module.name.clone(),
        range: module.start.0..module.end.0,
        unix: unix_time(module.time),
    }
}
