//! The areas of a process's memory: `vm_area_struct`, in a list until 6.0, in a maple
//! tree since.

use vmss2core_mem::{PAGE_SIZE, Sums};

use super::files;
use super::members::{Members, offsets, only};
use super::memory::{Memory, Shot};
use super::process::Process;
use super::tasks::nearly_all;
use crate::linux::process::maple;

/// The list or the tree is near the beginning of an `mm_struct`.
const NEAR: u64 = 0x100;
/// How much of a `vm_area_struct` is looked at.
const AREA_LEN: u64 = 0x110;
/// More areas of a process are not looked at.
const MOST: usize = 256;
/// Pages of a new stack with one page of arguments.
const SMALLEST_STACKS: [u64; 2] = [1 + 20, 1 + 32];
/// `VM_READ`, `VM_WRITE`, `VM_EXEC`, `VM_GROWSDOWN`.
const READ: u64 = 1;
pub(super) const WRITE: u64 = 2;
pub(super) const EXEC: u64 = 4;
pub(super) const GROWS_DOWN: u64 = 0x100;
/// `VM_MAYREAD` and so on are so many bits above what they allow.
const MAY: u32 = 4;

/// A process's areas, in the order of their addresses.
#[derive(Debug)]
pub(super) struct Areas<'p> {
    pub(super) process: &'p Process,
    pub(super) list: Vec<Area>,
    is_complete: bool,
}

#[derive(Debug)]
pub(super) struct Area {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) shot: Shot,
}

impl Areas<'_> {
    /// The area that an address is in.
    pub(super) fn at(&self, address: u64) -> Option<&Area> {
        self.list.iter().find(|area| (area.start..area.end).contains(&address))
    }
}

pub(super) fn learn(memory: &Memory<'_>, processes: &[Process], members: &mut Members) {
    if processes.is_empty() {
        return;
    }
    let Some(all) =
        by_list(memory, processes, members).or_else(|| by_tree(memory, processes, members))
    else {
        members.miss("mm_struct.mmap", "neither a list nor a maple tree of areas was found");
        return;
    };
    count(&all, members);
    if inside(memory, &all, members).is_none() {
        members.miss("vm_area_struct.vm_flags", "no flags tell the stack from the code");
    }
    members.has_guard_pages = have_guard_pages(&all, members);
    files::learn(memory, &all, members);
}

/// Whether stacks have a page at which they grow. The kernel makes a stack of the page or
/// pages of the arguments and 20 pages, or since 2.6.34 128 KiB; where there is a page for
/// growing as well it has been there since the first argument was written. So the smallest
/// of all stacks shows it.
fn have_guard_pages(all: &[Areas<'_>], members: &Members) -> bool {
    let (Some(start), Some(flags)) =
        (members.at("mm_struct", "start_stack"), members.at("vm_area_struct", "vm_flags"))
    else {
        return false;
    };
    let pages = |areas: &Areas<'_>| {
        let stack = areas.at(areas.process.mm.word(start)?)?;
        let grows = stack.shot.word(flags)? & GROWS_DOWN != 0;
        grows.then(|| stack.end.minus(stack.start) / PAGE_SIZE)
    };
    let smallest = all.iter().filter_map(pages).min();
    SMALLEST_STACKS.iter().any(|pages| smallest == Some(pages.plus(1)))
}

/// `mmap` leads to the first area, `vm_next` to the next; `vm_start` and `vm_end` are
/// before that, with `vm_mm` at the very beginning until 3.7.
fn by_list<'p>(
    memory: &Memory<'_>,
    processes: &'p [Process],
    members: &mut Members,
) -> Option<Vec<Areas<'p>>> {
    let word_len = memory.word_len();
    let list = |process: &'p Process, at: u64, start: u64| {
        let mut areas = Vec::new();
        let mut next = process.mm.word(at).filter(|first| *first != 0)?;
        while next != 0 && areas.len() < MOST {
            let previous = areas.last().map_or(0, |area: &Area| area.end);
            let area = area(memory, next, start)?;
            next = area.shot.word(start.plus(word_len.times(2)))?;
            (area.start >= previous).then_some(())?;
            areas.push(area);
        }
        let is_complete = next == 0;
        (areas.len() > 2).then_some(Areas { process, list: areas, is_complete })
    };
    let places = offsets(0..NEAR, word_len, |_| true)
        .flat_map(|at| [0, word_len].into_iter().map(move |start| (at, start)));
    let (found, at, start) = places.into_iter().find_map(|(at, start)| {
        list(processes.first()?, at, start)?;
        let all: Option<Vec<_>> = processes.iter().map(|one| list(one, at, start)).collect();
        Some((all?, at, start))
    })?;
    members.put("mm_struct", "mmap", (at, word_len), "list of areas in order");
    let how = "list of areas in order";
    members.put("vm_area_struct", "vm_next", (start.plus(word_len.times(2)), word_len), how);
    put_range(word_len, start, members, how);
    Some(found)
}

/// `mm_mt` is a tree of areas, each at the addresses that its `vm_start` and `vm_end`
/// say.
fn by_tree<'p>(
    memory: &Memory<'_>,
    processes: &'p [Process],
    members: &mut Members,
) -> Option<Vec<Areas<'p>>> {
    let word_len = memory.word_len();
    let tree = |process: &'p Process, at: u64| {
        let entries = entries(memory, process.mm.word(at)?)?;
        let is_complete = entries.len() <= MOST;
        let areas = entries.into_iter().take(MOST).map(|entry| {
            let area = area(memory, entry.pointer, 0)?;
            (area.start == entry.first && area.end == entry.last.wrapping_add(1)).then_some(area)
        });
        let areas: Vec<Area> = areas.collect::<Option<_>>()?;
        (areas.len() > 2).then_some(Areas { process, list: areas, is_complete })
    };
    let trees = |at: u64| processes.iter().filter_map(|one| tree(one, at)).collect::<Vec<_>>();
    let mut places = offsets(0..NEAR, word_len, |at| {
        let roots = processes.iter().filter_map(|one| one.mm.word(at));
        nearly_all(roots, |root| is_root(memory, *root))
    });
    // A tree may be torn as the guest is stopped while it changes.
    let (at, found) = places.find_map(|at| {
        let found = trees(at);
        (found.len() >= processes.len().minus(processes.len() / 10)).then_some((at, found))
    })?;
    let how = "maple tree of areas";
    members.put("mm_struct", "mm_mt.ma_root", (at, word_len), how);
    put_beginning(processes, at, word_len, members);
    put_nodes(word_len, members);
    put_range(word_len, 0, members, how);
    Some(found)
}

/// Where the tree begins whose `ma_root` is at `at`: with a lock, which has four bytes but in
/// real-time kernels and such that debug locks. `ma_flags` tell: since 6.8 they are between both
/// (include/linux/maple_tree.h), where a cache line begins; formerly after the root, and the
/// tree was the first member.
fn put_beginning(processes: &[Process], at: u64, word_len: u64, members: &mut Members) {
    const CACHE_LINE: u64 = 64;
    // MM_MT_FLAGS: MT_FLAGS_ALLOC_RANGE and MT_FLAGS_LOCK_EXTERN.
    const FLAGS: u64 = 0x301;
    let are_flags = |at: u64| {
        nearly_all(processes.iter(), |one| one.mm.u32(at).is_some_and(|it| it & FLAGS == FLAGS))
    };
    let between =
        at.checked_sub(8).filter(|tree| tree.is_multiple_of(CACHE_LINE) && are_flags(tree.plus(4)));
    let first = (at == word_len && are_flags(at.plus(word_len))).then_some(0);
    let Some(tree) = between.or(first) else {
        members.miss("maple_tree.ma_root", "how long the lock before it is does not show");
        return;
    };
    let how = "after a lock of four bytes, as the flags show";
    members.put("maple_tree", "ma_root", (at.minus(tree), word_len), how);
    members.put_unsized("mm_struct", "mm_mt", tree, "a lock of four bytes before ma_root");
}

/// Whether a word may be the root of a tree with a node: `maple_leaf_64`,
/// `maple_range_64` or `maple_arange_64`.
fn is_root(memory: &Memory<'_>, root: u64) -> bool {
    root & 3 == 2 && (1..=3).contains(&((root >> 3) & 0xf)) && memory.is_pointer(root & !0xff)
}

/// Entries of a tree; `None` if it is no tree, or torn.
fn entries(memory: &Memory<'_>, root: u64) -> Option<Vec<maple::MapleEntry>> {
    let read = |at: u64, buf: &mut [u8]| memory.fill(at, buf);
    is_root(memory, root).then_some(())?;
    let tree = maple::entries(root, usize::try_from(memory.word_len()).ok()?, &read);
    (tree.broken_nodes == 0).then_some(tree.entries)
}

/// Nodes have 256 bytes: a parent, pivots, one slot more, and those for free ranges
/// have as many gaps.
fn put_nodes(word_len: u64, members: &mut Members) {
    const NODE: u64 = 256;
    let how = "walked all trees of areas";
    let range = NODE.checked_div(word_len.times(2)).unwrap_or(0);
    let arange = NODE.checked_div(word_len).unwrap_or(0).minus(1) / 3;
    for (node, slots) in [("maple_range_64", range), ("maple_arange_64", arange)] {
        members.put(node, "parent", (0, word_len), how);
        members.put(node, "pivot", (word_len, slots.minus(1).times(word_len)), how);
        members.put(node, "slot", (slots.times(word_len), slots.times(word_len)), how);
    }
}

fn put_range(word_len: u64, start: u64, members: &mut Members, how: &str) {
    members.put("vm_area_struct", "vm_start", (start, word_len), how);
    members.put("vm_area_struct", "vm_end", (start.plus(word_len), word_len), how);
}

/// An area whose `vm_start` is at `start`, if it may be one.
fn area(memory: &Memory<'_>, gva: u64, start: u64) -> Option<Area> {
    memory.is_pointer(gva).then_some(())?;
    let shot = Shot::take(memory, gva, 0, AREA_LEN);
    let (from, to) = (shot.word(start)?, shot.word(start.plus(memory.word_len()))?);
    let is_fine = from < to && (from | to).is_multiple_of(4096) && to <= memory.lowest();
    is_fine.then_some(Area { start: from, end: to, shot })
}

/// `map_count`, if processes have different numbers of areas.
fn count(all: &[Areas<'_>], members: &mut Members) {
    let all: Vec<&Areas<'_>> = all.iter().filter(|areas| areas.is_complete).collect();
    let first = all.first().map(|areas| areas.list.len());
    let differ = all.iter().any(|areas| Some(areas.list.len()) != first);
    let end = all.iter().map(|areas| areas.process.mm.len()).min().unwrap_or(0);
    let is_count = |at: u64| {
        nearly_all(all.iter(), |areas| areas.process.mm.u32(at) == Some(areas.list.len() as u64))
    };
    if let Some(at) = only(offsets(0..end, 4, is_count)).filter(|_| differ) {
        members.put("mm_struct", "map_count", (at, 4), "as many as there are areas");
    } else {
        members.miss("mm_struct.map_count", "no number is that of areas");
    }
}

/// `vm_mm` leads back to the `mm_struct`; after it and `vm_page_prot` are `vm_flags`,
/// of which those of the stack and of the code are known.
fn inside(memory: &Memory<'_>, all: &[Areas<'_>], members: &mut Members) -> Option<()> {
    let word_len = memory.word_len();
    let areas = || all.iter().flat_map(|areas| areas.list.iter().map(move |area| (areas, area)));
    let is_mm =
        |at: u64| areas().all(|(areas, area)| area.shot.word(at) == Some(areas.process.mm.gva));
    let mm = only(offsets(0..AREA_LEN, word_len, is_mm))?;
    members.put("vm_area_struct", "vm_mm", (mm, word_len), "leads back to the mm_struct");
    let (stack, code) =
        (members.at("mm_struct", "start_stack")?, members.at("mm_struct", "end_code")?);
    let flags_at =
        |areas: &Areas<'_>, address: Option<u64>, at: u64| areas.at(address?)?.shot.word(at);
    let are_flags = |at: u64| {
        let of_stack = |areas: &&Areas<'_>| {
            let flags = flags_at(areas, areas.process.mm.word(stack), at).unwrap_or(0);
            flags & (READ | WRITE | GROWS_DOWN) == READ | WRITE | GROWS_DOWN
        };
        let of_code = |areas: &&Areas<'_>| {
            let last = areas.process.mm.word(code).and_then(|end| end.checked_sub(1));
            let flags = flags_at(areas, last, at).unwrap_or(0);
            flags & (READ | WRITE | EXEC | GROWS_DOWN) == READ | EXEC
        };
        let allowed = |(_, area): &(_, &Area)| {
            let flags = area.shot.word(at).unwrap_or(u64::MAX);
            let has = flags & (READ | WRITE | EXEC);
            (flags >> MAY) & has == has
        };
        nearly_all(all.iter(), of_stack)
            && nearly_all(all.iter(), of_code)
            && nearly_all(areas(), allowed)
    };
    let at = only(offsets(0..AREA_LEN, word_len, are_flags))?;
    members.put("vm_area_struct", "vm_flags", (at, word_len), "tell the stack from the code");
    Some(())
}
