//! The rings of a process's threads, and `signal_struct`.
//!
//! `thread_node` leads through the threads of a process and `signal->thread_head`
//! (since 3.14); `thread_group` leads through the threads alone (until 6.6). Most
//! processes have one thread: there the first is a ring of two and the second empty.

use vmss2core_mem::Sums;

use super::members::{Members, offsets, only};
use super::memory::{Memory, Shot};
use super::sample::Sample;
use super::tasks::nearly_all;

/// `thread_head` is one of the first members of `signal_struct`.
const HEAD: u64 = 0x80;
/// More threads of a process are not counted.
const MOST_THREADS: usize = 1024;
/// More processes are not looked at.
const MOST_PROCESSES: usize = 96;

pub(super) fn learn(memory: &Memory<'_>, sample: &Sample, members: &mut Members) {
    let by_node = threads_by_node(memory, sample, members);
    if by_node.is_none() {
        members.miss("task_struct.thread_node", "no ring of two leads to a signal_struct");
    }
    if threads_by_group(memory, sample, members).is_none() && by_node.is_none() {
        members.miss("task_struct.thread_group", "no process has more than one thread");
    }
}

/// The other end of a ring of two through `at` of a task.
fn partner(memory: &Memory<'_>, task: &Shot, at: u64) -> Option<u64> {
    let word_len = memory.word_len();
    let (own, head) = (task.gva.plus(at), task.word(at)?);
    let is_pair = memory.is_pointer(head)
        && head != own
        && task.word(at.plus(word_len)) == Some(head)
        && memory.word(head) == Some(own)
        && memory.word(head.plus(word_len)) == Some(own);
    is_pair.then_some(head)
}

fn threads_by_node(memory: &Memory<'_>, sample: &Sample, members: &mut Members) -> Option<()> {
    let (word_len, leader) = (memory.word_len(), members.task("group_leader")?);
    let comm = members.task("comm")?;
    let is_node = |at: u64| {
        // A process of several threads has a longer ring.
        let pairs = sample.tasks.iter().filter(|task| partner(memory, task, at).is_some()).count();
        pairs > 2 && pairs.times(4) > sample.tasks.len().times(3)
    };
    let candidates = offsets(leader.plus(word_len)..comm, word_len, is_node);
    let end = sample.tasks.iter().map(Shot::len).min()?;
    let (node, signal, head) = only(candidates.filter_map(|node| {
        let heads: Vec<(&Shot, u64)> = sample
            .tasks
            .iter()
            .filter_map(|task| Some((task, partner(memory, task, node)?)))
            .collect();
        let distance = |(task, head): &(&Shot, u64), at| head.checked_sub(task.word(at)?);
        let is_signal = |at: &u64| {
            let Some(Some(first)) = heads.first().map(|head| distance(head, *at)) else {
                return false;
            };
            first < HEAD && first > 0 && heads.iter().all(|head| distance(head, *at) == Some(first))
        };
        let signal = only(offsets(leader..end, word_len, |at| is_signal(&at)))?;
        Some((node, signal, distance(heads.first()?, signal)?))
    }))?;
    let how = "ring of two of most processes";
    members.put("task_struct", "thread_node", (node, word_len.times(2)), how);
    members.put("task_struct", "signal", (signal, word_len), "what thread_node leads into");
    members.put(
        "signal_struct",
        "thread_head",
        (head, word_len.times(2)),
        "what thread_node leads to",
    );
    count(memory, sample, members, (node, signal, head));
    Some(())
}

/// `sigcnt`, `live` and `nr_threads` begin a `signal_struct`.
fn count(
    memory: &Memory<'_>,
    sample: &Sample,
    members: &mut Members,
    (node, signal, head): (u64, u64, u64),
) {
    const NR_THREADS: u64 = 8;
    let is_right = |task: &&Shot| {
        let signal = task.word(signal).filter(|signal| memory.is_pointer(*signal));
        let Some(signal) = signal else { return false };
        let threads = ring(memory, task, node).map(|nodes| nodes.len() as u64);
        threads.is_some() && memory.u32(signal.plus(NR_THREADS)) == threads
    };
    if head > NR_THREADS && nearly_all(some(sample), is_right) {
        let how = "as many as thread_node leads through";
        members.put("signal_struct", "nr_threads", (NR_THREADS, 4), how);
    }
}

/// Processes, some of which have several threads, and a few tasks of the kernel.
fn some(sample: &Sample) -> impl Iterator<Item = &Shot> {
    sample.users().take(MOST_PROCESSES).chain(sample.kernel().skip(1).take(8))
}

/// The other places of a closed ring through `at` of a task.
fn ring(memory: &Memory<'_>, task: &Shot, at: u64) -> Option<Vec<u64>> {
    let own = task.gva.plus(at);
    let mut nodes = Vec::new();
    let mut next = task.word(at)?;
    while next != own {
        if nodes.len() >= MOST_THREADS || !memory.is_pointer(next) {
            return None;
        }
        nodes.push(next);
        next = memory.word(next)?;
    }
    Some(nodes)
}

/// The tasks of the sample and their other threads.
pub(super) fn all(memory: &Memory<'_>, sample: &Sample, members: &Members) -> Vec<Shot> {
    let mut tasks = sample.tasks.clone();
    let node = members.task("thread_node").or(members.task("thread_group"));
    let Some((node, leader)) = node.zip(members.task("group_leader")) else { return tasks };
    let len = leader.plus(memory.word_len());
    for process in &sample.tasks {
        for other in ring(memory, process, node).unwrap_or_default() {
            let Some(base) = other.checked_sub(node) else { continue };
            // One of the places is in the signal_struct.
            if tasks.len() < MOST_THREADS && memory.word(base.plus(leader)) == Some(process.gva) {
                tasks.push(Shot::take(memory, base, 0, len));
            }
        }
    }
    tasks
}

/// A process of several threads shows which ring leads from one to the other.
fn threads_by_group(memory: &Memory<'_>, sample: &Sample, members: &mut Members) -> Option<()> {
    let (word_len, leader) = (memory.word_len(), members.task("group_leader")?);
    let (tgid, pid, comm) = (members.task("tgid")?, members.task("pid")?, members.task("comm")?);
    let is_thread = |task: &Shot, at: u64, node: u64| {
        node.checked_sub(at).is_some_and(|base| {
            memory.word(base.plus(leader)) == Some(task.gva)
                && memory.u32(base.plus(tgid)) == task.u32(tgid)
                && memory.u32(base.plus(pid)) != task.u32(pid)
        })
    };
    let is_group = |at: u64| {
        let mut threads = 0;
        let is_fine = |nodes: &[u64], task| nodes.iter().all(|node| is_thread(task, at, *node));
        let all_fine = some(sample).all(|task| {
            let Some(nodes) = ring(memory, task, at) else { return false };
            threads = threads.plus(nodes.len());
            is_fine(&nodes, task)
        });
        all_fine && threads > 0
    };
    let range = leader.plus(word_len)..comm;
    // A first look at few processes, as most places hold no pointers at all.
    let is_list = |at: &u64| {
        let mut first = sample.kernel().skip(1).take(4);
        first.all(|task| task.word(*at).is_some_and(|next| memory.is_pointer(next)))
    };
    let at = only(offsets(range, word_len, |at| is_list(&at) && is_group(at)))?;
    let how = "ring through the threads of a process";
    members.put("task_struct", "thread_group", (at, word_len.times(2)), how);
    Some(())
}
