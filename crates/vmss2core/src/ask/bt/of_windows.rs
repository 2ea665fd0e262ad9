//! Stacks in a Windows kernel.

use vmss2core_answers::{WindowsBtReport, WindowsStack, printable};
use vmss2core_guest::Which;
use vmss2core_guest::windows::{Kernel, Process, Processes, Thread, WindowsError};
use vmss2core_mem::Problem;

use super::Stacks;
use crate::Error;
use crate::ask::{Answered, StackList};

/// The stacks that are wanted, and what is missing.
pub(super) fn bt(kernel: &Kernel, wanted: &Stacks) -> Result<Answered<StackList>, Error> {
    let mut problems = Vec::new();
    let listed = match kernel.processes() {
        Ok(listed) => listed,
        // The stack of a processor can be told without knowing its thread.
        Err(error) if matches!(wanted, Stacks::Processors | Stacks::Processor(_)) => {
            problems.push(Problem::warning(format!("processes are not known: {error}")));
            Processes::default()
        }
        Err(error) => return Err(error.into()),
    };
    problems.extend(listed.problems.iter().cloned());
    let stacks = stacks(kernel, &listed.processes, wanted, &mut problems)?;
    let report = WindowsBtReport::new(stacks);
    Ok(Answered { answer: StackList::Windows(report), problems })
}

fn stacks(
    kernel: &Kernel,
    processes: &[Process],
    wanted: &Stacks,
    problems: &mut Vec<Problem>,
) -> Result<Vec<WindowsStack>, Error> {
    match wanted {
        Stacks::Processors => {
            let cpus = kernel.windows().cpus.iter().map(|cpu| cpu.number);
            let stack = |cpu| told(of_cpu(kernel, processes, cpu), problems);
            Ok(cpus.filter_map(stack).collect())
        }
        Stacks::Processor(cpu) => Ok(vec![of_cpu(kernel, processes, *cpu)?]),
        Stacks::All => Ok(of_threads(kernel, processes.iter(), problems)),
        Stacks::Process(which) => {
            let wanted = processes.iter().filter(|process| is_asked_for(process, which));
            let Some(first) = wanted.clone().next() else {
                return Err(Error::NoProcess(which.clone()));
            };
            problems.extend(threads_number(first, which));
            Ok(of_threads(kernel, wanted, problems))
        }
    }
}

/// By the number of it or of one of its threads, or by the name of its image, in which
/// Windows does not tell small letters from large ones.
fn is_asked_for(process: &Process, which: &Which) -> bool {
    match which {
        Which::Number(number) => {
            let number = u64::from(*number);
            process.pid == number || process.threads.iter().any(|thread| thread.tid == Some(number))
        }
        Which::Name(name) => process.full_name().eq_ignore_ascii_case(name),
    }
}

fn threads_number(process: &Process, which: &Which) -> Option<Problem> {
    let Which::Number(number) = which else { return None };
    let (pid, name) = (process.pid, printable(process.full_name()));
    (pid != u64::from(*number))
        .then(|| Problem::note(format!("{number} is a thread of process {pid} ({name})")))
}

fn told(
    stack: Result<WindowsStack, WindowsError>,
    problems: &mut Vec<Problem>,
) -> Option<WindowsStack> {
    stack.map_err(|error| problems.push(Problem::incomplete(error.to_string()))).ok()
}

fn of_cpu(kernel: &Kernel, processes: &[Process], cpu: u32) -> Result<WindowsStack, WindowsError> {
    let found = kernel.backtrace_of_cpu(cpu)?;
    let runs = |process: &&Process| process.threads.iter().any(|thread| thread.cpu == Some(cpu));
    let process = processes.iter().find(runs);
    let mut threads = process.into_iter().flat_map(|process| &process.threads);
    let thread = threads.find(|thread| thread.cpu == Some(cpu));
    Ok(WindowsStack::new(kernel, Some(cpu), (process, thread), &found))
}

fn of_threads<'p>(
    kernel: &Kernel,
    processes: impl Iterator<Item = &'p Process>,
    problems: &mut Vec<Problem>,
) -> Vec<WindowsStack> {
    let threads =
        processes.flat_map(|process| process.threads.iter().map(move |one| (process, one)));
    let stack = |(process, thread): (&Process, &Thread)| {
        let found = kernel.backtrace_of_thread(thread);
        let owner = (Some(process), Some(thread));
        told(found.map(|found| WindowsStack::new(kernel, thread.cpu, owner, &found)), problems)
    };
    threads.filter_map(stack).collect()
}
