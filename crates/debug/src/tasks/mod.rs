//! Task mode: one inferior whose threads are the tasks of a Linux guest, with the
//! registers that each has in the kernel.
//!
//! A task that does not run goes on where it was switched away from; one that runs
//! has the registers of its processor, also if that is in user mode. Each sees the
//! memory of its process and the kernel's.

use std::collections::HashMap;

use vmss2core_gdb::Thread;
use vmss2core_guest::linux::{Kernel, LinuxError, Task};
use vmss2core_machine::paging::AddressSpace;
use vmss2core_machine::{Registers, VcpuView};
use vmss2core_mem::Problem;

use crate::kernel::{KernelThreads, KernelView};

mod words;

/// Linux numbers no task so high (`PID_MAX_LIMIT` is 4 << 20). What has no number of
/// its own, as the idle tasks, gets one from here on.
const FIRST_MADE_UP: u32 = 10_000_000;

/// The tasks of a guest.
pub struct GuestTasks {
    kernel: Kernel,
    threads: Vec<Thread>,
    tasks: HashMap<u32, Task>,
}

impl GuestTasks {
    /// All tasks that can be listed, and what is in the way of more. Fails if the
    /// guest's list of tasks cannot be found.
    pub fn list(kernel: &Kernel) -> Result<(Self, Vec<Problem>), LinuxError> {
        let found = kernel.tasks()?;
        let panicked = kernel.stopped(None).panic_cpu.map(|cpu| cpu.value);
        let mut listed = found.tasks;
        // Stable: tasks that are alike stay in the order of their making.
        listed.sort_by_key(|task| attention(task, panicked));
        let words = words::Words::of(kernel);
        let mut threads = Vec::with_capacity(listed.len());
        let mut tasks = HashMap::with_capacity(listed.len());
        for task in listed {
            let tid = number(&task, &tasks);
            threads.push(words.thread(tid, &task));
            tasks.insert(tid, task);
        }
        let kernel = kernel.clone();
        Ok((Self { kernel, threads, tasks }, found.problems))
    }

    fn spaces_of(&self, view: &KernelView, task: &Task) -> Vec<AddressSpace> {
        if task.on_vcpu.is_some_and(|vcpu| !self.kernel.linux().has_left(vcpu)) {
            return view.spaces(task.on_vcpu);
        }
        let own = self.kernel.space_of(task).ok().flatten();
        own.into_iter().chain([self.kernel.space().clone()]).collect()
    }

    fn registers_of(&self, view: &KernelView, task: &Task) -> Registers {
        let running = task.on_vcpu.and_then(|index| self.kernel.registers_of(index));
        if let Some(running) = running {
            return running.clone();
        }
        match self.kernel.sleeping_registers(task) {
            Ok(found) => found.value.or_pc(0),
            Err(_) => view.nowhere(),
        }
    }
}

/// Order in which to look at tasks, lowest first: the one that panicked, then what runs, idle
/// tasks last.
fn attention(task: &Task, panicked: Option<u32>) -> (u8, u32) {
    match task.on_vcpu {
        Some(vcpu) if panicked.is_some() && task.cpu == panicked => (0, vcpu),
        Some(vcpu) if task.tid != 0 => (1, vcpu),
        Some(vcpu) => (2, vcpu),
        None => (3, 0),
    }
}

/// A task's own number; another one for what has 0 or that of a task before it.
fn number(task: &Task, taken: &HashMap<u32, Task>) -> u32 {
    if task.tid != 0 && !taken.contains_key(&task.tid) {
        return task.tid;
    }
    let wanted = FIRST_MADE_UP.saturating_add(task.cpu.unwrap_or(0));
    (wanted..=u32::MAX).find(|tid| !taken.contains_key(tid)).unwrap_or(u32::MAX)
}

impl KernelThreads for GuestTasks {
    fn threads(&self) -> &[Thread] {
        &self.threads
    }

    fn cpu(&self, tid: u32) -> Option<u32> {
        self.tasks.get(&tid)?.on_vcpu
    }

    fn registers(&self, view: &KernelView, tid: u32) -> Option<Registers> {
        Some(self.registers_of(view, self.tasks.get(&tid)?))
    }

    fn spaces(&self, view: &KernelView, tid: u32) -> Vec<AddressSpace> {
        self.tasks.get(&tid).map(|task| self.spaces_of(view, task)).unwrap_or_default()
    }

    /// The processor that runs a task, or did so last.
    fn variables_of(&self, tid: u32) -> Option<u32> {
        let task = self.tasks.get(&tid)?;
        let last = || {
            let is_its = |vcpu: &&VcpuView| vcpu.number.is_some() && vcpu.number == task.cpu;
            Some(self.kernel.vcpus().iter().find(is_its)?.index)
        };
        task.on_vcpu.or_else(last)
    }
}

#[cfg(test)]
mod tests {
    use vmss2core_mem::Gva;

    use super::*;

    fn task(tid: u32, cpu: Option<u32>, on_vcpu: Option<u32>) -> Task {
        Task {
            gva: Gva(0),
            tid,
            pid: tid,
            ppid: None,
            uid: None,
            gid: None,
            comm: String::new(),
            long_name: None,
            state: None,
            mm: None,
            is_kernel_thread: false,
            stack: None,
            start_ns: None,
            cpu,
            on_vcpu,
        }
    }

    #[test]
    fn idle_tasks_and_repeated_numbers_get_numbers_of_their_own() {
        let mut taken = HashMap::new();
        for (task, expected) in [
            (task(7, None, None), 7),
            (task(0, Some(0), None), FIRST_MADE_UP),
            (task(0, Some(1), None), FIRST_MADE_UP + 1),
            (task(0, None, None), FIRST_MADE_UP + 2),
            (task(7, Some(1), None), FIRST_MADE_UP + 3),
            (task(0, Some(u32::MAX), None), u32::MAX),
        ] {
            let tid = number(&task, &taken);
            assert_eq!(tid, expected);
            taken.insert(tid, task);
        }
    }

    #[test]
    fn who_panicked_comes_first_then_who_runs() {
        let mut tasks = [
            task(1, Some(0), None),
            task(0, Some(0), Some(0)),
            task(9, Some(1), Some(1)),
            task(8, Some(2), Some(2)),
            task(2, Some(2), None),
        ];
        let order = |tasks: &[Task]| tasks.iter().map(|task| task.tid).collect::<Vec<_>>();
        tasks.sort_by_key(|task| attention(task, None));
        assert_eq!(order(&tasks), [9, 8, 0, 1, 2]);
        tasks.sort_by_key(|task| attention(task, Some(2)));
        assert_eq!(order(&tasks), [8, 9, 0, 1, 2]);
    }
}
