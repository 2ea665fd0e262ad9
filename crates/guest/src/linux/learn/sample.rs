//! The processes that are looked at, and what holds them together: numbers, parents,
//! leaders.

use vmss2core_mem::Sums;

use super::members::{Members, offsets, only};
use super::memory::{Memory, Shot};
use super::ring::Ring;

/// How far a `task_struct` reaches before its `tasks`, and after it. The largest
/// known has 14 KiB.
const BEFORE: u64 = 0x2000;
const BEHIND: u64 = 0x4000;
/// How far after `tasks` the numbers are, at most.
const NUMBERS: u64 = 0x800;
/// `PID_MAX_LIMIT`.
const MOST_PIDS: u64 = 1 << 22;
/// After `real_parent`, the children, the brothers and the leader follow.
const FAMILY: u64 = 0x100;

/// Processes.
#[derive(Debug)]
pub(super) struct Sample {
    /// Their leaders; the first task first, then the oldest ones, then the youngest.
    pub(super) tasks: Vec<Shot>,
    /// Which of them are of the kernel: the first task, `kthreadd` and its children.
    pub(super) is_kernel: Vec<bool>,
    /// How many of them are in the order of their making.
    pub(super) in_order: usize,
}

impl Sample {
    /// Takes the processes of a ring and learns where a `task_struct` begins.
    pub(super) fn of_ring(memory: &Memory<'_>, ring: &Ring, members: &mut Members) -> Option<Self> {
        let take = |node: &u64| Shot::take(memory, *node, BEFORE, BEHIND);
        let mut tasks: Vec<Shot> = ring.nodes.iter().map(take).collect();
        let kthreadd = tasks
            .iter()
            .position(|task| task.comm(ring.comm).is_some_and(|name| name == "kthreadd"))?;
        let pid = only(offsets(0..NUMBERS, 4, |at| are_numbers(&tasks, kthreadd, at)))?;
        let family = Family::find(memory.word_len(), &tasks, kthreadd, pid)?;
        for task in &mut tasks {
            task.rebase(family.tasks)?;
        }
        let kthreadd_gva = tasks.get(kthreadd)?.gva;
        let is_kernel = |task: &Shot| {
            let parent = task.word(family.tasks.plus(family.real_parent));
            task.gva == kthreadd_gva || parent == Some(kthreadd_gva)
        };
        let mut is_kernel: Vec<bool> = tasks.iter().map(is_kernel).collect();
        *is_kernel.first_mut()? = true;
        note(memory.word_len(), ring, pid, &family, members);
        Some(Self { tasks, is_kernel, in_order: ring.oldest })
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

/// Whether `pid` and `tgid` are there: 0 for the first task, 2 for `kthreadd`, 1 for
/// one, all different, and both equal as these are leaders.
fn are_numbers(tasks: &[Shot], kthreadd: usize, at: u64) -> bool {
    let numbers: Option<Vec<u64>> = tasks.iter().map(|task| task.u32(at)).collect();
    let Some(mut numbers) = numbers else { return false };
    let are_fine = numbers.first() == Some(&0)
        && numbers.get(kthreadd) == Some(&2)
        && numbers.contains(&1)
        && numbers.iter().all(|number| *number < MOST_PIDS)
        && tasks.iter().zip(&numbers).all(|(task, number)| task.u32(at.plus(4)) == Some(*number));
    numbers.sort_unstable();
    are_fine && numbers.windows(2).all(|pair| pair.first() != pair.last())
}

/// Offsets from `tasks`, but for the first.
struct Family {
    /// Where `tasks` is in the structure.
    tasks: u64,
    real_parent: u64,
    group_leader: u64,
    has_list: bool,
}

impl Family {
    /// The first task is its own parent, and that of `kthreadd` and the first process;
    /// `kthreadd` is that of all threads of the kernel.
    fn find(word_len: u64, tasks: &[Shot], kthreadd: usize, pid: u64) -> Option<Self> {
        let first = tasks.first()?;
        let kthreadd = tasks.get(kthreadd)?;
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
        let tasks_at = first.gva.checked_sub(first.word(real_parent)?)?;
        let is_own = |task: &Shot, at| task.word(at) == Some(task.gva.wrapping_sub(tasks_at));
        let leaders = real_parent.plus(word_len.times(2))..real_parent.plus(FAMILY);
        let group_leader =
            offsets(leaders, word_len, |at| tasks.iter().all(|task| is_own(task, at))).next()?;
        let has_list = group_leader == real_parent.plus(word_len.times(6));
        Some(Self { tasks: tasks_at, real_parent, group_leader, has_list })
    }
}

/// Whether two members hold the same for nearly all tasks: a debugger is the parent,
/// not the real one, of what it traces.
fn are_alike(tasks: &[Shot], one: u64, other: u64) -> bool {
    let alike = tasks.iter().filter(|task| task.word(one) == task.word(other)).count();
    alike >= tasks.len().minus(tasks.len() / 8)
}

fn note(word_len: u64, ring: &Ring, pid: u64, family: &Family, members: &mut Members) {
    let tasks = family.tasks;
    let mut put =
        |path, at, size, how| members.put("task_struct", path, (tasks.plus(at), size), how);
    put("tasks", 0, word_len.times(2), "ring of processes that begins at swapper/0");
    put("comm", ring.comm, 16, "names of the processes of the ring");
    put("pid", pid, 4, "0 for swapper/0, 2 for kthreadd, different for all");
    put("tgid", pid.plus(4), 4, "equal to pid for leaders");
    put("real_parent", family.real_parent, word_len, "swapper/0 for kthreadd, kthreadd for others");
    put("parent", family.real_parent.plus(word_len), word_len, "equal to real_parent");
    put("group_leader", family.group_leader, word_len, "the task itself for leaders");
    if family.has_list {
        let how = "two lists between parent and group_leader";
        put("children", family.real_parent.plus(word_len.times(2)), word_len.times(2), how);
        put("sibling", family.real_parent.plus(word_len.times(4)), word_len.times(2), how);
    }
}
