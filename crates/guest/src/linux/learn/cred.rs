//! Who a task is: `real_cred`, `cred` and the numbers in them. Until 2.6.28 the numbers
//! are in the task itself.

use vmss2core_mem::Sums;

use super::members::{Members, offsets, only};
use super::memory::{Memory, Shot};
use super::sample::Sample;
use super::tasks::nearly_all;

/// `real_cred` and `cred`, and what may lie between them and `comm`.
const BEFORE_COMM: u64 = 12;
/// How much of a `struct cred` is looked at.
const LEN: u64 = 0x80;
/// The numbers, in their order in `struct cred`.
const NUMBERS: [&str; 8] = ["uid", "gid", "suid", "sgid", "euid", "egid", "fsuid", "fsgid"];
/// The same in their order in a task.
const OWN_NUMBERS: [&str; 8] = ["uid", "euid", "suid", "fsuid", "gid", "egid", "sgid", "fsgid"];
/// Kernels have known at least 34 capabilities since 2.6.25, and at most 64.
const CAPABILITIES: std::ops::RangeInclusive<u32> = 34..=64;
/// `CAP_SETPCAP`, which the kernel itself lacked until 2.6.38 or so.
const SET_CAPABILITIES: u64 = 1 << 8;
/// Groups that a task of 2.4 had room for (`NGROUPS`).
const GROUPS: u64 = 32;

pub(super) fn learn(memory: &Memory<'_>, sample: &Sample, members: &mut Members) {
    let has_pointers = pointers(memory, sample, members).is_some();
    if has_pointers && numbers(memory, sample, members).is_some() {
        return;
    }
    if own_numbers(memory, sample, members).is_some() {
        members.forget("task_struct", &["real_cred", "cred"]);
    } else if has_pointers {
        members.miss("cred.uid", "the capabilities of root were not found");
    } else {
        members.miss("task_struct.cred", "no two equal pointers are before comm");
    }
}

/// `uid` to `fsgid` of a task, then its groups (a pointer, or in 2.4 their number and
/// themselves), then the capabilities: of threads of the kernel all are permitted, none are
/// inherited. There were 32 of them until 2.6.24.
fn own_numbers(memory: &Memory<'_>, sample: &Sample, members: &mut Members) -> Option<()> {
    let word_len = memory.word_len();
    let (from, comm) = (members.task("real_parent")?, members.task("comm")?);
    let is_root =
        |task: &Shot, uid: u64| (0..8).all(|index| task.u32(uid.plus(index.times(4))) == Some(0));
    let has_all = |task: &Shot, at: u64, len: u64| {
        let full = if len == 8 { u64::MAX } else { u64::from(u32::MAX) };
        let set = |index: u64| task.number(at.plus(len.times(index)), len);
        set(0).is_some_and(|effective| effective | SET_CAPABILITIES == full)
            && set(1) == Some(0)
            && set(2).is_some_and(|permitted| permitted | SET_CAPABILITIES == full)
    };
    let place = |at: u64, len: u64| {
        let groups = at.checked_sub(word_len)? & !word_len.minus(1);
        let has_groups = |task: &&Shot| {
            let groups = task.word(groups);
            has_all(task, at, len) && groups.is_some_and(|groups| memory.is_pointer(groups))
        };
        let with_pointer =
            groups.checked_sub(32).filter(|_| nearly_all(sample.kernel(), has_groups));
        let with_room = || {
            let uid = at.checked_sub(GROUPS.times(4).plus(4).plus(32))?;
            let has_room =
                |task: &&Shot| has_all(task, at, len) && task.u32(at.minus(4)) == Some(0);
            nearly_all(sample.kernel(), has_room).then_some(uid)
        };
        let uid = with_pointer.or_else(with_room).filter(|uid| *uid > from)?;
        nearly_all(sample.kernel(), |task| is_root(task, uid)).then_some(uid)
    };
    let mut found = offsets(from..comm.plus(0x100), 4, |_| true);
    let uid = found.find_map(|at| [4, 8].into_iter().find_map(|len| place(at, len)))?;
    for (name, index) in OWN_NUMBERS.iter().zip(0..) {
        let how = "before the groups and capabilities of threads of the kernel";
        members.put("task_struct", name, (uid.plus(index.times(4)), 4), how);
    }
    Some(())
}

/// Two equal pointers in all tasks, not to the task itself as those of an empty list; the
/// object is shared by few, as other objects that two neighbours might lead to are not.
fn pointers(memory: &Memory<'_>, sample: &Sample, members: &mut Members) -> Option<()> {
    let (word_len, comm) = (memory.word_len(), members.task("comm")?);
    let is_pair = |at: u64| {
        let is_pair = |task: &&Shot| {
            let cred = task.word(at).filter(|cred| memory.is_pointer(*cred));
            let is_own = cred.is_some_and(|cred| cred.wrapping_sub(task.gva) < comm);
            cred.is_some() && !is_own && cred == task.word(at.plus(word_len))
        };
        // Overridden credentials are rare and short.
        nearly_all(sample.tasks.iter(), is_pair)
    };
    let from = comm.checked_sub(BEFORE_COMM.times(word_len))?;
    let at = only(offsets(from..comm.minus(word_len), word_len, is_pair))?;
    members.put("task_struct", "real_cred", (at, word_len), "two equal pointers before comm");
    members.put("task_struct", "cred", (at.plus(word_len), word_len), "equal to real_cred");
    Some(())
}

/// Threads of the kernel have all capabilities: `cap_permitted`, `cap_effective` and
/// `cap_bset` are all ones, but for one that old kernels take from themselves;
/// `cap_inheritable` before them is empty. The
/// eight numbers and `securebits` are before that, and before them `usage`, which
/// grew from 4 to 8 bytes in 6.7 and in distributions' updates.
fn numbers(memory: &Memory<'_>, sample: &Sample, members: &mut Members) -> Option<()> {
    let cred = members.task("cred")?;
    let take = |task: &Shot| Some(Shot::take(memory, task.word(cred)?, 0, LEN));
    let of_kernel: Vec<Shot> = sample.kernel().filter_map(take).collect();
    let is_permitted = |at: u64| {
        let all = |cred: &&Shot| {
            let set = cred.u64(at).unwrap_or(0) | SET_CAPABILITIES;
            let is_set = |other: u64| other | SET_CAPABILITIES == set;
            let is_full =
                CAPABILITIES.contains(&set.trailing_ones()) && set & set.wrapping_add(1) == 0;
            is_full
                && cred.u64(at.minus(8)) == Some(0)
                && [8, 16].iter().all(|more| cred.u64(at.plus(*more)).is_some_and(is_set))
        };
        nearly_all(of_kernel.iter(), all)
    };
    let permitted = only(offsets(0x20..LEN, 4, is_permitted))?;
    // A capability set was an array of 4 bytes' numbers until 6.2, and may be aligned
    // so still.
    let inheritable = permitted.minus(8);
    let start = |gap: u64| {
        inheritable.checked_sub(gap.plus(4).plus(32)).filter(|uid| *uid == 4 || *uid == 8)
    };
    let uid = start(0).or_else(|| start(4))?;
    let are_root = |cred: &&Shot| (0..8).all(|index| cred.u32(uid.plus(index.times(4))) == Some(0));
    if !nearly_all(of_kernel.iter(), are_root) {
        return None;
    }
    for (name, index) in NUMBERS.iter().zip(0..) {
        members.put("cred", name, (uid.plus(index.times(4)), 4), "before the capabilities of root");
    }
    for (name, index) in
        ["cap_inheritable", "cap_permitted", "cap_effective", "cap_bset"].iter().zip(0..)
    {
        members.put("cred", name, (inheritable.plus(index.times(8)), 8), "all ones for root");
    }
    Some(())
}
