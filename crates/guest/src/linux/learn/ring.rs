//! The ring of all processes, which begins and ends at the first task.
//!
//! The idle task of CPU 0 is a variable of the kernel image, called `swapper/0`
//! (`swapper` before 2.6.39 and without SMP). Its `tasks` is a `list_head` that
//! leads through those of all processes; their names lie as far from it as its own.
//!
//! In 2.4 the pointers `next_task` and `prev_task` lead to the tasks themselves, each of
//! which lies at the bottom of its stack (`union task_union`), as does the first.

use std::collections::HashSet;
use std::ops::ControlFlow;

use memchr::memmem;
use vmss2core_machine::paging::{Leaf, Limits};
use vmss2core_mem::{Gpa, Sums};

use super::memory::{Memory, Shot};
use crate::linux::Kernel;

/// How far `comm` lies after `tasks` at most.
const WIDEST: u64 = 0x2000;
/// Bytes searched at a time.
const CHUNK: u64 = 256 << 10;
/// Bytes searched at most: no kernel has as many variables.
const MOST_BYTES: u64 = 256 << 20;
/// After the code and constants of a 32-bit kernel, its variables are near.
const NEAR: u64 = 32 << 20;
/// Places of the name that are looked at, and lists near them that are followed.
const MOST_PLACES: u32 = 1024;
const MOST_WALKS: u32 = 1024;
/// Processes looked at from the beginning of the ring on, and from its end.
const OLDEST: usize = 160;
const YOUNGEST: usize = 96;
/// Among so many first processes are threads of the kernel.
const FIRST: usize = 16;
/// How their names begin: `kthreadd` since 2.6.22, the others since 2.4.
const OF_KERNEL: [&str; 7] =
    ["kthreadd", "ksoftirqd", "keventd", "events/", "kswapd", "khelper", "migration/"];
/// Sizes of stacks that tasks of 2.4 lie in: of 32 and of 64 bits.
const TASK_UNIONS: [u64; 2] = [8 << 10, 16 << 10];

/// How the tasks of a ring hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// By a `list_head`, which is what a node is.
    List,
    /// By two pointers to tasks, so far into each; a node is a task.
    Tasks { next: u64 },
}

impl Links {
    /// Where a node has its pointer forth and its pointer back.
    fn pointers(self, word_len: u64) -> (u64, u64) {
        let next = match self {
            Self::List => 0,
            Self::Tasks { next } => next,
        };
        (next, next.plus(word_len))
    }
}

/// The ring.
#[derive(Debug)]
pub(super) struct Ring {
    /// Nodes of some of the tasks: the first one, the oldest ones, the youngest ones.
    pub(super) nodes: Vec<u64>,
    /// How many of them come before those from the end.
    pub(super) oldest: usize,
    /// Distance from a node to `comm`.
    pub(super) comm: u64,
    pub(super) links: Links,
}

/// Looks for the ring among the kernel's variables.
pub(super) fn find(kernel: &Kernel, memory: &Memory<'_>) -> Option<Ring> {
    let (mut places, mut walks) = (MOST_PLACES, MOST_WALKS);
    let mut look = |at: u64, name: &[u8]| {
        if !is_name(name) {
            return None;
        }
        places = places.checked_sub(1)?;
        at_name(memory, at, &mut walks).or_else(|| of_tasks(memory, at))
    };
    variables(kernel).into_iter().find_map(|run| search(memory, &run, &mut look))
}

/// Where the first task can be: what of the image may be written to; for a 32-bit
/// kernel, what lies after its constants.
fn variables(kernel: &Kernel) -> Vec<Leaf> {
    let Some(text) = kernel.linux().text.as_ref().map(|text| text.value) else { return Vec::new() };
    let end = text.start.0.saturating_add(text.len);
    let range = if kernel.linux().is_64_bit {
        text.start.0..end
    } else {
        text.start.0..end.saturating_add(NEAR).min(u64::from(u32::MAX))
    };
    let limits = Limits { visits_per_table: 8, tables: 1 << 12, runs: 1 << 12 };
    let mut runs = Vec::new();
    kernel.space().walk_range(range, &limits, &mut |leaf| {
        runs.push(leaf);
        ControlFlow::Continue(())
    });
    // Some kernels, and early ones, protect nothing: then all may hold variables.
    runs.sort_by_key(|run| !run.permissions.write);
    runs
}

/// Shows `look` every `swapper` of a piece of memory with the 16 bytes of its name.
fn search<T>(
    memory: &Memory<'_>,
    run: &Leaf,
    look: &mut dyn FnMut(u64, &[u8]) -> Option<T>,
) -> Option<T> {
    let len = run.len_bytes().min(MOST_BYTES);
    let mut buf = vec![0; usize::try_from(CHUNK + 16).ok()?];
    let mut at = 0;
    while at < len {
        let piece_len = usize::try_from(len.minus(at).min(CHUNK + 16)).ok()?;
        let piece = buf.get_mut(..piece_len)?;
        if memory.space().memory().read_or_zero(Gpa(run.gpa.0.plus(at)), piece).is_ok() {
            for found in memmem::find_iter(piece, b"swapper") {
                if let Some(name) = piece.get(found..found.plus(16))
                    && let Some(result) = look(run.gva.0.plus(at).plus(found as u64), name)
                {
                    return Some(result);
                }
            }
        }
        at = at.plus(CHUNK);
    }
    None
}

fn is_name(name: &[u8]) -> bool {
    name == b"swapper/0\0\0\0\0\0\0\0" || name == b"swapper\0\0\0\0\0\0\0\0\0"
}

/// The ring, if this name is the first task's.
fn at_name(memory: &Memory<'_>, name: u64, walks: &mut u32) -> Option<Ring> {
    let word_len = memory.word_len();
    if !name.is_multiple_of(4) {
        return None;
    }
    let before = Shot::take(memory, name.checked_sub(WIDEST)?, 0, WIDEST);
    let distances =
        (1..WIDEST.checked_div(word_len).unwrap_or(0)).map(|words| words.times(word_len));
    let is_head = |distance: &u64| {
        let (at, node) = (WIDEST.minus(*distance), name.minus(*distance));
        let (Some(next), Some(last)) = (before.word(at), before.word(at.plus(word_len))) else {
            return false;
        };
        memory.is_pointer(next)
            && memory.is_pointer(last)
            && next != node
            && memory.word(next.plus(word_len)) == Some(node)
            && memory.word(last) == Some(node)
    };
    distances.filter(is_head).find_map(|distance| {
        *walks = walks.checked_sub(1)?;
        walk(memory, name.minus(distance), distance, Links::List)
    })
}

/// The ring of 2.4, if this name is the first task's.
fn of_tasks(memory: &Memory<'_>, name: u64) -> Option<Ring> {
    TASK_UNIONS.into_iter().find_map(|stack_len| {
        let task = name & !stack_len.minus(1);
        let is_task = |at: u64| at != task && at.is_multiple_of(stack_len) && memory.is_pointer(at);
        let word_len = memory.word_len();
        let own = Shot::take(memory, task, 0, name.minus(task));
        let is_link = |next: &u64| {
            let pair = own.word(*next).zip(own.word(next.plus(word_len)));
            pair.is_some_and(|(after, before)| {
                is_task(after)
                    && is_task(before)
                    && memory.word(after.plus(*next).plus(word_len)) == Some(task)
                    && memory.word(before.plus(*next)) == Some(task)
            })
        };
        let words = name.minus(task).checked_div(word_len).unwrap_or(0);
        let mut links = (0..words).map(|word| word.times(word_len)).filter(is_link).take(FIRST);
        links.find_map(|next| walk(memory, task, name.minus(task), Links::Tasks { next }))
    })
}

/// Follows the ring from both ends, as far as it needs to be known.
fn walk(memory: &Memory<'_>, head: u64, comm: u64, links: Links) -> Option<Ring> {
    let (next, last) = links.pointers(memory.word_len());
    let mut seen = HashSet::from([head]);
    let mut nodes = vec![head];
    let is_closed = follow(memory, (next, last), OLDEST, &mut seen, &mut nodes)?;
    let name = |node: &u64| memory.text(node.checked_add(comm)?, 16);
    let is_of_kernel = |node: &u64| {
        name(node).is_some_and(|name| OF_KERNEL.iter().any(|start| name.starts_with(start)))
    };
    if !nodes.iter().take(FIRST).any(is_of_kernel) {
        return None;
    }
    let oldest = nodes.len();
    if !is_closed {
        let mut youngest = vec![head];
        follow(memory, (last, next), YOUNGEST, &mut seen, &mut youngest)?;
        nodes.extend(youngest.drain(1..));
    }
    // A process may call itself anything, but few do.
    let odd = nodes.iter().filter(|node| name(node).is_none()).count();
    (odd <= nodes.len() / 8).then_some(Ring { nodes, oldest, comm, links })
}

/// Follows one of the two pointers of a node, as the other leads back, and
/// appends what it leads to. Whether the end was reached; `None` if links are broken.
fn follow(
    memory: &Memory<'_>,
    (forth, back): (u64, u64),
    most: usize,
    seen: &mut HashSet<u64>,
    nodes: &mut Vec<u64>,
) -> Option<bool> {
    let mut at = *nodes.first()?;
    while nodes.len() < most {
        let next = memory.word(at.checked_add(forth)?)?;
        if !memory.is_pointer(next) || memory.word(next.checked_add(back)?) != Some(at) {
            return None;
        }
        if !seen.insert(next) {
            return Some(true);
        }
        nodes.push(next);
        at = next;
    }
    Some(false)
}
