//! Members of `task_struct` that the processes' leaders show.

use vmss2core_mem::Sums;

use super::members::{Members, offsets, only};
use super::memory::{Memory, Shot};
use super::sample::Sample;

/// `STACK_END_MAGIC` (`include/uapi/linux/magic.h`), at the lowest address of a
/// stack, or after the `thread_info` that was there until 4.8.
pub(in crate::linux) const STACK_END_MAGIC: u64 = 0x57ac_6e9d;
/// How far a `thread_info` reaches.
pub(in crate::linux) const THREAD_INFO: u64 = 0x100;
/// `PF_KTHREAD`, since 2.6.27.
const PF_KTHREAD: u64 = 0x20_0000;
/// `SIGCHLD`, what nearly all leaders end with.
const SIGCHLD: u64 = 17;
/// `EXIT_DEAD` and `EXIT_ZOMBIE`, old and new.
const EXIT_STATES: u64 = 0x30;
/// No state has a bit above these (`TASK_STATE_MAX`, 7.x included).
const STATES: u64 = 0xffff_ffff >> 12;
/// States of a task at rest: interruptible, uninterruptible, `TASK_IDLE`.
const AT_REST: [u64; 3] = [1, 2, 0x402];

pub(super) fn learn(memory: &Memory<'_>, sample: &Sample, members: &mut Members) {
    if members.task("mm").is_none() {
        mm(memory, sample, members);
    }
    let lies_in_stack = members.at("task_union", "stack").is_some();
    if !lies_in_stack && stack(memory, sample, members).is_none() {
        members.miss(
            "task_struct.stack",
            "no stacks that lead back to their tasks or end in STACK_END_MAGIC were found",
        );
        return;
    }
    if state(memory.word_len(), sample, members).is_none() {
        members.miss("task_struct.state", "it is not before the stack");
    }
    if flags(memory.word_len(), sample, members).is_none() {
        members.miss("task_struct.flags", "no number has PF_KTHREAD for just the kernel's threads");
    }
    if exit(memory.word_len(), sample, members).is_none() {
        members.miss("task_struct.exit_state", "no number is SIGCHLD as exit_signal is");
    }
}

/// Whether nearly all of them are so: a snapshot may catch one half done.
pub(super) fn nearly_all<T>(of: impl Iterator<Item = T>, is_so: impl Fn(&T) -> bool) -> bool {
    let (mut all, mut so) = (0_usize, 0_usize);
    for one in of {
        all = all.plus(1);
        so = so.plus(usize::from(is_so(&one)));
    }
    all > 0 && so >= all.minus(all / 10)
}

/// `mm` and `active_mm`: equal for processes; the kernel's threads have no `mm`, and
/// an `active_mm` only while they run.
fn mm(memory: &Memory<'_>, sample: &Sample, members: &mut Members) -> Option<()> {
    let (word_len, first) = (memory.word_len(), sample.first()?);
    let (tasks, pid) = (members.task("tasks")?, members.task("pid")?);
    let is_mm = |at: u64| {
        let is_pair = |task: &&Shot| match task.word(at) {
            Some(0) => true,
            Some(mm) => memory.is_pointer(mm) && task.word(at.plus(word_len)) == Some(mm),
            None => false,
        };
        let has_one = |task: &&Shot| task.word(at).is_some_and(|mm| mm != 0);
        first.word(at) == Some(0)
            && nearly_all(sample.kernel(), |task| task.word(at) == Some(0))
            && sample.users().all(|task| is_pair(&task))
            && sample.users().any(|task| has_one(&task))
    };
    let found = only(offsets(tasks.plus(word_len.times(2))..pid, word_len, is_mm));
    let Some(at) = found else {
        members.miss("task_struct.mm", "no pointer is null for just the kernel's threads");
        return None;
    };
    let how = "null for threads of the kernel only";
    members.put("task_struct", "mm", (at, word_len), how);
    members.put(
        "task_struct",
        "active_mm",
        (at.plus(word_len), word_len),
        "equal to mm where that is",
    );
    Some(())
}

fn stack(memory: &Memory<'_>, sample: &Sample, members: &mut Members) -> Option<()> {
    let word_len = memory.word_len();
    let magic_at = |stack: u64| {
        offsets(0..THREAD_INFO, word_len, |at| memory.u32(stack.plus(at)) == Some(STACK_END_MAGIC))
            .next()
    };
    let is_stack = |task: &Shot, at| {
        let stack = task.word(at).filter(|stack| stack.is_multiple_of(4096));
        stack.is_some_and(|stack| memory.is_pointer(stack) && magic_at(stack).is_some())
    };
    let holds = |at| nearly_all(sample.tasks.iter(), |task| is_stack(task, at));
    let Some(at) = only(offsets(0..THREAD_INFO, word_len, holds)) else {
        return stack_of_thread_info(memory, sample, members);
    };
    members.put("task_struct", "stack", (at, word_len), "what STACK_END_MAGIC is at the end of");
    let bottom = sample.first()?.word(at)?;
    if magic_at(bottom) == Some(0) {
        // The stack has nothing before its end: `thread_info` begins the task itself.
        members.put_unsized("task_struct", "thread_info", 0, "nothing is below stacks");
        members.put("task_struct", "thread_info.flags", (0, word_len), "nothing is below stacks");
        members.put("thread_info", "flags", (0, word_len), "first member of thread_info");
    }
    Some(())
}

/// Before 2.6.29 nothing marks the end of a stack, but the `thread_info` that is there
/// begins with a pointer to its task.
fn stack_of_thread_info(memory: &Memory<'_>, sample: &Sample, members: &mut Members) -> Option<()> {
    let word_len = memory.word_len();
    let is_stack = |task: &Shot, at| {
        let stack = task.word(at).filter(|stack| stack.is_multiple_of(4096));
        stack.is_some_and(|stack| memory.is_pointer(stack) && memory.word(stack) == Some(task.gva))
    };
    let holds = |at| nearly_all(sample.tasks.iter(), |task| is_stack(task, at));
    let at = only(offsets(0..THREAD_INFO, word_len, holds))?;
    let how = "leads to a thread_info that leads back";
    members.put("task_struct", "stack", (at, word_len), how);
    members.put("thread_info", "task", (0, word_len), "leads back to the task");
    Some(())
}

/// The state is the word before the stack, or since 6.8 on 32 bits the one before
/// `saved_state`; on 64 bits both share a word.
fn state(word_len: u64, sample: &Sample, members: &mut Members) -> Option<()> {
    // In 2.4, where a task lies in its stack, it begins with its state.
    let stack = members.task("stack").unwrap_or(word_len);
    let states = |at| sample.tasks.iter().filter_map(move |task| task.u32(at));
    let is_state = |at: &u64| {
        let (at, all) = (*at, states(*at).count());
        let at_rest = states(at).filter(|state| AT_REST.contains(state)).count();
        states(at).all(|state| state <= STATES) && at_rest > 2 && at_rest.times(2) > all
    };
    let candidates = [stack.checked_sub(word_len), stack.checked_sub(word_len.times(2))];
    let at = candidates.into_iter().flatten().find(is_state)?;
    // Since 5.14 it is called `__state` and no `long`, which the data does not show.
    members.put("task_struct", "state", (at, 4), "at rest for most tasks, before the stack");
    Some(())
}

/// After the stack: `usage` and `flags`, of which PF_KTHREAD is known.
fn flags(word_len: u64, sample: &Sample, members: &mut Members) -> Option<()> {
    let (stack, mm) = (members.task("stack")?, members.task("mm")?);
    let is_flags = |at: u64| {
        let has = |task: &Shot| task.u32(at).is_some_and(|flags| flags & PF_KTHREAD != 0);
        let has_mm = |task: &&Shot| task.word(mm).is_some_and(|mm| mm != 0);
        let users: Vec<&Shot> = sample.users().filter(has_mm).collect();
        sample.kernel().all(has) && !users.is_empty() && !users.into_iter().any(has)
    };
    let at = only(offsets(stack.plus(word_len)..stack.plus(0x40), 4, is_flags))?;
    members.put("task_struct", "flags", (at, 4), "PF_KTHREAD for threads of the kernel only");
    Some(())
}

/// `exit_state`, `exit_code` and `exit_signal` follow each other; the last one is
/// SIGCHLD for what was forked.
fn exit(word_len: u64, sample: &Sample, members: &mut Members) -> Option<()> {
    let (mm, pid) = (members.task("mm")?, members.task("pid")?);
    let is_signal = |at: u64| {
        let not_first = sample.tasks.iter().skip(1);
        let of_exit = |task: &&Shot| {
            task.u32(at) == Some(SIGCHLD)
                && task.u32(at.minus(8)).is_some_and(|v| v & !EXIT_STATES == 0)
        };
        sample.first().is_some_and(|task| task.u32(at) == Some(0)) && nearly_all(not_first, of_exit)
    };
    let at = only(offsets(mm.plus(word_len.times(2)).plus(8)..pid, 4, is_signal))?;
    let how = "SIGCHLD for what was forked";
    members.put("task_struct", "exit_signal", (at, 4), how);
    members.put("task_struct", "exit_code", (at.minus(4), 4), "before exit_signal");
    members.put("task_struct", "exit_state", (at.minus(8), 4), "before exit_code");
    Some(())
}
