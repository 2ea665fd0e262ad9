//! The processes that are looked at, and what holds them together: numbers, parents,
//! leaders.

use std::collections::HashSet;
use std::ops::Range;

use vmss2core_mem::Sums;

use super::members::{Members, offsets, only};
use super::memory::{Memory, Shot};
use super::ring::{Links, Ring};
use super::tasks::nearly_all;

/// How far a `task_struct` reaches before its `tasks`, and after it. The largest
/// known has 14 KiB.
const BEFORE: u64 = 0x2000;
const BEHIND: u64 = 0x4000;
/// How far after `tasks` the numbers are, at most.
const NUMBERS: u64 = 0x800;
/// How far after `pid` the `tgid` is, at most.
const TGID_WITHIN: u64 = 0x20;
/// Tasks of 2.4 lie at multiples of this, with their stacks.
const TASK_UNION: u64 = 8 << 10;
/// `PID_MAX_LIMIT`.
const MOST_PIDS: u64 = 1 << 22;
/// After `real_parent`, the children, the brothers and the leader follow.
const FAMILY: u64 = 0x100;

/// Processes.
#[derive(Debug)]
pub(super) struct Sample {
    /// Their leaders; the first task first, then the oldest ones, then the youngest.
    pub(super) tasks: Vec<Shot>,
    /// Which of them are of the kernel: the first task, `kthreadd` and its children; before
    /// 2.6.22 those without memory.
    pub(super) is_kernel: Vec<bool>,
    /// How many of them are in the order of their making.
    pub(super) in_order: usize,
}

impl Sample {
    /// Takes the processes of a ring and learns where a `task_struct` begins.
    pub(super) fn of_ring(memory: &Memory<'_>, ring: &Ring, members: &mut Members) -> Option<Self> {
        let take = |node: &u64| Shot::take(memory, *node, BEFORE, BEHIND);
        let mut tasks: Vec<Shot> = ring.nodes.iter().map(take).collect();
        let is_kthreadd = |task: &Shot| task.comm(ring.comm).is_some_and(|name| name == "kthreadd");
        let kthreadd = tasks.iter().position(is_kthreadd);
        let word_len = memory.word_len();
        let pid = pid_of(&tasks, kthreadd, ring.links)?;
        let family = match kthreadd.and_then(|index| tasks.get(index)) {
            Some(kthreadd) => Family::find(word_len, &tasks, kthreadd, pid),
            None => Family::find_old(word_len, &tasks, pid),
        }?;
        let tgid = tgid_of(&tasks, pid).filter(|_| ring.links == Links::List);
        for task in &mut tasks {
            task.rebase(family.tasks)?;
        }
        // A ring of list heads leads through leaders, which lead to themselves.
        let lie_in_stacks = tasks.iter().all(|task| task.gva.is_multiple_of(TASK_UNION));
        (lie_in_stacks || family.group_leader.is_some()).then_some(())?;
        note(word_len, ring, (pid, tgid), &family, members);
        let mut is_kernel = match kthreadd.and_then(|index| Some(tasks.get(index)?.gva)) {
            Some(kthreadd) => {
                let at = family.tasks.plus(family.real_parent);
                let is_kernel =
                    |task: &Shot| task.gva == kthreadd || task.word(at) == Some(kthreadd);
                tasks.iter().map(is_kernel).collect()
            }
            None => without_memory(memory, &tasks, ring.links, members)?,
        };
        *is_kernel.first_mut()? = true;
        if lie_in_stacks {
            members.put_unsized(
                "task_union",
                "stack",
                0,
                "tasks lie at the bottom of their stacks",
            );
        }
        let between = family.tasks.plus(pid)..family.tasks.plus(family.real_parent);
        if let Some(tgid) = tgid_of_tasks(&tasks, &is_kernel, between)
            && ring.links != Links::List
        {
            members.put("task_struct", "tgid", (tgid, 4), "equal to pid for processes");
        }
        Some(Self { tasks, is_kernel, in_order: ring.oldest })
    }

    /// Where the stack of one of the tasks is.
    pub(super) fn stack_of(task: &Shot, members: &Members) -> Option<u64> {
        match members.task("stack") {
            Some(at) => task.word(at).filter(|stack| *stack != 0),
            None => members.at("task_union", "stack").map(|_| task.gva),
        }
    }

    /// The first task.
    pub(super) fn first(&self) -> Option<&Shot> {
        self.tasks.first()
    }

    /// Tasks of the kernel.
    pub(super) fn kernel(&self) -> impl Iterator<Item = &Shot> {
        self.tasks.iter().zip(&self.is_kernel).filter(|(_, kernel)| **kernel).map(|(task, _)| task)
    }

    /// Leaders of processes of users.
    pub(super) fn users(&self) -> impl Iterator<Item = &Shot> {
        self.tasks.iter().zip(&self.is_kernel).filter(|(_, kernel)| !**kernel).map(|(task, _)| task)
    }
}

/// Which tasks have no memory of their own, by `mm` and `active_mm`: both lead to the same
/// in a process. In 2.4 they are apart.
fn without_memory(
    memory: &Memory<'_>,
    tasks: &[Shot],
    links: Links,
    members: &mut Members,
) -> Option<Vec<bool>> {
    let (word_len, end) = (memory.word_len(), members.task("pid")?);
    let (start, reach) = match links {
        Links::List => (members.task("tasks")?.plus(word_len.times(2)), word_len.times(2)),
        Links::Tasks { .. } => (0, end),
    };
    let is_empty = |task: &Shot, at| task.word(at) == Some(0);
    let is_mm = |at: u64| {
        let with: Vec<&Shot> = tasks.iter().filter(|task| !is_empty(task, at)).collect();
        let without = tasks.len().minus(with.len());
        let is_one = |task: &&Shot| task.word(at).is_some_and(|mm| memory.is_pointer(mm));
        tasks.first().is_some_and(|task| is_empty(task, at))
            && !with.is_empty()
            && without > 2
            && with.iter().all(is_one)
    };
    let are_pair = |at: u64, active: u64| {
        let are_equal = |task: &&Shot| task.word(at) == task.word(active);
        tasks.iter().filter(|task| !is_empty(task, at)).all(|task| are_equal(&task))
    };
    let pairs = offsets(start..end, word_len, is_mm).flat_map(|at| {
        let active = at.plus(word_len)..at.plus(reach).min(end);
        offsets(active, word_len, move |active| are_pair(at, active))
            .map(move |active| (at, active))
    });
    let (at, active) = only(pairs)?;
    members.put("task_struct", "mm", (at, word_len), "null for threads of the kernel only");
    members.put("task_struct", "active_mm", (active, word_len), "equal to mm where that is");
    Some(tasks.iter().map(|task| is_empty(task, at)).collect())
}

/// Where `pid` is from a node. `tgid` follows it, but in 2.4.
///
/// 0 for the first task, 1 for one, 2 for `kthreadd` where there is one, all different, and
/// for leaders equal to `tgid`. In a ring of 2.4 are threads as well, and 1 is the second.
/// First kernels of 2.6 have `pgrp` and its like between the two.
fn pid_of(tasks: &[Shot], kthreadd: Option<usize>, links: Links) -> Option<u64> {
    let mut found = offsets(0..NUMBERS, 4, |at| are_numbers(tasks, kthreadd, at));
    match links {
        Links::List => only(found.filter(|pid| tgid_of(tasks, *pid).is_some())),
        // `tgid`, where it is all different as well, comes later.
        Links::Tasks { .. } => found.next(),
    }
}

/// `tgid` of leaders.
fn tgid_of(tasks: &[Shot], pid: u64) -> Option<u64> {
    let is_equal = |at| tasks.iter().all(|task| task.u32(at) == task.u32(pid));
    offsets(pid.plus(4)..pid.plus(TGID_WITHIN), 4, is_equal).next()
}

/// `tgid` of 2.4: threads of the kernel may share that of the first task.
fn tgid_of_tasks(tasks: &[Shot], is_kernel: &[bool], between: Range<u64>) -> Option<u64> {
    let pid = between.start;
    let users: Vec<&Shot> =
        tasks.iter().zip(is_kernel).filter(|(_, kernel)| !**kernel).map(|(task, _)| task).collect();
    let is_equal = |at: u64| nearly_all(users.iter(), |task| task.u32(at) == task.u32(pid));
    offsets(pid.plus(4)..between.end, 4, is_equal).last()
}

fn are_numbers(tasks: &[Shot], kthreadd: Option<usize>, at: u64) -> bool {
    let numbers: Option<Vec<u64>> = tasks.iter().map(|task| task.u32(at)).collect();
    let Some(mut numbers) = numbers else { return false };
    let is_known = match kthreadd {
        Some(kthreadd) => numbers.get(kthreadd) == Some(&2) && numbers.contains(&1),
        None => numbers.get(1) == Some(&1),
    };
    let are_fine =
        is_known && numbers.first() == Some(&0) && numbers.iter().all(|number| *number < MOST_PIDS);
    numbers.sort_unstable();
    are_fine && numbers.windows(2).all(|pair| pair.first() != pair.last())
}

/// Offsets from a node, but for the first.
struct Family {
    /// Where a node is in the structure.
    tasks: u64,
    real_parent: u64,
    /// That of a debugger, for what it traces.
    parent: Option<u64>,
    group_leader: Option<u64>,
    /// `children` and `sibling`.
    lists: Option<u64>,
}

impl Family {
    /// The first task is its own parent, and that of `kthreadd` and the first process;
    /// `kthreadd` is that of all threads of the kernel.
    fn find(word_len: u64, tasks: &[Shot], kthreadd: &Shot, pid: u64) -> Option<Self> {
        let first = tasks.first()?;
        let parents = pid.plus(8)..pid.plus(FAMILY);
        let real_parent = offsets(parents, word_len, |at| {
            let base =
                first.word(at).filter(|base| (1..BEFORE).contains(&first.gva.wrapping_sub(*base)));
            let Some(base) = base else { return false };
            let of_kernel = kthreadd.gva.wrapping_sub(first.gva.wrapping_sub(base));
            let children = tasks.iter().filter(|task| task.word(at) == Some(of_kernel)).count();
            kthreadd.word(at) == Some(base)
                && children > 2
                && are_alike(tasks, at, at.plus(word_len))
        })
        .next()?;
        Self::of_parent(word_len, tasks, real_parent)
    }

    /// Without `kthreadd`: the first task is its own parent, and that of the second; all
    /// parents are tasks.
    fn find_old(word_len: u64, tasks: &[Shot], pid: u64) -> Option<Self> {
        let (first, second) = (tasks.first()?, tasks.get(1)?);
        let nodes: HashSet<u64> = tasks.iter().map(|task| task.gva).collect();
        let parents = pid.plus(8)..pid.plus(FAMILY);
        let real_parent = offsets(parents, word_len, |at| {
            let Some(base) = first.word(at) else { return false };
            let node_in_task = first.gva.wrapping_sub(base);
            // A parent may be one of those in the middle of a long list.
            let is_task = |task: &&Shot| {
                task.word(at).is_some_and(|base| nodes.contains(&base.wrapping_add(node_in_task)))
            };
            node_in_task < BEFORE
                && second.word(at) == Some(base)
                && tasks.iter().filter(is_task).count().times(2) > tasks.len()
        })
        .next()?;
        Self::of_parent(word_len, tasks, real_parent)
    }

    /// What follows the parents.
    fn of_parent(word_len: u64, tasks: &[Shot], real_parent: u64) -> Option<Self> {
        let first = tasks.first()?;
        let tasks_at = first.gva.checked_sub(first.word(real_parent)?)?;
        let is_own = |task: &Shot, at| task.word(at) == Some(task.gva.wrapping_sub(tasks_at));
        // Kernels with utrace (those of RHEL 5) have one parent only.
        let parent = Some(real_parent.plus(word_len));
        let parent = parent.filter(|parent| are_alike(tasks, real_parent, *parent));
        let lists = parent.unwrap_or(real_parent).plus(word_len);
        let leaders = lists..real_parent.plus(FAMILY);
        let group_leader =
            offsets(leaders, word_len, |at| tasks.iter().all(|task| is_own(task, at))).next();
        let lists = Some(lists).filter(|at| group_leader == Some(at.plus(word_len.times(4))));
        Some(Self { tasks: tasks_at, real_parent, parent, group_leader, lists })
    }
}

/// Whether two members hold the same for nearly all tasks: a debugger is the parent,
/// not the real one, of what it traces.
fn are_alike(tasks: &[Shot], one: u64, other: u64) -> bool {
    let alike = tasks.iter().filter(|task| task.word(one) == task.word(other)).count();
    alike >= tasks.len().minus(tasks.len() / 8)
}

fn note(
    word_len: u64,
    ring: &Ring,
    (pid, tgid): (u64, Option<u64>),
    family: &Family,
    members: &mut Members,
) {
    let tasks = family.tasks;
    let mut put =
        |path, at, size, how| members.put("task_struct", path, (tasks.plus(at), size), how);
    match ring.links {
        Links::List => {
            put("tasks", 0, word_len.times(2), "ring of processes that begins at swapper");
        }
        Links::Tasks { next } => {
            let how = "ring of tasks that begins at swapper";
            put("next_task", next, word_len, how);
            put("prev_task", next.plus(word_len), word_len, how);
        }
    }
    put("comm", ring.comm, 16, "names of the processes of the ring");
    put("pid", pid, 4, "0 for swapper, 1 for init, different for all");
    if let Some(tgid) = tgid {
        put("tgid", tgid, 4, "equal to pid for leaders");
    }
    put("real_parent", family.real_parent, word_len, "swapper for the first, a task for all");
    if let Some(parent) = family.parent {
        put("parent", parent, word_len, "equal to real_parent");
    }
    if let Some(group_leader) = family.group_leader {
        put("group_leader", group_leader, word_len, "the task itself for leaders");
    }
    if let Some(children) = family.lists {
        let how = "two lists between parent and group_leader";
        put("children", children, word_len.times(2), how);
        put("sibling", children.plus(word_len.times(2)), word_len.times(2), how);
    }
}
