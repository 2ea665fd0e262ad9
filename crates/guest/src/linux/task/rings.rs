//! The rings of list nodes that tasks are in.
//!
//! Processes are in the ring of `init_task.tasks`. The threads of a process are
//! in one with `signal_struct.thread_head` (`thread_node`, since 3.14), or in one
//! without a head (`thread_group`, until 6.6). A guest stops at any moment, and
//! may be hostile: a ring is followed both ways from where it breaks, no node
//! twice, and no more of them than there can be.

use std::collections::HashSet;

use vmss2core_mem::{Gva, Problem};

use super::record::{Fields, Links, Record};
use crate::linux::snapshot::{Field, Snapshot};
use crate::linux::{Kernel, LinuxError};

/// `PID_MAX_LIMIT` of 64-bit kernels: more threads cannot have a number.
const MOST_TASKS: usize = 4 << 20;
/// A `task_struct` is never smaller; so many at most does memory hold.
const SMALLEST_TASK: u64 = 1024;

/// Follows rings; knows which tasks it has seen.
pub(super) struct Rings<'f, 'k> {
    kernel: &'k Kernel,
    fields: &'f Fields<'k>,
    seen: HashSet<u64>,
    most: usize,
    pub(super) problems: Vec<Problem>,
}

#[derive(Clone, Copy)]
enum Way {
    Next,
    Prev,
}

/// A ring and how to tell what is in it.
struct Ring<'r> {
    /// The pointers of a node in `task_struct`.
    node: Field,
    /// How far into a task they lead.
    target: u64,
    /// The node that a walk starts and ends at.
    start: &'r Snapshot,
    /// The head, if the ring has one that is no task.
    head: Option<Gva>,
    /// The `tgid` of all its tasks.
    pid: Option<u32>,
}

impl Ring<'_> {
    /// Where the pointers of other tasks lead to for this one.
    fn of(&self, task: &Snapshot) -> Gva {
        Gva(task.gva().0.wrapping_add(self.target))
    }
}

/// Why a walk did not come back to its start.
struct Break {
    node: Gva,
    why: String,
}

impl<'f, 'k> Rings<'f, 'k> {
    pub(super) fn new(kernel: &'k Kernel, fields: &'f Fields<'k>) -> Self {
        let memory = kernel.memory().len_bytes() / SMALLEST_TASK;
        let most = usize::try_from(memory).unwrap_or(MOST_TASKS).min(MOST_TASKS);
        Self { kernel, fields, seen: HashSet::new(), most, problems: Vec::new() }
    }

    /// The first threads of all processes, in the order of their making, without
    /// `init` itself.
    pub(super) fn processes(&mut self, init: &Record) -> Vec<Record> {
        self.seen.insert(init.snapshot.gva().0);
        let Links { pointers: node, target } = self.fields.tasks;
        let ring = Ring { node, target, start: &init.snapshot, head: None, pid: None };
        self.both_ways(&ring, "the list of processes")
    }

    /// The other threads of a process, in the order of their making.
    pub(super) fn threads(&mut self, leader: &Record) -> Vec<Record> {
        let head = self.thread_head(leader);
        let (node, head) = match (self.fields.thread_node, self.fields.thread_group, head) {
            (Some(node), _, Some(head)) => (node, Some(head)),
            (_, Some(node), _) => (node, None),
            _ => return Vec::new(),
        };
        let target = node.offset();
        let ring = Ring { node, target, start: &leader.snapshot, head, pid: Some(leader.pid) };
        let is_alone =
            |neighbour: Gva| neighbour == ring.of(ring.start) || Some(neighbour) == ring.head;
        if is_alone(ring.start.next(node)) && is_alone(ring.start.prev(node)) {
            return Vec::new();
        }
        self.both_ways(&ring, &format!("the list of threads of process {}", leader.pid))
    }

    /// Whether this task is new; it is not from now on.
    pub(super) fn is_new(&mut self, gva: Gva) -> bool {
        self.seen.insert(gva.0)
    }

    /// `signal->thread_head`.
    fn thread_head(&self, leader: &Record) -> Option<Gva> {
        let signal = self.fields.signal(leader)?;
        self.kernel.object(signal, "signal_struct").address_of("thread_head").ok()
    }

    /// Forwards; where that ends early, also backwards, up to what was found.
    fn both_ways(&mut self, ring: &Ring<'_>, what: &str) -> Vec<Record> {
        let mut found = Vec::new();
        let Err(ahead) = self.one_way(ring, Way::Next, &mut found) else { return found };
        let forwards = found.len();
        let mut from_end = Vec::new();
        let behind = self.one_way(ring, Way::Prev, &mut from_end);
        let last = found.last().map_or(ring.start, |record: &Record| &record.snapshot);
        // Meeting the last one from behind means that nothing lies between.
        let is_whole = match &behind {
            Ok(()) => forwards == 0,
            Err(behind) => behind.node == ring.of(last),
        };
        self.report(what, &ahead, (forwards, from_end.len()), is_whole);
        found.extend(from_end.into_iter().rev());
        found
    }

    fn report(&mut self, what: &str, ahead: &Break, found: (usize, usize), is_whole: bool) {
        let Break { node, why } = ahead;
        let (forwards, backwards) = found;
        let message = format!("{what} breaks off at {node} after {forwards}: {why}");
        self.problems.push(if is_whole {
            Problem::warning(format!("{message}; the other {backwards} were found from its end"))
        } else {
            Problem::incomplete(format!("{message}; {backwards} more were found from its end"))
        });
    }

    fn one_way(&mut self, ring: &Ring<'_>, way: Way, found: &mut Vec<Record>) -> Result<(), Break> {
        let end = ring.of(ring.start);
        let mut node = way.from(ring.start, ring.node);
        let mut was_at_head = false;
        while node != end {
            if Some(node) == ring.head && !std::mem::replace(&mut was_at_head, true) {
                node = self.beyond_head(node, way).map_err(|error| Break::new(node, &error))?;
                continue;
            }
            let record = self.member(ring, node)?;
            node = way.from(&record.snapshot, ring.node);
            found.push(record);
        }
        Ok(())
    }

    fn beyond_head(&self, head: Gva, way: Way) -> Result<Gva, LinuxError> {
        let at = match way {
            Way::Next => head.0,
            Way::Prev => head.0.wrapping_add(self.kernel.word_len()),
        };
        self.kernel.read_pointer(Gva(at), "signal_struct.thread_head")
    }

    /// The task that a node is in, if it is one that was not seen before.
    fn member(&mut self, ring: &Ring<'_>, node: Gva) -> Result<Record, Break> {
        let gva = Gva(node.0.wrapping_sub(ring.target));
        let stop = |why: &str| Err(Break { node, why: why.to_owned() });
        if self.seen.contains(&gva.0) {
            return stop("it leads to a task that it has led to before");
        }
        if self.seen.len() >= self.most {
            return stop("so many tasks there cannot be");
        }
        let record = self.fields.read(gva).map_err(|error| Break::new(node, &error))?;
        if ring.pid.is_some_and(|pid| pid != record.pid) {
            return stop("it leads to a task of another process");
        }
        self.seen.insert(gva.0);
        Ok(record)
    }
}

impl Way {
    fn from(self, task: &Snapshot, node: Field) -> Gva {
        match self {
            Self::Next => task.next(node),
            Self::Prev => task.prev(node),
        }
    }
}

impl Break {
    fn new(node: Gva, error: &LinuxError) -> Self {
        use std::error::Error;

        let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
        Self { node, why: format!("{error}{cause}") }
    }
}
