//! Who a task is: `real_cred`, `cred` and the numbers in them.

use vmss2core_mem::Sums;

use super::members::{Members, offsets, only};
use super::memory::{Memory, Shot};
use super::sample::Sample;
use super::tasks::nearly_all;

/// `real_cred` and `cred`, and what may lie between them and `comm`.
const BEFORE_COMM: u64 = 6;
/// How much of a `struct cred` is looked at.
const LEN: u64 = 0x80;
/// The numbers, in their order.
const NUMBERS: [&str; 8] = ["uid", "gid", "suid", "sgid", "euid", "egid", "fsuid", "fsgid"];
/// Kernels have known at least 34 capabilities since 2.6.25, and at most 64.
const CAPABILITIES: std::ops::RangeInclusive<u32> = 34..=64;

pub(super) fn learn(memory: &Memory<'_>, sample: &Sample, members: &mut Members) {
    if pointers(memory, sample, members).is_none() {
        members.miss("task_struct.cred", "no two equal pointers are before comm");
    } else if numbers(memory, sample, members).is_none() {
        members.miss("cred.uid", "the capabilities of root were not found");
    }
}

/// Two equal pointers in all tasks; the object is shared by few, as other objects
/// that two neighbours might lead to are not.
fn pointers(memory: &Memory<'_>, sample: &Sample, members: &mut Members) -> Option<()> {
    let (word_len, comm) = (memory.word_len(), members.task("comm")?);
    let is_pair = |at: u64| {
        let is_pair = |task: &&Shot| {
            let cred = task.word(at).filter(|cred| memory.is_pointer(*cred));
            cred.is_some() && cred == task.word(at.plus(word_len))
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
/// `cap_bset` are equal and all ones, `cap_inheritable` before them is empty. The
/// eight numbers and `securebits` are before that, and before them `usage`, which
/// grew from 4 to 8 bytes in 6.7 and in distributions' updates.
fn numbers(memory: &Memory<'_>, sample: &Sample, members: &mut Members) -> Option<()> {
    let cred = members.task("cred")?;
    let take = |task: &Shot| Some(Shot::take(memory, task.word(cred)?, 0, LEN));
    let of_kernel: Vec<Shot> = sample.kernel().filter_map(take).collect();
    let is_permitted = |at: u64| {
        let all = |cred: &&Shot| {
            let set = cred.u64(at).unwrap_or(0);
            let is_full =
                CAPABILITIES.contains(&set.trailing_ones()) && set & set.wrapping_add(1) == 0;
            is_full
                && cred.u64(at.minus(8)) == Some(0)
                && [8, 16].iter().all(|more| cred.u64(at.plus(*more)) == Some(set))
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
