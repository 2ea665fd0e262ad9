//! Kernels before 2.6.22, which have no `kthreadd`, and of 2.4, whose tasks are in no list.
//! Offsets of 2.4 are those of Debian's 2.4.27.

use super::*;
use crate::linux::{Content, Process};

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

const FILES: u64 = 0x36_0000;
const VM_PGOFF: u64 = 0x34;
/// Where the table of functions of mappings of files is.
const OPERATIONS: u64 = TEXT + TEXT_LEN + 0x100;

/// Places of what is one for each process, or one for all.
fn place(index: u64, kind: u64) -> u64 {
    FILES + index * 0x1000 + kind * 0x200
}

/// Gives the processes of a kernel of 2.4 programs: `/bin/PROGRAM` with three pages in the page
/// cache, of which two are mapped.
fn with_files(mini: &mut Mini) {
    let (root, bin, mount, block) = (place(0, 0), place(0, 1), place(0, 2), place(0, 3));
    entry(mini, root, ("/", root, 0));
    entry(mini, bin, ("bin", root, 0));
    for (at, value) in [(8, mount), (0xc, root), (0x10, root), (0x14, block)] {
        mini.set(mount + at, DIRECT + value);
    }
    mini.set(block + 8, 0x0301);
    mini.set(block + 0x30, 0xef53);
    mini.set(OPERATIONS + 8, DIRECT + TEXT + 0x10);
    for (index, program) in [(1, "init"), (7, "shell"), (8, "spin")] {
        let (file, dentry, inode) = (place(index, 0), place(index, 1), place(index, 2));
        entry(mini, dentry, (program, bin, inode));
        for (at, value) in [(8, dentry), (0xc, mount), (0x10, OPERATIONS)] {
            mini.set(file + at, DIRECT + value);
        }
        file_content(mini, index, (dentry, inode));
        mappings(mini, index, file);
    }
}

fn entry(mini: &mut Mini, at: u64, (name, parent, inode): (&str, u64, u64)) {
    for (offset, value) in [(8, inode), (0xc, parent), (0x10, FILES), (0x14, FILES)] {
        mini.set(at + offset, DIRECT + value);
    }
    mini.set(at + 0x3c, DIRECT + at + 0x60);
    mini.set(at + 0x40, name.len() as u64);
    mini.set(at + 0x44, 0x1234_5678);
    mini.put(at + 0x60, name.as_bytes());
}

/// An inode with its `address_space`: two pages in its first list, one in its last.
fn file_content(mini: &mut Mini, index: u64, (dentry, inode): (u64, u64)) {
    let mapping = inode + 0xac;
    for (at, value) in [
        (0x10, dentry + 0x30),
        (0x14, dentry + 0x30),
        (0x98, place(0, 3)),
        (0xa8, mapping),
        (0xcc, inode),
    ] {
        mini.set(inode + at, DIRECT + value);
    }
    for list in [0x18, 0x20, 0xac, 0xb4, 0xbc] {
        mini.set(inode + list, DIRECT + inode + list);
        mini.set(inode + list + 4, DIRECT + inode + list);
    }
    mini.set(inode + 0x28, 10 + index);
    mini.set(inode + 0x2c, 1);
    mini.set(inode + 0x30, 0x81ed_0301);
    mini.set(inode + 0x44, 0x2345);
    for (list, first, count) in [(mapping, 0, 2), (mapping + 0x10, 2, 1)] {
        let mut before = list;
        for number in first..first + count {
            let page = page_of(frame_of(index, number));
            mini.set(before, DIRECT + page);
            mini.set(page + 4, DIRECT + before);
            mini.set(page + 8, DIRECT + mapping);
            mini.set(page + 0xc, number);
            before = page;
        }
        mini.set(before, DIRECT + list);
        mini.set(list + 4, DIRECT + before);
    }
}

fn frame_of(index: u64, number: u64) -> u64 {
    0x700 + 0x10 * index + 3 * number
}

fn page_of(frame: u64) -> u64 {
    PAGES + 0x30 * frame
}

/// Code and data of the program, a heap and a stack.
fn mappings(mini: &mut Mini, index: u64, file: u64) {
    let (mm, area) = (MMS + index * 0x100, |number: u64| AREAS + index * 0x1000 + number * 0x200);
    let strings = [
        0x0804_8000,
        0x0804_9f00,
        0x0804_a000,
        0x0804_a800,
        0x0805_0000,
        0x0805_1000,
        0xbfff_ff00,
        0xbfff_ff40,
        0xbfff_ff60,
        0xbfff_ff60,
        0xbfff_ff80,
    ];
    for (word, address) in (0..).zip(strings) {
        mini.set(mm + 0x50 + 4 * word, address);
    }
    let areas = [
        (0x0804_8000, 0x0804_a000, 0x75, 0, DIRECT + file),
        (0x0804_a000, 0x0804_b000, 0x73, 2, DIRECT + file),
        (0x0805_0000, 0x0805_1000, 0x77, 0, 0),
        (0xbfff_f000, 0xc000_0000, 0x177, 0, 0),
    ];
    mini.set(mm, DIRECT + area(0));
    for (number, (start, end, flags, page, file)) in (0..).zip(areas) {
        let next = if number == 3 { 0 } else { DIRECT + area(number + 1) };
        for (word, value) in (0..).zip([DIRECT + mm, start, end, next, 0x25, flags]) {
            mini.set(area(number) + 4 * word, value);
        }
        mini.set(area(number) + VM_PGOFF - 4, if file == 0 { 0 } else { DIRECT + OPERATIONS });
        mini.set(area(number) + VM_PGOFF, page);
        mini.set(area(number) + VM_PGOFF + 4, file);
    }
    let (root, table) = (ROOTS + index * 0x1000, SIGNALS + index * 0x1000);
    mini.set(root + 4 * (0x0804_8000 >> 22), table | 7);
    for number in 0..2 {
        mini.set(table + 4 * (0x48 + number), frame_of(index, number) << 12 | 5);
    }
}

#[test]
fn files_of_2_4_are_found_by_their_names_and_the_pages_in_their_lists() {
    let mut mini = of_2_4();
    with_files(&mut mini);
    mini.with(|kernel| {
        let learned = kernel.learned().unwrap();
        let known = [
            ("dentry", "d_inode", 8),
            ("dentry", "d_parent", 0xc),
            ("dentry", "d_hash.prev", 0x14),
            ("dentry", "d_name.name", 0x3c),
            ("dentry", "d_name.len", 0x40),
            ("file", "f_path.dentry", 8),
            ("file", "f_path.mnt", 0xc),
            ("vm_area_struct", "vm_pgoff", VM_PGOFF),
            ("inode", "i_ino", 0x28),
            ("inode", "i_size", 0x44),
            ("inode", "i_mapping", 0xa8),
            ("address_space", "host", 0x20),
            ("address_space", "locked_pages", 0x10),
            ("page", "mapping", 8),
            ("page", "index", 0xc),
        ];
        for (structure, path, at) in known {
            let found = offset(learned, structure, path);
            assert_eq!(found, Some(at), "{structure}.{path} {:?}", learned.problems());
        }
        let array = PageArray { base: DIRECT + PAGES, len_bytes: 0x30 };
        assert_eq!(learned.page_array(), Some(array));
        let tasks = kernel.tasks().unwrap().tasks;
        let spin = tasks.iter().find(|task| task.comm == "spin").unwrap();
        let process = Process::of(kernel, spin).unwrap();
        let shown = process.vmas().iter().map(|vma| (&*vma.name, vma.offset_bytes));
        let shown: Vec<_> = shown.collect();
        assert_eq!(shown, [("/bin/spin", 0), ("/bin/spin", 0x2000), ("", 0), ("", 0)]);
        let file = process.executable().unwrap();
        assert_eq!((file.device, file.inode_number), (Some((3, 1)), Some(18)));
        assert!(!file.is_deleted);
        let runs = process.file_runs(file).unwrap();
        let runs: Vec<_> = runs.iter().map(|run| (run.offset_bytes, run.content)).collect();
        let cached = |number| Content::PageCache(Gpa(frame_of(8, number) << 12));
        assert_eq!(runs, [(0, cached(0)), (0x1000, cached(1)), (0x2000, cached(2))]);
    });
}

#[test]
fn a_file_of_2_4_that_has_lost_its_name_is_deleted() {
    let mut mini = of_2_4();
    with_files(&mut mini);
    let hash = place(8, 1) + 0x10;
    mini.set(hash, DIRECT + hash);
    mini.set(hash + 4, DIRECT + hash);
    mini.with(|kernel| {
        let tasks = kernel.tasks().unwrap().tasks;
        let spin = tasks.iter().find(|task| task.comm == "spin").unwrap();
        let process = Process::of(kernel, spin).unwrap();
        assert_eq!(process.executable().unwrap().path, "/bin/spin (deleted)");
    });
}

#[test]
fn starts_of_2_4_are_between_the_times_of_processors() {
    let mut mini = of_2_4();
    let starts = [0, 59, 65, 65, 66, 66, 66, 104, 111];
    for (task, start) in mini.tasks.clone().into_iter().zip(starts) {
        mini.set(task + 0x190, start);
    }
    assert_eq!(offset(&mini.learned().unwrap(), "task_struct", "start_time"), None);
    let mut mini = of_2_4();
    let tasks = mini.tasks.clone();
    for (task, start) in tasks.iter().zip(starts) {
        mini.set(task + 0x190, start);
    }
    for (task, user, system) in [(tasks[1], 1, 46), (tasks[8], 198, 3)] {
        // Of two processors.
        let words = [user, system, 0, 0, 0, user - 1, 1, 0, system];
        for (word, value) in (0..).zip(words).filter(|(word, _)| *word != 4) {
            mini.set(task + 0x180 + 4 * word, value);
        }
    }
    let learned = mini.learned().unwrap();
    let start = offset(&learned, "task_struct", "start_time");
    assert_eq!(start, Some(0x190), "{:?}", learned.problems());
}

/// A kernel for one processor hands what a parent has used of it down to its children.
#[test]
fn starts_are_found_between_inherited_times_too() {
    let mut mini = of_2_4();
    let starts = [0, 59, 65, 65, 66, 66, 66, 104, 111];
    let times = |index: usize| match index {
        0 => [0, 60, 0, 60],
        1 => [8, 48, 8, 107],
        8 => [338, 3, 341, 107],
        _ => [0, 0, 1, 63],
    };
    for (index, task) in mini.tasks.clone().into_iter().enumerate() {
        let [user, system, all_user, all_system] = times(index);
        for (word, value) in (0..).zip([user, system, 0, 0, starts[index], all_user, all_system]) {
            mini.set(task + 0x180 + 4 * word, value);
        }
    }
    let learned = mini.learned().unwrap();
    let start = offset(&learned, "task_struct", "start_time");
    assert_eq!(start, Some(0x190), "{:?}", learned.problems());
}

/// The clock of some kernels shows full ticks only, in which many tasks start at once.
#[test]
fn starts_that_are_equal_for_many_are_times_all_the_same() {
    let mut mini = before_2_6_22();
    let ticks: [u64; 9] = [0, 19, 19, 19, 19, 20, 20, 32, 327];
    let start = mini.at("start_time");
    for (task, ticks) in mini.tasks.clone().into_iter().zip(ticks) {
        mini.put(task + start, &[0; 16]);
        mini.set(task + start, ticks / 100);
        mini.set(task + start + 4, ticks % 100 * 10_000_000);
    }
    let learned = mini.learned().unwrap();
    let at = offset(&learned, "task_struct", "start_time.tv_sec");
    assert_eq!(at, Some(start), "{:?}", learned.problems());
}
