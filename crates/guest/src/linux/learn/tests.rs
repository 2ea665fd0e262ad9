//! A 32-bit kernel in miniature: its first task, `kthreadd` with some threads, and two
//! processes, with members where no real kernel has them.

#![expect(clippy::cast_possible_truncation, reason = "small test numbers")]

mod old;

use std::sync::Arc;

use vmss2core_machine::Checkpoint;
use vmss2core_machine::paging::Root;
use vmss2core_machine::x86::modes;
use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory};

use super::memory::Memory;
use super::radix::{self, MappedPage, PageArray};
use super::{Learned, learn, ring};
use crate::linux::process::xarray::{Marks, TreeShape};
use crate::linux::{BetterSources, Kernel, Types};
use crate::{Facts, KernelText, LinuxFacts};

const DIRECT: u64 = 0xc000_0000;
const RAM: u64 = 8 << 20;
const ROOT: u64 = 0x1000;
const TEXT: u64 = 0x10_0000;
const TEXT_LEN: u64 = 0x1_0000;
const FIRST: u64 = 0x12_0000;
const TASKS: u64 = 0x20_0000;
const STACKS: u64 = 0x40_0000;
const STACK_LEN: u64 = 0x2000;
const MMS: u64 = 0x30_0000;
const ROOTS: u64 = 0x31_0000;
const AREAS: u64 = 0x32_0000;
const SIGNALS: u64 = 0x33_0000;
const CREDS: u64 = 0x34_0000;
const NODES: u64 = 0x35_0000;
/// Where programs see the memory from `STACKS` on.
const USER: u64 = 0;
const BLOCK: u64 = 0x3f_0000;

/// Members of the task, before those that are moved about.
const STATE: u64 = 0x10;
const STACK: u64 = 0x14;
const FLAGS: u64 = 0x1c;

/// A kernel whose members from `tasks` on lie `shift` bytes further.
struct Mini {
    ram: Vec<u8>,
    shift: u64,
    tasks: Vec<u64>,
}

impl Mini {
    fn new(shift: u64) -> Self {
        let mut mini = Self { ram: vec![0; RAM as usize], shift, tasks: Vec::new() };
        mini.directory(ROOT);
        mini.set(NODES, 0);
        let names = [
            "swapper/0",
            "init",
            "kthreadd",
            "ksoftirqd/0",
            "migration/0",
            "ksoftirqd/1",
            "migration/1",
            "kswapd0",
            "shell",
        ];
        for (index, name) in (0..).zip(names) {
            mini.task(index, name);
        }
        mini.link();
        mini
    }

    fn set(&mut self, at: u64, value: u64) {
        self.put(at, &(value as u32).to_le_bytes());
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.ram[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    /// A page directory with the kernel's half in large pages.
    fn directory(&mut self, at: u64) {
        for index in 0..2 {
            self.set(at + 4 * (768 + index), index << 22 | 0x83);
        }
    }

    fn at(&self, member: &str) -> u64 {
        let known = [
            ("tasks", 0x60),
            ("mm", 0x80),
            ("exit_signal", 0x9c),
            ("pid", 0xb0),
            ("real_parent", 0xc0),
            ("group_leader", 0xd8),
            ("thread_node", 0xf0),
            ("start_time", 0x100),
            ("cred", 0x118),
            ("comm", 0x124),
            ("signal", 0x140),
            ("tls_array", 0x180),
            ("sp", 0x19c),
        ];
        known.iter().find(|(name, _)| *name == member).unwrap().1 + self.shift
    }

    fn task(&mut self, index: u64, name: &str) {
        let task = if index == 0 { FIRST } else { TASKS + index * 0x1000 };
        self.tasks.push(task);
        let (first, kthreadd) = (DIRECT + FIRST, DIRECT + TASKS + 2 * 0x1000);
        let is_user = name == "init" || name == "shell";
        let parent = match index {
            0..=2 => first,
            8 => DIRECT + TASKS + 0x1000,
            _ => kthreadd,
        };
        let stack = STACKS + index * STACK_LEN;
        self.set(stack, 0x57ac_6e9d);
        self.set(task + STACK, DIRECT + stack);
        self.set(task + STATE, u64::from(index > 0));
        self.set(task + FLAGS, if is_user { 0x40_0000 } else { 0x20_0000 });
        self.set(task + self.at("exit_signal"), if index == 0 { 0 } else { 17 });
        self.set(task + self.at("pid"), index);
        self.set(task + self.at("pid") + 4, index);
        self.set(task + self.at("real_parent"), parent);
        self.set(task + self.at("real_parent") + 4, parent);
        self.set(task + self.at("group_leader"), DIRECT + task);
        let seconds = index * 1_000_000_000;
        self.put(task + self.at("start_time"), &seconds.to_le_bytes());
        self.put(task + self.at("start_time") + 8, &(seconds + seconds / 8).to_le_bytes());
        self.put(task + self.at("comm"), name.as_bytes());
        self.set(task + self.at("sp"), DIRECT + stack + 0x1e00 + 4 * index);
        self.credentials(task, index, is_user);
        self.thread(task, index);
        if is_user {
            self.process(task, index);
        }
    }

    fn credentials(&mut self, task: u64, index: u64, is_user: bool) {
        let cred = CREDS + index * 0x100;
        self.set(cred, 3);
        for number in 0..8 {
            self.set(cred + 4 + 4 * number, if is_user { 1000 } else { 0 });
        }
        for word in 0..6 {
            self.set(cred + 0x30 + 4 * word, if word % 2 == 0 { 0xffff_ffff } else { 0xff });
        }
        // Before them is an empty list, which has two equal pointers as well.
        let list = task + self.at("cred") - 8;
        for member in 0..2 {
            self.set(task + self.at("cred") + 4 * member, DIRECT + cred);
            self.set(list + 4 * member, DIRECT + list);
        }
    }

    /// Puts the numbers of users into the tasks, as until 2.6.28, and starts as `timespec`s.
    fn older(&mut self, has_two: bool) {
        for (index, task) in (0..).zip(self.tasks.clone()) {
            let (start, uid) = (task + self.at("start_time"), task + 0x1c0 + self.shift);
            self.put(start, &[0; 16]);
            let time = [index / 3, index * 100_000_007];
            let words = if has_two { [time, time].concat() } else { time.to_vec() };
            for (word, value) in (0..).zip(words) {
                self.set(start + 4 * word, value);
            }
            let is_user = index == 1 || index == 8;
            let numbers = [if is_user { 1000 } else { 0 }; 8];
            let all = if is_user { 0 } else { 0xffff_ffff };
            let capabilities = [DIRECT + CREDS, all & !0x100, 0, all];
            for (word, value) in (0..).zip(numbers.into_iter().chain(capabilities)) {
                self.set(uid + 4 * word, value);
            }
            for member in 0..2 {
                self.set(task + self.at("cred") + 4 * member, 0);
            }
        }
    }

    /// The only thread of its process.
    fn thread(&mut self, task: u64, index: u64) {
        let signal = SIGNALS + index * 0x100;
        self.set(task + self.at("signal"), DIRECT + signal);
        let (node, head) = (task + self.at("thread_node"), signal + 0xc);
        for member in 0..2 {
            self.set(node + 4 * member, DIRECT + head);
            self.set(head + 4 * member, DIRECT + node);
        }
        self.set(signal + 8, 1);
    }

    /// Code, heap, stack; a thread's block.
    fn process(&mut self, task: u64, index: u64) {
        let (mm, root) = (MMS + index * 0x1000, ROOTS + index * 0x1000);
        self.set(task + self.at("mm"), DIRECT + mm);
        self.set(task + self.at("mm") + 4, DIRECT + mm);
        self.directory(root);
        self.set(root + USER, STACKS | 0x87);
        self.set(mm + 0x20, DIRECT + root);
        let strings = [
            0x10_0000, 0x10_0800, 0x10_1000, 0x10_1100, 0x20_0000, 0x20_1000, 0x30_1000, 0x30_1100,
            0x30_1200, 0x30_1200, 0x30_1300,
        ];
        for (word, address) in (0..).zip(strings) {
            self.set(mm + 0x90 + 4 * word, address);
        }
        for (word, value) in (0..).zip([6, 4096, 3, 0x10_0034]) {
            self.set(mm + 0x90 + 44 + 4 * word, value);
        }
        let areas: [(u64, u64); 3] =
            [(0x10_0000, 0x75), (0x20_0000, 0x10_0073), (0x30_1000, 0x10_0173)];
        let area = |number: u64| AREAS + index * 0x1000 + number * 0x200;
        self.set(mm, DIRECT + area(0));
        for (number, (start, flags)) in (0..).zip(areas) {
            let next = if number == 2 { 0 } else { DIRECT + area(number + 1) };
            let words = [start, start + 0x1000, next, DIRECT + mm, flags];
            for (word, value) in (0..).zip(words) {
                self.set(area(number) + 4 * word, value);
            }
        }
        self.set(STACKS + BLOCK, BLOCK);
        let descriptor = (BLOCK & 0xff_ffff) << 16 | 0x00cf_f200_0000_ffff;
        self.put(task + self.at("tls_array"), &descriptor.to_le_bytes());
    }

    /// Puts the areas of the processes into trees instead of lists: an inner node, a
    /// leaf with the areas and the holes between them, and an empty one.
    fn trees(&mut self) {
        for process in [1, 8] {
            let (mm, top) = (MMS + process * 0x1000, NODES + process * 0x1000);
            let (leaf, empty) = (top + 0x100, top + 0x200);
            self.set(mm, 0);
            self.set(mm + 0x44, node(top, 3) | 2);
            self.set(top, DIRECT + mm + 1);
            self.set(top + 4, 0x7fff_ffff);
            self.set(top + 0x54, node(leaf, 1) | 4);
            self.set(top + 0x58, node(empty, 1) | 4);
            self.set(empty + 4, 0xffff_ffff);
            let starts = [0x10_0000, 0x20_0000, 0x30_1000];
            for (number, start) in (0..).zip(starts) {
                self.set(leaf + 4 + 8 * number, start - 1);
                self.set(leaf + 8 + 8 * number, start + 0xfff);
                self.set(
                    leaf + 0x84 + 8 * number,
                    DIRECT + AREAS + process * 0x1000 + number * 0x200,
                );
            }
        }
    }

    /// Puts all tasks into a ring.
    fn link(&mut self) {
        let nodes: Vec<u64> = self.tasks.iter().map(|task| task + self.at("tasks")).collect();
        for (index, node) in nodes.iter().enumerate() {
            let next = nodes[(index + 1) % nodes.len()];
            self.set(*node, DIRECT + next);
            self.set(next + 4, DIRECT + node);
        }
    }

    fn with<T>(self, ask: impl FnOnce(&Kernel) -> T) -> T {
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0), RAM, Arc::new(self.ram), 0).unwrap();
        let checkpoint = Checkpoint { memory, ..Checkpoint::default() };
        let text = KernelText { start: Gva(DIRECT + TEXT), gpa: Gpa(TEXT), len: TEXT_LEN };
        let mode = modes::TWO_LEVEL_PSE;
        let linux = LinuxFacts {
            text: Some(Found::new(text, "test")),
            direct_map: Some(Found::new(Gva(DIRECT), "test")),
            kernel_root: Some(Found::new((mode, Root(Gpa(ROOT))), "test")),
            ..LinuxFacts::default()
        };
        let facts = Facts::of(linux, "made");
        ask(&Kernel::open(&checkpoint, &facts, BetterSources::default()).unwrap())
    }

    fn learned(self) -> Option<Learned> {
        self.with(learn)
    }
}

/// A pointer to a node of a maple tree.
fn node(at: u64, kind: u64) -> u64 {
    DIRECT + at + (kind << 3)
}

fn offset(learned: &Learned, structure: &str, path: &str) -> Option<u64> {
    learned.member(structure, path).map(|member| member.offset_bytes)
}

#[test]
fn members_are_found_wherever_they_are() {
    for shift in [0, 4, 0x3d4] {
        let mini = Mini::new(shift);
        let tasks = ["tasks", "mm", "exit_signal", "pid", "real_parent", "group_leader"];
        let more = ["thread_node", "start_time", "comm", "signal"];
        let expected: Vec<_> =
            tasks.iter().chain(&more).map(|name| (*name, mini.at(name))).collect();
        let (cred, sp, tls) = (mini.at("cred"), mini.at("sp"), mini.at("tls_array"));
        let learned = mini.learned().unwrap();
        let task = |path| offset(&learned, "task_struct", path);
        assert_eq!(learned.init_task().value, Gva(DIRECT + FIRST));
        for (name, at) in expected {
            assert_eq!(task(name), Some(at), "{name} {shift:#x} {:?}", learned.problems());
        }
        assert_eq!(
            (task("state"), task("stack"), task("flags")),
            (Some(STATE), Some(STACK), Some(FLAGS))
        );
        assert_eq!((task("real_cred"), task("cred")), (Some(cred), Some(cred + 4)));
        assert_eq!((task("thread.sp"), task("thread.tls_array")), (Some(sp), Some(tls)));
        assert_eq!(learned.thread_size(), Some(STACK_LEN));
        let other = |structure, path| offset(&learned, structure, path);
        assert_eq!(other("cred", "euid"), Some(0x14));
        assert_eq!(other("signal_struct", "nr_threads"), Some(8));
        assert_eq!(other("mm_struct", "pgd"), Some(0x20));
        assert_eq!(other("mm_struct", "arg_start"), Some(0x90 + 28));
        assert_eq!(other("mm_struct", "saved_auxv"), Some(0x90 + 44));
        assert_eq!(other("mm_struct", "mmap"), Some(0));
        assert_eq!(other("vm_area_struct", "vm_next"), Some(8));
        assert_eq!(other("vm_area_struct", "vm_mm"), Some(0xc));
        assert_eq!(other("vm_area_struct", "vm_flags"), Some(0x10));
    }
}

#[test]
fn users_and_starts_of_old_kernels_are_in_the_tasks() {
    for (shift, has_two) in [(0, true), (0x3d4, true), (0, false)] {
        let mut mini = Mini::new(shift);
        mini.older(has_two);
        let start = mini.at("start_time");
        let learned = mini.learned().unwrap();
        let task = |path| offset(&learned, "task_struct", path);
        let problems = learned.problems();
        assert_eq!(task("start_time.tv_sec"), Some(start), "{shift:#x} {problems:?}");
        assert_eq!(task("start_time.tv_nsec"), Some(start + 4));
        assert_eq!(task("real_start_time.tv_sec"), has_two.then_some(start + 8));
        assert_eq!(task("start_time"), None);
        assert_eq!((task("uid"), task("euid")), (Some(0x1c0 + shift), Some(0x1c4 + shift)));
        assert_eq!(task("egid"), Some(0x1d4 + shift));
        assert_eq!(task("cred"), None);
    }
}

#[test]
fn what_no_data_shows_is_left_out_and_said() {
    let learned = Mini::new(0).learned().unwrap();
    assert_eq!(offset(&learned, "vm_area_struct", "vm_file"), None);
    assert_eq!(offset(&learned, "task_struct", "on_cpu"), None);
    let problems: Vec<_> = learned.problems().iter().map(|one| one.message.as_str()).collect();
    for what in ["vm_area_struct.vm_file", "task_struct.on_cpu"] {
        assert!(problems.iter().any(|problem| problem.starts_with(what)), "{problems:?}");
    }
}

#[test]
fn names_that_are_no_tasks_do_not_mislead() {
    let mut mini = Mini::new(0);
    for place in 0..200 {
        mini.put(TEXT + TEXT_LEN + place * 0x20, b"swapper/0\0\0\0\0\0\0\0");
        // A list of itself, and one that leads nowhere, at some distance.
        mini.set(TEXT + TEXT_LEN + place * 0x20 + 0x14, DIRECT + TEXT + TEXT_LEN);
    }
    assert_eq!(mini.learned().unwrap().init_task().value, Gva(DIRECT + FIRST));
}

#[test]
fn a_ring_that_leads_back_to_its_middle_is_none() {
    let mut mini = Mini::new(0);
    let (last, middle) = (mini.tasks[8] + mini.at("tasks"), mini.tasks[4] + mini.at("tasks"));
    mini.set(last, DIRECT + middle);
    assert!(mini.learned().is_none());
}

#[test]
fn a_first_task_that_leads_to_itself_is_none() {
    let mut mini = Mini::new(0);
    let node = FIRST + mini.at("tasks");
    mini.set(node, DIRECT + node);
    mini.set(node + 4, DIRECT + node);
    assert!(mini.learned().is_none());
}

#[test]
fn of_a_long_ring_only_both_ends_are_looked_at() {
    let mut mini = Mini::new(0);
    for index in 9..700 {
        let task = TASKS + 0x1_0000 + index * 0x180;
        mini.put(task + mini.at("comm"), b"one of many");
        mini.tasks.push(task);
    }
    mini.link();
    let (oldest, nodes) = mini.with(|kernel| {
        let ring = ring::find(kernel, &Memory::new(kernel)).unwrap();
        (ring.oldest, ring.nodes)
    });
    assert_eq!((oldest, nodes.len()), (160, 160 + 95));
    assert_eq!(nodes[0], DIRECT + FIRST + 0x60);
    assert_eq!(nodes[160], DIRECT + TASKS + 0x1_0000 + 699 * 0x180 + 0x60);
}

#[test]
fn a_ring_of_threads_that_does_not_close_spoils_nothing_else() {
    let mut mini = Mini::new(0);
    let node = mini.at("thread_node");
    // A thread of `shell` that follows itself for ever.
    let stray = SIGNALS + 0x8000;
    mini.set(mini.tasks[8] + node, DIRECT + stray);
    mini.set(stray, DIRECT + stray);
    let learned = mini.learned().unwrap();
    assert_eq!(offset(&learned, "task_struct", "thread_node"), Some(node));
    assert_eq!(offset(&learned, "mm_struct", "pgd"), Some(0x20));
}

#[test]
fn areas_in_a_circle_are_no_list() {
    let mut mini = Mini::new(0);
    let (first, last) = (AREAS + 8 * 0x1000, AREAS + 8 * 0x1000 + 0x400);
    mini.set(last + 8, DIRECT + first);
    let learned = mini.learned().unwrap();
    assert_eq!(offset(&learned, "mm_struct", "mmap"), None);
    assert_eq!(offset(&learned, "vm_area_struct", "vm_start"), None);
    assert_eq!(offset(&learned, "mm_struct", "arg_start"), Some(0x90 + 28));
}

#[test]
fn areas_in_a_maple_tree_are_found() {
    let mut mini = Mini::new(0);
    mini.trees();
    let learned = mini.learned().unwrap();
    assert_eq!(offset(&learned, "mm_struct", "mm_mt.ma_root"), Some(0x44));
    assert_eq!(offset(&learned, "mm_struct", "mmap"), None);
    assert_eq!(offset(&learned, "maple_arange_64", "slot"), Some(0x54));
    assert_eq!(offset(&learned, "vm_area_struct", "vm_flags"), Some(0x10));
}

/// The root lies `root` bytes into each `mm_struct`, right after the tree's flags.
fn with_trees_at(root: u64) -> Learned {
    let mut mini = Mini::new(0);
    mini.trees();
    for process in [1, 8] {
        let (mm, top) = (MMS + process * 0x1000, NODES + process * 0x1000);
        mini.set(mm + 0x44, 0);
        mini.set(mm + root - 4, 0x30f);
        mini.set(mm + root, node(top, 3) | 2);
    }
    mini.learned().unwrap()
}

#[test]
fn a_tree_begins_with_its_lock_if_that_has_four_bytes() {
    let learned = with_trees_at(0x48);
    assert_eq!(offset(&learned, "mm_struct", "mm_mt.ma_root"), Some(0x48));
    assert_eq!(offset(&learned, "mm_struct", "mm_mt"), Some(0x40));
    assert_eq!(offset(&learned, "maple_tree", "ma_root"), Some(8));
}

/// As locks of real-time kernels are.
#[test]
fn a_tree_with_a_longer_lock_is_read_but_its_beginning_not_told() {
    let learned = with_trees_at(0x54);
    assert_eq!(offset(&learned, "mm_struct", "mm_mt.ma_root"), Some(0x54));
    assert_eq!(offset(&learned, "mm_struct", "mm_mt"), None);
    assert_eq!(offset(&learned, "maple_tree", "ma_root"), None);
}

#[test]
fn a_maple_node_that_holds_itself_is_no_tree() {
    let mut mini = Mini::new(0);
    mini.trees();
    for process in [1, 8] {
        mini.set(NODES + process * 0x1000 + 0x54, node(NODES + process * 0x1000, 3) | 4);
    }
    let learned = mini.learned().unwrap();
    assert_eq!(offset(&learned, "mm_struct", "mm_mt.ma_root"), None);
    assert_eq!(offset(&learned, "mm_struct", "arg_start"), Some(0x90 + 28));
}

#[test]
fn memory_that_is_not_there_or_too_much_is_not_read() {
    Mini::new(0).with(|kernel| {
        let memory = Memory::new(kernel);
        assert_eq!(memory.word(DIRECT + RAM), None);
        assert_eq!(memory.bytes(DIRECT + RAM - 6, 100).len(), 6);
        assert!(!memory.is_exhausted());
        for page in 0..1 << 15 {
            memory.word(DIRECT.wrapping_add(page << 12));
        }
        assert!(memory.is_exhausted());
        assert_eq!(memory.word(u64::from(u32::MAX) - 3), None);
    });
}

/// Words of structures replaced by what leads elsewhere, nowhere, or to the end of
/// addresses.
#[test]
fn torn_structures_make_no_member_that_no_structure_could_have() {
    let mut state = 1_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let mut learned = 0;
    for _ in 0..150 {
        let mut mini = Mini::new(4 * random(8));
        if random(2) == 0 {
            mini.trees();
        }
        for _ in 0..random(12) {
            let tasks = [FIRST, TASKS + 0x1000 * random(9)];
            let structures =
                [tasks[0], tasks[1], MMS + 0x1000, SIGNALS, NODES + 0x1000, AREAS + 0x1000];
            let at = structures[random(6) as usize] + 4 * random(0x80);
            let pointer = DIRECT + structures[random(6) as usize] + 4 * random(0x80);
            mini.set(
                at,
                [0, pointer, u64::from(u32::MAX), 0xffff_0000 - 4, DIRECT + RAM - 4]
                    [random(5) as usize],
            );
        }
        if let Some(found) = mini.learned() {
            learned += 1;
            assert!(found.members().all(|(_, _, member)| member.value.offset_bytes < 0x4000));
        }
    }
    assert!(learned > 50, "{learned}");
}

/// A file in the page cache of a kernel before 4.20: pages 0 to 3 and 70 to 73, whose
/// frames lie one after the other.
fn cache_in_radix_tree(slots_at: u64, head_at: u64, by_height: bool) -> Mini {
    cache_in_tree(slots_at, head_at, by_height, 1)
}

/// `node_mark` is what an entry has that leads to a node.
fn cache_in_tree(slots_at: u64, head_at: u64, by_height: bool, node_mark: u64) -> Mini {
    const MAPPING: u64 = 0x36_0000;
    const NODE: u64 = 0x36_1000;
    let mut mini = Mini::new(0);
    if by_height {
        mini.set(MAPPING + head_at - 8, 2);
    }
    mini.set(MAPPING + head_at, DIRECT + NODE + node_mark);
    // Until 4.6 what leads to nodes is not marked; shifts say so since 4.7.
    let mark = if by_height { 0 } else { node_mark };
    for (number, shift) in [(0, 6), (1, 0), (2, 0)] {
        let node = NODE + number * 0x200;
        mini.set(node, if by_height { 2 - u64::from(number > 0) } else { shift });
        // Lists and parents lie before the slots.
        for at in (8..slots_at).step_by(4) {
            mini.set(node + at, DIRECT + node + at);
        }
    }
    mini.set(NODE + slots_at, DIRECT + NODE + 0x200 + mark);
    mini.set(NODE + slots_at + 4, DIRECT + NODE + 0x400 + mark);
    for page in cached_pages() {
        let (leaf, slot) = (NODE + 0x200 * (1 + page.index / 64), page.index % 64);
        let place = PAGES + 32 * page.frame;
        mini.set(leaf + slots_at + 4 * slot, DIRECT + place);
        mini.set(place + 4, page.mapping);
        mini.set(place + 12, page.index);
    }
    mini
}

const PAGES: u64 = 0x37_0000;

fn cached_pages() -> Vec<MappedPage> {
    let page = |index, frame| MappedPage { mapping: DIRECT + 0x36_0000, index, frame };
    let pages = (0..4).map(|at| page(at, 0x200 + at));
    pages.chain((0..4).map(|at| page(70 + at, 0x204 + at))).collect()
}

#[test]
fn page_caches_in_radix_trees_are_found_in_each_of_their_layouts() {
    for (slots_at, head_at, by_height) in
        [(16, 12, true), (24, 12, true), (24, 8, false), (20, 12, false)]
    {
        cache_in_radix_tree(slots_at, head_at, by_height).with(|kernel| {
            let memory = Memory::new(kernel);
            let found = radix::find(&memory, &cached_pages()).unwrap();
            let (tree, at) = (found.tree, usize::try_from(slots_at).unwrap());
            assert_eq!((tree.shape.slots_at, tree.head_at), (at, head_at));
            assert_eq!(tree.height_at.is_some(), by_height);
            assert_eq!(found.array, PageArray { base: DIRECT + PAGES, len_bytes: 32 });
            assert_eq!((found.mapping_at, found.index_at), (4, 12));
            assert_eq!(tree.last_index(&memory, DIRECT + 0x36_0000), Some(73));
        });
    }
}

#[test]
fn pages_in_an_xarray_show_the_array_too() {
    let shape = TreeShape { word_len: 4, slots_at: 20, slots_shift: 6, marks: Marks::XArray };
    let tree = radix::Tree { shape, head_at: 12, height_at: None };
    let find = |mini: Mini, pages: &[MappedPage]| {
        mini.with(|kernel| {
            let found = radix::with_tree(&Memory::new(kernel), tree, pages)?;
            Some((found.array, found.mapping_at, found.index_at))
        })
    };
    let small = || cache_in_tree(20, 12, false, 2);
    let expected = Some((PageArray { base: DIRECT + PAGES, len_bytes: 32 }, 4, 12));
    assert_eq!(find(small(), &cached_pages()), expected);
    // The last four pages are a large one: three slots lead to the one before.
    let mut large = small();
    for slot in 7..10 {
        large.set(0x36_1400 + 20 + 4 * slot, 6 << 2 | 2);
        large.set(PAGES + 32 * (0x1fe + slot) + 4, 0);
    }
    assert_eq!(find(large, &cached_pages()), expected);
    let off: Vec<_> =
        cached_pages().iter().map(|page| MappedPage { index: page.index ^ 1, ..*page }).collect();
    assert_eq!(find(small(), &off), None);
}

#[test]
fn pages_that_contradict_the_tree_make_no_layout() {
    let find = |pages: &[MappedPage]| {
        cache_in_radix_tree(16, 12, true)
            .with(|kernel| radix::find(&Memory::new(kernel), pages).is_some())
    };
    assert!(find(&cached_pages()));
    // One page that is not where the array has it.
    let off: Vec<_> = cached_pages()
        .iter()
        .map(|page| MappedPage { frame: page.frame + u64::from(page.index == 2), ..*page })
        .collect();
    assert!(!find(&off));
    assert!(!find(&cached_pages()[..3]));
}
