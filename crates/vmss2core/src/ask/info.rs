//! Content of a checkpoint.

use vmss2core_answers::{InfoReport, KernelAnswers};
use vmss2core_guest::linux::{Kernel as Linux, Task, Tasks};
use vmss2core_machine::Vcpu;
use vmss2core_mem::{Found, Gva};

use crate::Guest;

impl Guest {
    /// All there is to tell about it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let fixture = vmss2core_lab::windows::fixture("crashed").unwrap();
    /// # let machine = vmss2core_lab::windows::make(&fixture)?.machine;
    /// # vmss2core_lab::vmware::write_checkpoint(&machine, &Default::default(), dir.path(), "vm")?;
    /// # let vm = dir.path().join("vm.vmss");
    /// let info = vmss2core::Guest::open([vm])?.info();
    /// assert_eq!(info.guest.os.unwrap().value, "Windows");
    /// let windows = info.guest.windows.unwrap();
    /// assert!(windows.bugcheck.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn info(&self) -> InfoReport {
        let mut report =
            InfoReport::new(self.checkpoint(), self.facts(), self.inputs(), self.command_line());
        if let Some(misfit) = self.misfit() {
            report.add_misfit(misfit);
        }
        if let Some(inventory) = self.inventory() {
            report.add_screenshot(inventory, self.command_line(), self.inputs());
        }
        if let Some(windows) = self.windows() {
            report.add_windows(windows);
        }
        if let Some(answers) = answers(self) {
            report.add_kernel(&answers);
        }
        report
    }
}

/// Answers of the guest's kernel itself, if it can be asked.
fn answers(guest: &Guest) -> Option<KernelAnswers> {
    let checkpoint = guest.checkpoint();
    let kernel = guest.linux().ok()?;
    let log = kernel.log().ok();
    let place = |vcpu: &Vcpu| {
        // The second kernel's symbols are not these.
        let pc = vcpu.registers.pc().filter(|_| !kernel.linux().has_left(vcpu.index))?;
        kernel.symbolize(Gva(pc)).map(|place| place.to_string())
    };
    let tasks = tasks(kernel);
    Some(KernelAnswers {
        blocked: tasks.as_ref().map(|tasks| blocked(kernel, &tasks.value)).unwrap_or_default(),
        clock: kernel.clock(log.as_ref()),
        stopped: log.is_some().then(|| kernel.stopped(log.as_ref())),
        places: checkpoint.vcpus.iter().map(place).collect(),
        tasks,
    })
}

/// Tasks whose stacks are looked at: more in the same state would tell nothing new.
const MOST_BLOCKED: usize = 4096;

/// Of each task that cannot be interrupted in its wait, the function that it waits in.
fn blocked(kernel: &Linux, tasks: &[Task]) -> Vec<Option<String>> {
    let is_blocked = |task: &&Task| task.state.is_some_and(|state| state.letter == 'D');
    let place = |task: &Task| {
        let place = kernel.wait_channel(task)?;
        Some(match place.module {
            Some(module) => format!("{} [{module}]", place.name),
            None => place.name.to_owned(),
        })
    };
    let mut looks_left = MOST_BLOCKED;
    let place = |task: &Task| {
        looks_left = looks_left.checked_sub(1)?;
        place(task)
    };
    tasks.iter().filter(is_blocked).map(place).collect()
}

/// The tasks, as far as their lists can be followed.
fn tasks(kernel: &Linux) -> Option<Found<Vec<Task>>> {
    let first = kernel.init_task().ok()?;
    let Tasks { tasks, problems } = kernel.tasks().ok()?;
    let how = format!("lists from init_task at {}, {}", first.value, first.how);
    let how = if problems.is_empty() { how } else { format!("{how}; some are broken: see ps") };
    Some(Found::new(tasks, how))
}
