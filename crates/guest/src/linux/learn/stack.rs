//! Where a task that does not run left its kernel stack.

use vmss2core_mem::Sums;

use super::members::{Members, offsets, only};
use super::memory::{Memory, Shot};
use super::sample::Sample;
use super::tasks::nearly_all;

/// No stack is larger (64 bits, KASAN).
const LARGEST: u64 = 32 << 10;
/// The smallest ones, of 32 bits.
const SMALLEST: u64 = 4 << 10;

/// Finds the one member of a task that leads to where its own stack ends now: not
/// always to its top, as `sp0` does. Returns how large stacks are.
pub(super) fn learn(memory: &Memory<'_>, sample: &Sample, members: &mut Members) -> Option<u64> {
    let (word_len, comm) = (memory.word_len(), members.task("comm")?);
    let state = members.task("state")?;
    let at_rest = |task: &Shot| task.u32(state).is_some_and(|state| state != 0);
    // What has ended has no stack any more.
    let with_stack = |task| Some((task, Sample::stack_of(task, members)?));
    let at_rest: Vec<(&Shot, u64)> =
        sample.tasks.iter().filter(|task| at_rest(task)).filter_map(with_stack).collect();
    let depth = |(task, stack): &(&Shot, u64), at| task.word(at)?.checked_sub(*stack);
    let is_depth = |depth: u64| (1..LARGEST).contains(&depth) && depth.is_multiple_of(word_len);
    let is_sp = |at: u64| {
        let first = at_rest.first().and_then(|task| depth(task, at));
        let differs = at_rest.iter().any(|task| depth(task, at) != first);
        differs && nearly_all(at_rest.iter(), |task| depth(task, at).is_some_and(is_depth))
    };
    let end = at_rest.iter().map(|(task, _)| task.len()).min()?;
    let Some(at) = only(offsets(comm.plus(16)..end, word_len, is_sp)) else {
        members.miss("task_struct.thread.sp", "nothing leads into the stacks of tasks at rest");
        return None;
    };
    let how = "leads into the stacks of tasks at rest";
    members.put("task_struct", "thread.sp", (at, word_len), how);
    let deepest =
        at_rest.iter().filter_map(|task| depth(task, at)).filter(|depth| is_depth(*depth)).max()?;
    Some(deepest.plus(1).checked_next_power_of_two()?.max(SMALLEST))
}
