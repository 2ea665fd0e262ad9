//! Processes with memory of their own, and what an `mm_struct` holds apart from the
//! areas of memory.

use vmss2core_machine::paging::{AddressSpace, Root};
use vmss2core_mem::{Gpa, Gva, Sums};

use super::members::{Members, offsets, only};
use super::memory::{Memory, Shot};
use super::sample::Sample;
use super::tasks::nearly_all;
use crate::linux::arch;

/// How much of an `mm_struct` is looked at; `cpumask` at its end may be long.
const MM_LEN: u64 = 0xc00;
/// `pgd` is among the first members.
const PGD: u64 = 0x200;
/// More processes are not looked at.
const MOST: usize = 48;
/// A command line and its environment together (`_STK_LIM / 4 * 3`).
const LONGEST_STRINGS: u64 = 6 << 20;
/// `AT_PAGESZ`, which every process is told.
const AT_PAGESZ: u64 = 6;
/// `AT_` types are small numbers, and there are few.
const MOST_AUX: u64 = 64;

/// A process.
#[derive(Debug)]
pub(in crate::linux) struct Process {
    /// Its leader.
    pub(in crate::linux) task: Shot,
    /// Its `mm_struct`.
    pub(super) mm: Shot,
    /// Its memory.
    pub(in crate::linux) space: AddressSpace,
}

/// The processes of the sample, by their page tables; empty if those were not found.
pub(super) fn learn(memory: &Memory<'_>, sample: &Sample, members: &mut Members) -> Vec<Process> {
    let Some(mms) = memory_of(memory, sample, members) else { return Vec::new() };
    let Some(processes) = with_pgd(memory, sample, members, mms) else {
        members.miss("mm_struct.pgd", "no page tables map the kernel as its own do");
        return Vec::new();
    };
    if strings(memory, &processes, members).is_none() {
        members.miss("mm_struct.arg_start", "no addresses are in the order of those of arguments");
    }
    processes
}

/// Leaders with an `mm_struct`, each of those once: the youngest ones first.
fn memory_of(memory: &Memory<'_>, sample: &Sample, members: &Members) -> Option<Vec<(Shot, Shot)>> {
    let at = members.task("mm")?;
    let mut found: Vec<(Shot, Shot)> = Vec::new();
    let tasks: Vec<&Shot> = sample.users().collect();
    for task in tasks.into_iter().rev().take(4 * MOST) {
        let Some(mm) = task.word(at).filter(|mm| memory.is_pointer(*mm)) else { continue };
        if found.len() < MOST && found.iter().all(|(_, known)| known.gva != mm) {
            found.push((task.clone(), Shot::take(memory, mm, 0, MM_LEN)));
        }
    }
    Some(found)
}

/// `pgd` leads to page tables that translate the first task as the kernel's do, and
/// are different for different processes.
fn with_pgd(
    memory: &Memory<'_>,
    sample: &Sample,
    members: &mut Members,
    mms: Vec<(Shot, Shot)>,
) -> Option<Vec<Process>> {
    let space = memory.space();
    let known = Gva(sample.first()?.gva);
    let here = space.translate(known).ok()?.gpa;
    let alignment = arch::root_alignment(space.mode());
    let root = |mm: &Shot, at: u64| {
        let tables = mm.word(at).filter(|tables| tables.is_multiple_of(alignment))?;
        let tables = memory.is_pointer(tables).then_some(tables)?;
        Some(Root(Gpa(space.translate(Gva(tables)).ok()?.gpa.0)))
    };
    let is_pgd = |at: u64| {
        let mut roots: Vec<Root> = mms.iter().filter_map(|(_, mm)| root(mm, at)).collect();
        let maps = |root: &Root| {
            space.with_root(*root).translate(known).is_ok_and(|found| found.gpa == here)
        };
        let all = roots.len() == mms.len() && roots.iter().all(maps);
        roots.sort_unstable_by_key(|root| root.0.0);
        all && roots.windows(2).all(|pair| pair.first() != pair.last()) && !roots.is_empty()
    };
    let at = only(offsets(0..PGD, memory.word_len(), is_pgd))?;
    members.put(
        "mm_struct",
        "pgd",
        (at, memory.word_len()),
        "maps the kernel as its own tables do",
    );
    let process = |(task, mm): (Shot, Shot)| {
        let space = space.with_root(root(&mm, at)?);
        Some(Process { task, mm, space })
    };
    Some(mms.into_iter().filter_map(process).collect())
}

/// `start_code` to `env_end` are eleven addresses in a fixed order; `saved_auxv`
/// follows.
fn strings(memory: &Memory<'_>, processes: &[Process], members: &mut Members) -> Option<()> {
    const NAMES: [&str; 11] = [
        "start_code",
        "end_code",
        "start_data",
        "end_data",
        "start_brk",
        "brk",
        "start_stack",
        "arg_start",
        "arg_end",
        "env_start",
        "env_end",
    ];
    let word_len = memory.word_len();
    let are_they = |mm: &Shot, at: u64| {
        let words = (0..11).map(|index| mm.word(at.plus(index.times(word_len))));
        let Some(words) = words.collect::<Option<Vec<u64>>>() else { return false };
        let &[code, end_code, data, end_data, heap, brk, stack, arg, end_arg, env, end_env] =
            words.as_slice()
        else {
            return false;
        };
        code > 0
            && code < end_code
            && data <= end_data
            && heap <= brk
            && stack < arg
            && arg < end_arg
            && end_arg == env
            && env <= end_env
            && end_env < memory.lowest()
            && end_env.minus(arg) < LONGEST_STRINGS
    };
    let holds = |at| nearly_all(processes.iter(), |process| are_they(&process.mm, at));
    // A neighbour of the same kind follows each mm_struct, so the first place counts.
    let at = offsets(0..MM_LEN.minus(word_len.times(11)), word_len, holds).next()?;
    for (name, index) in NAMES.iter().zip(0..) {
        members.put(
            "mm_struct",
            name,
            (at.plus(index.times(word_len)), word_len),
            "eleven addresses in order",
        );
    }
    let auxv = at.plus(word_len.times(11));
    if nearly_all(processes.iter(), |process| is_auxv(&process.mm, auxv, word_len)) {
        members.put_unsized("mm_struct", "saved_auxv", auxv, "pairs after env_end, with AT_PAGESZ");
    }
    Some(())
}

/// Whether pairs are there that end, and say that pages have 4096 bytes. A 32-bit
/// process has shorter ones on a 64-bit kernel.
fn is_auxv(mm: &Shot, at: u64, word_len: u64) -> bool {
    [word_len, 4].into_iter().any(|len| {
        let pairs = (0..MOST_AUX).map(|index| {
            let at = at.plus(len.times(2).times(index));
            Some((mm.number(at, len)?, mm.number(at.plus(len), len)?))
        });
        let pairs: Vec<(u64, u64)> =
            pairs.map_while(|pair| pair.filter(|pair| pair.0 != 0)).collect();
        pairs.contains(&(AT_PAGESZ, 4096)) && (pairs.len() as u64) < MOST_AUX
    })
}
