//! Which CPU a task is on, and whether it runs there.

use vmss2core_machine::{Privilege, Registers};
use vmss2core_mem::Sums;

use super::Facts;
use super::members::{Members, offsets};
use super::memory::{Memory, Shot};
use super::sample::Sample;
use super::threads;
use crate::linux::Kernel;
use crate::linux::arch;

/// Threads of the kernel that never leave the CPU that their name ends with.
const BOUND: [&str; 3] = ["ksoftirqd/", "migration/", "cpuhp/"];
/// `on_cpu` follows `flags` and `ptrace`, at times with `wake_entry` between.
const ON_CPU: std::ops::Range<u64> = 8..0x40;
/// With page-table isolation, programs run on tables that are so far from their own.
const USER_TABLES: u64 = 0x1000;
/// How far a `thread_info` reaches.
const THREAD_INFO: u64 = 0x100;

pub(super) fn learn(
    kernel: &Kernel,
    memory: &Memory<'_>,
    known: &Facts<'_>,
    members: &mut Members,
) {
    if number(memory, known.sample, members).is_none() {
        members.miss("task_struct.cpu", "no number is that in the names of threads of CPUs");
    }
    if on_cpu(kernel, memory, known, members).is_none() {
        members.miss("task_struct.on_cpu", "which tasks run does not show");
    }
}

/// The number in the name of a thread that belongs to a CPU.
fn bound_to(task: &Shot, comm: u64) -> Option<u64> {
    let name = task.comm(comm)?;
    BOUND.iter().find_map(|prefix| name.strip_prefix(prefix)?.parse().ok())
}

/// `thread_info.cpu`, in the task itself or at the end of its stack; from 4.9 to 5.15
/// `task_struct.cpu`.
fn number(memory: &Memory<'_>, sample: &Sample, members: &mut Members) -> Option<()> {
    let (comm, stack) = (members.task("comm")?, members.task("stack")?);
    let bound: Vec<(&Shot, u64)> =
        sample.kernel().filter_map(|task| Some((task, bound_to(task, comm)?))).collect();
    // On a single CPU every zero would do.
    members.has_one_cpu = !bound.is_empty() && bound.iter().all(|(_, cpu)| *cpu == 0);
    (!bound.is_empty() && !members.has_one_cpu).then_some(())?;
    let how = "as in the names of threads that belong to CPUs";
    if members.at("thread_info", "flags").is_none() {
        let bottom = |task: &Shot| task.word(stack).filter(|stack| memory.is_pointer(*stack));
        let cpu = |task: &Shot, at| memory.u32(bottom(task)?.plus(at));
        let is_cpu = |at| bound.iter().all(|(task, number)| cpu(task, at) == Some(*number));
        let at = offsets(0..THREAD_INFO, 4, is_cpu).next()?;
        members.put("thread_info", "cpu", (at, 4), how);
        return Some(());
    }
    let is_cpu = |at| bound.iter().all(|(task, number)| task.u32(at) == Some(*number));
    // `recent_used_cpu` and `wake_cpu` follow, and may be equal.
    let at = offsets(0..members.task("tasks")?, 4, is_cpu).next()?;
    if at < stack {
        members.put("task_struct", "thread_info.cpu", (at, 4), how);
        members.put("thread_info", "cpu", (at, 4), how);
    } else {
        members.put("task_struct", "cpu", (at, 4), how);
    }
    Some(())
}

/// Which of the tasks a vCPU may be running, by all that its registers show.
fn may_run(
    memory: &Memory<'_>,
    known: &Facts<'_>,
    members: &Members,
    tasks: &[Shot],
    vcpu: &Registers,
) -> Option<Vec<usize>> {
    let leader = members.task("group_leader")?;
    let waiting = arch::entry_stacks(vcpu, |at| memory.word(at));
    let is_on = |task: &Shot, at: u64| {
        let stack = Sample::stack_of(task, members);
        stack.is_some_and(|stack| (stack..stack.saturating_add(known.thread_size)).contains(&at))
    };
    let pointers: Vec<u64> = vcpu.sp().into_iter().chain(waiting).collect();
    let with = |is_it: &dyn Fn(&Shot) -> bool| -> Vec<usize> {
        let found = tasks.iter().enumerate().filter(|(_, task)| is_it(task));
        found.map(|(index, _)| index).collect()
    };
    let by_stack = with(&|task| pointers.iter().any(|at| is_on(task, *at)));
    if !by_stack.is_empty() {
        return Some(by_stack);
    }
    // In user mode the page tables tell the process.
    let root = vcpu.paging(memory.space().memory()).ok()?.root.0.0;
    (vcpu.privilege() == Some(Privilege::User)).then_some(())?;
    let process = known.processes.iter().find(|process| {
        let own = process.space.root().0.0;
        own == root || own == root & !USER_TABLES
    })?;
    let of_process = with(&|task| task.word(leader) == Some(process.task.gva));
    (!of_process.is_empty()).then_some(of_process)
}

/// 1 for what runs, 0 for all others. Kernels for one CPU, whose first task is called
/// `swapper`, do not have it.
fn on_cpu(
    kernel: &Kernel,
    memory: &Memory<'_>,
    known: &Facts<'_>,
    members: &mut Members,
) -> Option<()> {
    let (flags, state) = (members.task("flags")?, members.task("state")?);
    known.sample.first()?.comm(members.task("comm")?).filter(|name| name.ends_with("/0"))?;
    let tasks = threads::all(memory, known.sample, members);
    let vcpus: Vec<&Registers> = kernel.all_registers().collect();
    let running: Vec<Vec<usize>> =
        vcpus.iter().filter_map(|vcpu| may_run(memory, known, members, &tasks, vcpu)).collect();
    let has = |task: &Shot, at: u64, value: u64| task.u32(at) == Some(value);
    let is_on_cpu = |at: u64| {
        let ones = tasks.iter().filter(|task| has(task, at, 1)).count();
        let runs = |of: &Vec<usize>| {
            of.iter().any(|index| tasks.get(*index).is_some_and(|task| has(task, at, 1)))
        };
        // One that goes to sleep is running yet.
        let at_rest = tasks.iter().filter(|task| task.u32(state) != Some(0));
        let awake = at_rest.filter(|task| has(task, at, 1)).count();
        tasks.iter().all(|task| has(task, at, 0) || has(task, at, 1))
            && (1..=vcpus.len()).contains(&ones)
            && awake <= 1
            && running.iter().all(runs)
    };
    (!running.is_empty()).then_some(())?;
    // `on_rq`, which may look the same, comes later.
    let at = offsets(flags.plus(ON_CPU.start)..flags.plus(ON_CPU.end), 4, is_on_cpu).next()?;
    members.put("task_struct", "on_cpu", (at, 4), "1 for what the vCPUs run, 0 for all others");
    Some(())
}
