//! A kernel in miniature, without paging: tasks as bytes at addresses below 4 GiB.

#![expect(clippy::cast_possible_truncation, reason = "small test numbers")]

use std::collections::HashMap;
use std::sync::Arc;

use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_machine::{Checkpoint, Registers, Vcpu, VcpuView, x86};
use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory, Severity};

use crate::linux::{BetterSources, CommandLine, Kernel, Member, Symbol, Symbols, Tasks, Types};
use crate::{Facts, LinuxFacts};

const INIT: u64 = 0x1_0000;
const FIRST: u64 = 0x2_0000;
const TASK_LEN: u64 = 0x1000;
const SIGNALS: u64 = 0x10_0000;
const CREDS: u64 = 0x18_0000;
const MEMORIES: u64 = 0x1a_0000;
/// `__per_cpu_offset`, and the variables of the CPUs.
const OFFSETS: u64 = 0x1c_0000;
const PERCPU: u64 = 0x1d_0000;
const PERCPU_LEN: u64 = 0x1000;
const CURRENT: u64 = 0x40;
const RUNQUEUES: u64 = 0x80;
const RAM: u64 = 2 << 20;

const TASKS: u64 = 0x100;
const THREADS: u64 = 0x140;
const GROUP: u64 = 0x160;

/// Offset and size of members.
const LAYOUT: &[(&str, &str, u64, u64)] = &[
    ("task_struct", "thread_info.cpu", 0x0c, 4),
    ("task_struct", "__state", 0x18, 4),
    ("task_struct", "stack", 0x20, 8),
    ("task_struct", "flags", 0x2c, 4),
    ("task_struct", "on_cpu", 0x34, 4),
    ("task_struct", "tasks", TASKS, 16),
    ("task_struct", "mm", 0x110, 8),
    ("task_struct", "exit_state", 0x118, 4),
    ("task_struct", "pid", 0x120, 4),
    ("task_struct", "tgid", 0x124, 4),
    ("task_struct", "real_parent", 0x128, 8),
    ("task_struct", "thread_node", THREADS, 16),
    ("task_struct", "thread_group", GROUP, 16),
    ("task_struct", "start_boottime", 0x180, 8),
    ("task_struct", "cred", 0x188, 8),
    ("task_struct", "comm", 0x190, 16),
    ("task_struct", "signal", 0x1a0, 8),
    ("signal_struct", "thread_head", 0x10, 16),
    ("cred", "euid", 0x18, 4),
    ("cred", "egid", 0x1c, 4),
    ("mm_struct", "pgd", 0x48, 8),
    ("mm_struct", "arg_start", 0x138, 8),
    ("mm_struct", "arg_end", 0x140, 8),
    ("rq", "idle", 0x20, 8),
];

#[derive(Debug)]
struct Layout {
    without: Vec<&'static str>,
}

impl Types for Layout {
    fn member(&self, structure: &str, path: &str) -> Option<Member> {
        let found = LAYOUT.iter().find(|(of, name, ..)| (*of, *name) == (structure, path))?;
        let (.., offset_bytes, size) = *found;
        let member = Member { offset_bytes, size_bytes: Some(size), bits: None };
        (!self.without.contains(&path)).then_some(member)
    }

    fn size_of(&self, structure: &str) -> Option<u64> {
        (structure == "task_struct").then_some(TASK_LEN)
    }
}

/// Tasks are built in place; `ring` ties list nodes together.
struct Guest {
    ram: Vec<u8>,
    without: Vec<&'static str>,
    symbols: HashMap<&'static str, u64>,
    cpus: u32,
    /// Base of each CPU's descriptor table.
    descriptors: Vec<u64>,
}

impl Guest {
    /// `swapper/0`, and nothing else.
    fn new() -> Self {
        let mut guest = Self {
            ram: vec![0; RAM as usize],
            without: Vec::new(),
            symbols: HashMap::from([("init_task", INIT)]),
            cpus: 0,
            descriptors: Vec::new(),
        };
        guest.task(INIT, (0, 0), "swapper/0");
        guest.set(INIT + 0x128, INIT);
        guest.ring(&[INIT + TASKS]);
        guest
    }

    /// With processes 1 to `count`, each of one thread.
    fn with_processes(count: u64) -> Self {
        let mut guest = Self::new();
        let mut nodes = vec![INIT + TASKS];
        for pid in 1..=count {
            guest.task(at(pid), (pid as u32, pid as u32), &format!("task-{pid}"));
            guest.set(at(pid) + 0x128, if pid < 3 { INIT } else { at(1) });
            nodes.push(at(pid) + TASKS);
        }
        guest.ring(&nodes);
        guest
    }

    fn task(&mut self, gva: u64, (tid, pid): (u32, u32), comm: &str) {
        self.set32(gva + 0x120, tid);
        self.set32(gva + 0x124, pid);
        self.put(gva + 0x190, comm.as_bytes());
        let signal = SIGNALS + 0x100 * u64::from(pid);
        self.set(gva + 0x1a0, signal);
        self.ring(&[signal + 0x10, gva + THREADS]);
        self.ring(&[gva + GROUP]);
    }

    /// Other threads of the process at `leader`.
    fn threads(&mut self, leader: u64, pid: u32, tids: &[u32]) {
        let mut nodes = vec![SIGNALS + 0x100 * u64::from(pid) + 0x10, leader + THREADS];
        let mut group = vec![leader + GROUP];
        for tid in tids {
            let gva = at(u64::from(*tid));
            self.task(gva, (*tid, pid), &format!("thread-{tid}"));
            nodes.push(gva + THREADS);
            group.push(gva + GROUP);
        }
        self.ring(&nodes);
        self.ring(&group);
    }

    fn ring(&mut self, nodes: &[u64]) {
        for (index, node) in nodes.iter().enumerate() {
            let next = nodes[(index + 1) % nodes.len()];
            self.set(*node, next);
            self.set(next + 8, *node);
        }
    }

    /// `count` CPUs, which run these tasks.
    fn cpus(&mut self, running: &[u64]) {
        for (cpu, task) in running.iter().enumerate() {
            let base = PERCPU + PERCPU_LEN * cpu as u64;
            self.set(OFFSETS + 8 * cpu as u64, base);
            self.set(base + CURRENT, *task);
            self.set32(*task + 0x0c, cpu as u32);
            self.set32(*task + 0x34, 1);
        }
        self.cpus = running.len() as u32;
        self.symbols.insert("__per_cpu_offset", OFFSETS);
        self.symbols.insert("current_task", CURRENT);
    }

    fn set(&mut self, gva: u64, value: u64) {
        self.put(gva, &value.to_le_bytes());
    }

    fn set32(&mut self, gva: u64, value: u32) {
        self.put(gva, &value.to_le_bytes());
    }

    fn put(&mut self, gva: u64, bytes: &[u8]) {
        self.ram[gva as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn ask<T>(self, question: impl FnOnce(&Kernel) -> T) -> T {
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0), RAM, Arc::new(self.ram), 0).unwrap();
        let vcpu = |index: u32| {
            let mut x86 = x86::Registers::default();
            x86.gdtr.base = self.descriptors.get(index as usize).copied();
            Vcpu { index, halted: None, registers: Registers::X86(Box::new(x86)) }
        };
        let vcpus = (0..self.cpus).map(vcpu).collect();
        let checkpoint = Checkpoint { memory, vcpus, ..Checkpoint::default() };
        let root = (PagingMode::IDENTITY, Root(Gpa(0)));
        let linux = LinuxFacts {
            is_64_bit: true,
            kernel_root: Some(Found::new(root, "test")),
            ..LinuxFacts::default()
        };
        let known = |index| VcpuView { index, number: Some(index), ..VcpuView::default() };
        let vcpus = (0..self.cpus).map(known).collect();
        let facts = Facts { vcpus, ..Facts::of(linux, "made") };
        let symbols = Symbols::new(self.symbols.iter().map(|(name, address)| Symbol {
            address: Gva(*address),
            kind: 'D',
            name,
        }));
        let layout: Arc<dyn Types> = Arc::new(Layout { without: self.without });
        let better = BetterSources {
            types: vec![Found::new(layout, "test")],
            symbols: Some(Found::new(symbols, "test")),
            ..BetterSources::default()
        };
        question(&Kernel::open(&checkpoint, &facts, better).unwrap())
    }

    fn tasks(self) -> Tasks {
        self.ask(|kernel| kernel.tasks().unwrap())
    }
}

/// Where the task of a number lies.
fn at(tid: u64) -> u64 {
    FIRST + TASK_LEN * tid
}

fn tids(tasks: &Tasks) -> Vec<u32> {
    tasks.tasks.iter().map(|task| task.tid).collect()
}

/// The severities, and that some problem says `what`.
fn worst(tasks: &Tasks, what: &str) -> Option<Severity> {
    let said = tasks.problems.iter().any(|problem| problem.message.contains(what));
    assert!(said || what.is_empty(), "nothing says {what:?}: {:?}", tasks.problems);
    tasks.problems.iter().map(|problem| problem.severity).max()
}

#[test]
fn processes_come_in_the_order_of_their_making_and_the_idle_task_last() {
    let tasks = Guest::with_processes(4).tasks();
    assert_eq!(tids(&tasks), [1, 2, 3, 4, 0]);
    assert_eq!(worst(&tasks, ""), None);
    let third = &tasks.tasks[2];
    assert_eq!((third.pid, third.ppid, third.comm.as_str()), (3, Some(1), "task-3"));
    assert_eq!(third.gva, Gva(at(3)));
}

#[test]
fn members_mean_what_they_mean_to_the_kernel() {
    let mut guest = Guest::with_processes(2);
    let task = at(2);
    guest.set32(task + 0x0c, 3);
    guest.set32(task + 0x18, 0x402);
    guest.set32(task + 0x2c, 0x20_8040);
    guest.set(task + 0x20, 0x5_0000);
    guest.set(task + 0x180, 1_234_567_890);
    guest.set(task + 0x188, CREDS);
    guest.set32(CREDS + 0x18, 1000);
    guest.set32(CREDS + 0x1c, 100);
    let tasks = guest.tasks();
    let task = &tasks.tasks[1];
    assert_eq!(task.state.map(|state| state.letter), Some('I'));
    assert_eq!((task.uid, task.gid), (Some(1000), Some(100)));
    assert_eq!((task.cpu, task.stack), (Some(3), Some(Gva(0x5_0000))));
    assert_eq!(task.start_ns, Some(1_234_567_890));
    assert!(task.is_kernel_thread);
    assert_eq!(task.mm, None);
    let other = &tasks.tasks[0];
    assert_eq!((other.uid, other.is_kernel_thread), (None, false));
}

#[test]
fn what_the_layout_lacks_is_not_made_up() {
    let mut guest = Guest::with_processes(2);
    guest.without = vec!["__state", "cred", "real_parent", "thread_info.cpu", "start_boottime"];
    let tasks = guest.tasks();
    let task = &tasks.tasks[0];
    assert_eq!((task.state, task.uid, task.ppid), (None, None, None));
    assert_eq!((task.cpu, task.start_ns), (None, None));
}

#[test]
fn threads_follow_their_process() {
    let mut guest = Guest::with_processes(3);
    guest.threads(at(2), 2, &[7, 8]);
    let tasks = guest.tasks();
    assert_eq!(tids(&tasks), [1, 2, 7, 8, 3, 0]);
    assert_eq!(tasks.tasks[3].pid, 2);
    assert_eq!(worst(&tasks, ""), None);
}

#[test]
fn older_kernels_link_threads_without_a_head() {
    let mut guest = Guest::with_processes(3);
    guest.threads(at(2), 2, &[7, 8]);
    guest.without = vec!["thread_node", "thread_head"];
    assert_eq!(tids(&guest.tasks()), [1, 2, 7, 8, 3, 0]);
}

#[test]
fn a_broken_link_loses_nothing_when_the_other_direction_is_whole() {
    let mut guest = Guest::with_processes(5);
    guest.set(at(2) + TASKS, 0xdead_beef_0000);
    let tasks = guest.tasks();
    assert_eq!(tids(&tasks), [1, 2, 3, 4, 5, 0]);
    assert_eq!(worst(&tasks, "the list of processes breaks off"), Some(Severity::Warning));
}

#[test]
fn a_list_broken_both_ways_yields_both_ends_and_is_called_incomplete() {
    let mut guest = Guest::with_processes(6);
    guest.set(at(2) + TASKS, 0);
    guest.set(at(5) + TASKS + 8, 0);
    let tasks = guest.tasks();
    assert_eq!(tids(&tasks), [1, 2, 5, 6, 0]);
    assert_eq!(worst(&tasks, "2 more were found from its end"), Some(Severity::Incomplete));
}

#[test]
fn a_loop_ends() {
    let mut guest = Guest::with_processes(5);
    guest.set(at(4) + TASKS, at(2) + TASKS);
    let tasks = guest.tasks();
    assert_eq!(tids(&tasks), [1, 2, 3, 4, 5, 0]);
    assert_eq!(worst(&tasks, "before"), Some(Severity::Warning));
}

#[test]
fn a_task_that_is_its_own_neighbour_ends_the_walk() {
    let mut guest = Guest::with_processes(3);
    guest.set(at(2) + TASKS, at(2) + TASKS);
    guest.set(at(2) + TASKS + 8, at(2) + TASKS);
    let tasks = guest.tasks();
    assert_eq!(tids(&tasks), [1, 2, 3, 0]);
    assert!(worst(&tasks, "breaks off").is_some());
}

#[test]
fn what_cannot_be_a_task_is_not_taken_for_one() {
    for (member, value, why) in [(0x120, u64::MAX, "too high"), (0x190, u64::MAX, "no end")] {
        let mut guest = Guest::with_processes(4);
        guest.set(at(3) + member, value);
        guest.set(at(3) + member + 8, value);
        let tasks = guest.tasks();
        assert_eq!(tids(&tasks), [1, 2, 4, 0]);
        assert_eq!(worst(&tasks, why), Some(Severity::Incomplete));
    }
}

#[test]
fn a_torn_list_of_threads_costs_only_threads() {
    let mut guest = Guest::with_processes(3);
    guest.threads(at(2), 2, &[7, 8, 9]);
    guest.task(at(40), (40, 40), "elsewhere");
    guest.set(at(7) + THREADS, at(40) + THREADS);
    guest.set(at(9) + THREADS + 8, 0);
    let tasks = guest.tasks();
    assert_eq!(tids(&tasks), [1, 2, 7, 9, 3, 0]);
    assert_eq!(worst(&tasks, "threads of process 2"), Some(Severity::Incomplete));
    assert_eq!(worst(&tasks, "another process"), Some(Severity::Incomplete));
}

#[test]
fn a_thread_ring_without_its_leader_ends() {
    let mut guest = Guest::with_processes(2);
    guest.threads(at(2), 2, &[7, 8]);
    // The ring goes past the leader, round and round through its head.
    let head = SIGNALS + 0x200 + 0x10;
    guest.ring(&[head, at(7) + THREADS, at(8) + THREADS]);
    let tasks = guest.tasks();
    assert_eq!(tids(&tasks), [1, 2, 7, 8, 0]);
    assert!(worst(&tasks, "threads of process 2").is_some());
}

#[test]
fn every_cpu_has_an_idle_task_and_a_current_one() {
    let mut guest = Guest::with_processes(3);
    let second = at(30);
    guest.task(second, (0, 0), "swapper/1");
    guest.set32(second + 0x0c, 1);
    guest.cpus(&[INIT, at(3)]);
    guest.symbols.insert("runqueues", RUNQUEUES);
    guest.set(PERCPU + RUNQUEUES + 0x20, INIT);
    guest.set(PERCPU + PERCPU_LEN + RUNQUEUES + 0x20, second);
    let tasks = guest.tasks();
    assert_eq!(tids(&tasks), [1, 2, 3, 0, 0]);
    assert_eq!(tasks.tasks[4].comm, "swapper/1");
    let running: Vec<_> = tasks.tasks.iter().map(|task| task.on_vcpu).collect();
    assert_eq!(running, [None, None, Some(1), Some(0), None]);
    assert_eq!(worst(&tasks, ""), None);
}

#[test]
fn without_symbols_an_idle_task_is_where_the_first_cpu_has_its_own() {
    let mut guest = Guest::with_processes(3);
    let second = at(30);
    guest.task(second, (0, 0), "swapper/1");
    guest.set32(second + 0x0c, 1);
    guest.cpus = 2;
    guest.descriptors = vec![PERCPU, PERCPU + PERCPU_LEN];
    // Not every place that holds init_task is one for the idle task.
    guest.set(PERCPU + 0x60, INIT);
    guest.set(PERCPU + PERCPU_LEN + 0x60, at(2));
    guest.set(PERCPU + 0x68, INIT);
    guest.set(PERCPU + PERCPU_LEN + 0x68, 0xdead_beef_0000);
    guest.set(PERCPU + 0x70, INIT);
    guest.set(PERCPU + PERCPU_LEN + 0x70, second);
    let tasks = guest.tasks();
    assert_eq!(tids(&tasks), [1, 2, 3, 0, 0]);
    assert_eq!(tasks.tasks[4].comm, "swapper/1");
}

#[test]
fn a_scheduler_that_disagrees_is_reported() {
    let mut guest = Guest::with_processes(3);
    guest.cpus(&[at(2)]);
    guest.set32(at(2) + 0x34, 0);
    let tasks = guest.tasks();
    assert_eq!(worst(&tasks, "vCPU 0 runs task 2 (task-2)"), Some(Severity::Warning));
    assert_eq!(tasks.tasks[1].on_vcpu, Some(0));
}

#[test]
fn without_symbols_the_kernel_stack_tells_who_runs() {
    const TSS: u64 = 0x1b_0000;
    const STACK: u64 = 0x1e_0000;
    let mut guest = Guest::with_processes(3);
    guest.cpus = 1;
    guest.set(at(2) + 0x20, STACK);
    guest.set32(STACK, 0x57ac_6e9d);
    guest.set(TSS + 12, STACK + 0x4000);
    guest.set(at(3) + 0x20, STACK + 0x8000);
    let set_tss = |kernel: &Kernel| {
        let mut checkpoint = kernel.checkpoint().clone();
        let Registers::X86(x86) = &mut checkpoint.vcpus_mut()[0].registers else {
            panic!("not x86")
        };
        x86.segments.tr.base = Some(TSS);
        kernel.at(checkpoint, kernel.vcpus().into()).unwrap().tasks().unwrap()
    };
    let tasks = guest.ask(set_tss);
    let running: Vec<_> = tasks.tasks.iter().map(|task| task.on_vcpu).collect();
    assert_eq!(running, [None, Some(0), None, None]);
}

/// A vCPU in a program is on no kernel stack.
#[test]
fn without_symbols_the_only_task_that_is_marked_as_running_on_a_cpu_is_what_it_runs() {
    let mut guest = Guest::with_processes(4);
    guest.cpus = 3;
    for (tid, cpu) in [(2, 1), (3, 2), (4, 2)] {
        guest.set32(at(tid) + 0x0c, cpu);
        guest.set32(at(tid) + 0x34, 1);
    }
    let tasks = guest.tasks();
    let running: Vec<_> = tasks.tasks.iter().map(|task| task.on_vcpu).collect();
    // Two are marked while the third one switches.
    assert_eq!(running, [None, Some(1), None, None, None]);
}

/// Of process 1 with these bytes as its arguments.
fn command_line(arguments: &[u8], len: u64) -> CommandLine {
    const ARGUMENTS: u64 = 0x1b_0000;
    let mut guest = Guest::with_processes(1);
    guest.set(at(1) + 0x110, MEMORIES);
    guest.set(MEMORIES + 0x138, ARGUMENTS);
    guest.set(MEMORIES + 0x140, ARGUMENTS + len);
    guest.put(ARGUMENTS, arguments);
    guest.ask(|kernel| {
        let task = &kernel.tasks().unwrap().tasks[0];
        kernel.command_line(task).unwrap().unwrap()
    })
}

#[test]
fn a_command_line_is_split_at_its_nuls() {
    assert_eq!(command_line(b"ls\0-l\0\0x y\0", 11).words, ["ls", "-l", "", "x y"]);
    assert_eq!(command_line(b"", 0), CommandLine::default());
    assert_eq!(command_line(b"a\0", 0), CommandLine::default());
}

#[test]
fn a_title_written_over_the_arguments_counts_up_to_its_end() {
    let line = command_line(b"nginx: worker process\0rest", 6);
    assert_eq!(line.words, ["nginx: worker process"]);
    assert!(!line.is_cut);
}

#[test]
fn a_command_line_of_absurd_length_is_cut_off_and_that_is_said() {
    let CommandLine { words, is_cut } = command_line(b"x\0", u64::MAX - 0x1b_0000);
    let bytes: usize = words.iter().map(String::len).sum();
    assert!(words.len() + bytes <= 2 << 20, "{} words", words.len());
    assert_eq!((words[0].as_str(), is_cut), ("x", true));
}

#[test]
fn a_command_line_of_100_kilobytes_is_whole() {
    let argument = vec![b'a'; 100_000];
    let line = command_line(&[b"x\0", argument.as_slice(), b"\0"].concat(), 100_003);
    assert_eq!(line.words.iter().map(String::len).collect::<Vec<_>>(), [1, 100_000]);
    assert!(!line.is_cut);
}

#[test]
fn memory_that_is_not_there_is_an_error_and_a_kernel_thread_has_none() {
    let mut guest = Guest::with_processes(2);
    guest.set(at(1) + 0x110, RAM + 0x1000);
    guest.ask(|kernel| {
        let tasks = kernel.tasks().unwrap().tasks;
        assert!(kernel.command_line(&tasks[0]).is_err());
        assert_eq!(kernel.command_line(&tasks[1]).unwrap(), None);
    });
}
