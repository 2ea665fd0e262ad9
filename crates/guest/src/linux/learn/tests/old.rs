//! Kernels before 2.6.22, which have no `kthreadd`, and of 2.4, whose tasks are in no list.
//! Offsets of 2.4 are those of Debian's 2.4.27.

use super::*;

/// Names of the tasks of a kernel of 2.6.18, in their order.
const NAMES: [&str; 9] = [
    "swapper",
    "init",
    "migration/0",
    "ksoftirqd/0",
    "events/0",
    "khelper",
    "kthread",
    "kswapd0",
    "shell",
];

/// A kernel without `kthreadd`, `PF_KTHREAD` and marks at the ends of stacks.
fn before_2_6_22() -> Mini {
    let mut mini = Mini::new(0);
    for (index, name) in (0..).zip(NAMES) {
        let task = mini.tasks[index];
        let parent = if index < 2 { mini.tasks[0] } else { mini.tasks[1] };
        let comm = task + mini.at("comm");
        mini.put(comm, &[0; 16]);
        mini.put(comm, name.as_bytes());
        mini.set(task + FLAGS, 0x40);
        for member in 0..2 {
            let at = task + mini.at("real_parent") + 4 * member;
            mini.set(at, DIRECT + parent);
        }
        mini.set(STACKS + index as u64 * STACK_LEN, DIRECT + task);
    }
    mini
}

#[test]
fn no_kthreadd_is_needed() {
    let mini = before_2_6_22();
    let known = ["tasks", "mm", "pid", "real_parent", "group_leader", "comm", "start_time"];
    let expected = known.map(|name| (name, mini.at(name)));
    let sp = mini.at("sp");
    let learned = mini.learned().unwrap();
    let task = |path| offset(&learned, "task_struct", path);
    assert_eq!(learned.init_task().value, Gva(DIRECT + FIRST));
    for (name, at) in expected {
        assert_eq!(task(name), Some(at), "{name} {:?}", learned.problems());
    }
    assert_eq!(task("tgid"), task("pid").map(|pid| pid + 4));
    assert_eq!(task("parent"), task("real_parent").map(|parent| parent + 4));
    assert_eq!((task("state"), task("stack")), (Some(STATE), Some(STACK)));
    assert_eq!((task("flags"), task("thread.sp")), (None, Some(sp)));
    assert_eq!(offset(&learned, "thread_info", "task"), Some(0));
    assert_eq!(offset(&learned, "mm_struct", "pgd"), Some(0x20));
}

#[test]
fn the_number_of_a_process_may_lie_after_others() {
    let mut mini = before_2_6_22();
    let pid = mini.at("pid");
    for (index, task) in mini.tasks.clone().into_iter().enumerate() {
        // `pgrp`, `tty_old_pgrp`, `session`, `tgid` of the first kernels of 2.6.
        for (word, value) in (1..).zip([index as u64 / 2, 0, index as u64 / 2]) {
            mini.set(task + pid + 4 * word, value);
        }
        for member in 0..2 {
            let at = task + mini.at("real_parent") + 4 * member;
            let parent = if index < 2 { FIRST } else { TASKS + 0x1000 };
            mini.set(at, 0);
            mini.set(at + 8, DIRECT + parent);
        }
        mini.set(task + pid + 16, index as u64);
    }
    let (real_parent, learned) = (mini.at("real_parent") + 8, mini.learned().unwrap());
    let task = |path| offset(&learned, "task_struct", path);
    assert_eq!((task("pid"), task("tgid")), (Some(pid), Some(pid + 16)));
    assert_eq!(task("real_parent"), Some(real_parent));
}

#[test]
fn a_kernel_may_know_one_parent_only() {
    let mut mini = before_2_6_22();
    let real_parent = mini.at("real_parent");
    for task in mini.tasks.clone() {
        // `children` and `sibling` of which none has any, then the leader.
        for list in [4, 12] {
            let at = task + real_parent + list;
            mini.set(at, DIRECT + at);
            mini.set(at + 4, DIRECT + at);
        }
        mini.set(task + real_parent + 20, DIRECT + task);
        mini.set(task + real_parent + 24, 0);
    }
    let learned = mini.learned().unwrap();
    let task = |path| offset(&learned, "task_struct", path);
    assert_eq!((task("real_parent"), task("parent")), (Some(real_parent), None));
    assert_eq!(task("children"), Some(real_parent + 4));
    assert_eq!(task("sibling"), Some(real_parent + 12));
    assert_eq!(task("group_leader"), Some(real_parent + 20));
}

#[test]
fn a_parent_that_is_no_task_makes_no_family() {
    let mut mini = before_2_6_22();
    for task in mini.tasks.clone().into_iter().skip(2) {
        for member in 0..2 {
            let at = task + mini.at("real_parent") + 4 * member;
            mini.set(at, DIRECT + TEXT);
        }
    }
    assert!(mini.learned().is_none());
}

const NAMES_2_4: [&str; 9] = [
    "swapper",
    "init",
    "keventd",
    "ksoftirqd_CPU0",
    "kswapd",
    "bdflush",
    "kupdated",
    "shell",
    "spin",
];
const COMM_2_4: u64 = 0x23e;
const SP_2_4: u64 = 0x260;

/// A kernel of 2.4: each task is at the bottom of its stack.
fn of_2_4() -> Mini {
    let mut mini = Mini { ram: vec![0; RAM as usize], shift: 0, tasks: Vec::new() };
    mini.directory(ROOT);
    let task = |index: u64| if index == 0 { FIRST } else { STACKS + index * STACK_LEN };
    for (index, name) in (0..).zip(NAMES_2_4) {
        let is_user = index == 1 || index > 6;
        let (at, parent) = (task(index), if index < 2 { FIRST } else { task(1) });
        let before = if index == 0 { task(8) } else { task(index - 1) };
        mini.tasks.push(at);
        mini.set(at, u64::from(index > 0));
        mini.set(at + 0x48, DIRECT + task((index + 1) % 9));
        mini.set(at + 0x4c, DIRECT + before);
        mini.set(at + 0x7c, index);
        // Threads of the kernel share the number of the idle task.
        mini.set(at + 0x8c, if is_user { index } else { 0 });
        mini.set(at + 0x94, DIRECT + parent);
        mini.set(at + 0x98, DIRECT + parent);
        mini.put(at + COMM_2_4, name.as_bytes());
        mini.set(at + SP_2_4 - 8, DIRECT + at + STACK_LEN);
        mini.set(at + SP_2_4, DIRECT + at + 0x1e00 + 4 * index);
        if is_user {
            let (mm, root) = (MMS + index * 0x100, ROOTS + index * 0x1000);
            mini.set(at + 0x2c, DIRECT + mm);
            mini.set(at + 0x50, DIRECT + mm);
            mini.directory(root);
            mini.set(mm + 0xc, DIRECT + root);
        }
    }
    mini
}

#[test]
fn tasks_of_2_4_lead_to_each_other() {
    let mini = of_2_4();
    let tasks: Vec<u64> = mini.tasks.clone();
    mini.with(|kernel| {
        let learned = learn(kernel).unwrap();
        let task = |path| offset(&learned, "task_struct", path);
        assert_eq!(learned.init_task().value, Gva(DIRECT + FIRST));
        let known = [
            ("state", 0),
            ("mm", 0x2c),
            ("next_task", 0x48),
            ("prev_task", 0x4c),
            ("active_mm", 0x50),
            ("pid", 0x7c),
            ("tgid", 0x8c),
            ("real_parent", 0x94),
            ("parent", 0x98),
            ("comm", COMM_2_4),
            ("thread.sp", SP_2_4),
        ];
        for (name, at) in known {
            assert_eq!(task(name), Some(at), "{name} {:?}", learned.problems());
        }
        assert_eq!((task("tasks"), task("group_leader"), task("stack")), (None, None, None));
        assert_eq!(offset(&learned, "mm_struct", "pgd"), Some(0xc));
        assert_eq!(learned.thread_size(), Some(STACK_LEN));
        let found = kernel.tasks().unwrap();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        let listed: Vec<_> =
            found.tasks.iter().map(|task| (task.tid, task.pid, task.ppid, &*task.comm)).collect();
        let expected: Vec<_> = (0..)
            .zip(NAMES_2_4)
            .map(|(tid, name)| (tid, tid, Some(u32::from(tid > 1)), name))
            .collect();
        let (first, others) = expected.split_first().unwrap();
        assert_eq!(listed, [others, &[*first]].concat());
        let is_kernel = found.tasks.iter().filter(|task| task.is_kernel_thread).count();
        assert_eq!(is_kernel, 6);
        let stack = |index: usize| Some(Gva(DIRECT + tasks[index]));
        assert_eq!(found.tasks.first().unwrap().stack, stack(1));
    });
}

#[test]
fn a_ring_of_2_4_that_is_torn_makes_no_task_twice() {
    let mut mini = of_2_4();
    let (from, to) = (mini.tasks[7], mini.tasks[3]);
    mini.set(from + 0x48, DIRECT + to);
    assert!(mini.learned().is_none());
}

#[test]
fn a_line_of_offsets_is_checked_against_the_ring_that_it_describes() {
    use crate::linux::LinuxOffsets;
    use crate::linux::layout::lists_tasks;

    let check = |mini: Mini, line: &str| {
        let offsets: LinuxOffsets = line.parse().unwrap();
        mini.with(|kernel| lists_tasks(kernel, &offsets))
    };
    // As the script of the original prints it for 2.4.27.
    let right = "0x2041b,0x2c,0x48,0x0,0x23e,0x7c,0x258,0xc,0x0,0xc,0x2000,0x0,0x0,0x10";
    assert_eq!(check(of_2_4(), right), Ok(true));
    for (line, why) in [
        (right.replace("0x48", "0x4c"), "task_struct.next_task at 0x4c"),
        (right.replace("0x48", "0x94"), "task_struct.next_task at 0x94"),
        (right.replace("0x23e", "0x236"), "task_struct.comm at 0x236"),
        (right.replace("0x48,0x0", "0x0,0x68"), "task_struct.tasks at 0x68"),
    ] {
        let said = check(of_2_4(), &line).unwrap_err();
        assert!(said.starts_with(why), "{said}");
    }
    // The example of Ubuntu 7.04 is of another build than this one.
    let ubuntu = "0x20614,0x80,0,0x68,0x194,0xa4,0x1b0,0x24,0x18,0x28,0x2000,0xc4,0xec,0x10";
    assert!(check(before_2_6_22(), ubuntu).is_err());
    assert!(check(of_2_4(), ubuntu).is_err());
}
