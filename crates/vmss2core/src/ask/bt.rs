//! Stacks in a guest's kernel.

mod of_windows;

use vmss2core_answers::{BtReport, StackInfo};
use vmss2core_guest::linux::{Kernel as Linux, LinuxError, Task, Tasks, processes_asked_for};
use vmss2core_guest::{OperatingSystem, Which};
use vmss2core_mem::Problem;

use super::process::threads_number;
use super::{Answered, StackList};
use crate::{Error, Guest, Kernel};

/// Whose stacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stacks {
    /// Of each vCPU.
    Processors,
    /// Of one processor, as the guest numbers them.
    Processor(u32),
    /// Of all threads of a process, or of all processes of a name.
    Process(Which),
    /// Of every task.
    All,
}

impl Guest {
    /// What its kernel was doing.
    ///
    /// ```
    /// use vmss2core::answers::Forms;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let fixture = vmss2core_lab::windows::fixture("crashed").unwrap();
    /// # let machine = vmss2core_lab::windows::make(&fixture)?.machine;
    /// # vmss2core_lab::vmware::write_checkpoint(&machine, &Default::default(), dir.path(), "vm")?;
    /// # let vm = dir.path().join("vm.vmss");
    /// let guest = vmss2core::Guest::open([vm])?;
    /// let stacks = guest.bt(&vmss2core::Stacks::Processors)?;
    /// let mut text = Vec::new();
    /// stacks.answer.write_text(&mut text)?;
    /// assert!(String::from_utf8(text)?.contains("on CPU 0"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bt(&self, wanted: &Stacks) -> Result<Answered<StackList>, Error> {
        match self.kernel()? {
            Kernel::Linux(kernel) => of_linux(kernel, wanted),
            Kernel::Windows(kernel) => of_windows::bt(kernel, wanted),
            Kernel::Macos(_) => Err(Error::OtherSystem(OperatingSystem::MacOs)),
        }
    }
}

fn of_linux(kernel: &Linux, wanted: &Stacks) -> Result<Answered<StackList>, Error> {
    let mut problems = Vec::new();
    let report = BtReport::new(stacks(kernel, wanted, &mut problems)?);
    Ok(Answered { answer: StackList::Linux(report), problems })
}

/// The stacks that are wanted.
fn stacks(
    kernel: &Linux,
    wanted: &Stacks,
    problems: &mut Vec<Problem>,
) -> Result<Vec<StackInfo>, Error> {
    let tasks = match (kernel.tasks(), wanted) {
        (Ok(tasks), _) => tasks,
        // The stack of a processor can be told without knowing its task.
        (Err(error), Stacks::Processors | Stacks::Processor(_)) => {
            problems.push(Problem::warning(format!("tasks are not known: {error}")));
            Tasks::default()
        }
        (Err(error), _) => return Err(error.into()),
    };
    problems.extend(tasks.problems);
    let tasks = &tasks.tasks;
    match wanted {
        Stacks::Processors => Ok(of_processors(kernel, tasks, |_| true, problems)),
        Stacks::Processor(cpu) => {
            let found = of_processors(kernel, tasks, |stack| stack.cpu == Some(*cpu), problems);
            if found.is_empty() { Err(no_cpu(kernel, *cpu)) } else { Ok(found) }
        }
        Stacks::All => Ok(of_tasks(kernel, tasks, |_| true, problems)),
        Stacks::Process(which) => {
            let pids = processes_asked_for(tasks, which);
            if pids.is_empty() {
                return Err(Error::NoProcess(which.clone()));
            }
            let is_asked_for = |task: &&Task| *which == Which::Number(task.tid);
            problems.extend(tasks.iter().find(is_asked_for).and_then(threads_number));
            Ok(of_tasks(kernel, tasks, |task| pids.contains(&task.pid), problems))
        }
    }
}

/// A CPU of the guest may have no vCPU whose number of it is known.
fn no_cpu(kernel: &Linux, cpu: u32) -> Error {
    let mut known: Vec<u32> = kernel.vcpus().iter().filter_map(|vcpu| vcpu.number).collect();
    known.sort_unstable();
    Error::NoCpu { cpu, known }
}

fn of_processors(
    kernel: &Linux,
    tasks: &[Task],
    wanted: impl Fn(&StackInfo) -> bool,
    problems: &mut Vec<Problem>,
) -> Vec<StackInfo> {
    let indices = kernel.vcpus().iter().map(|vcpu| vcpu.index);
    let stack = |index| {
        let task = tasks.iter().find(|task| task.on_vcpu == Some(index));
        match kernel.backtrace_of_vcpu(index) {
            Ok(found) => Some(StackInfo::new(kernel, Some(index), task, &found)),
            Err(error) => {
                problems.push(Problem::incomplete(format!("stack of vCPU {index}: {error}")));
                None
            }
        }
    };
    indices.filter_map(stack).filter(|stack| wanted(stack)).collect()
}

fn of_tasks(
    kernel: &Linux,
    tasks: &[Task],
    wanted: impl Fn(&Task) -> bool,
    problems: &mut Vec<Problem>,
) -> Vec<StackInfo> {
    let tasks: Vec<&Task> = tasks.iter().filter(|task| wanted(task)).collect();
    let stack = |task: &&Task| match kernel.backtrace(task) {
        Ok(found) => Some(StackInfo::new(kernel, task.on_vcpu, Some(task), &found)),
        Err(LinuxError::NoStack { .. }) if tasks.len() > 1 => None,
        Err(error) => {
            problems.push(Problem::incomplete(format!("stack of task {}: {error}", task.tid)));
            None
        }
    };
    tasks.iter().filter_map(stack).collect()
}
