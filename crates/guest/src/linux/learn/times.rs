//! When tasks were started: what grows from process to process.
//!
//! | kernel | `start_time` |
//! |---|---|
//! | 2.6 | a `timespec`: seconds and nanoseconds in two words |
//! | 2.6.23 to 3.16 | the same, and `real_start_time` after it |
//! | 3.17 | nanoseconds, and `real_start_time` or `start_boottime` after it |
//!
//! In 2.4 it counts ticks, and follows what a task has used of the processors (`times`); what it
//! has used of each comes after it.

use vmss2core_mem::Sums;

use super::members::{Members, offsets, only};
use super::memory::Shot;
use super::sample::Sample;

/// Nine years in nanoseconds.
const LONGEST_UPTIME: u64 = 1 << 58;
const SECOND: u64 = 1_000_000_000;
/// Few times end so soon after a full second; small numbers are no nanoseconds.
const SMALL: u64 = 1 << 16;
/// Processors that kernels of 2.4 were built for (`NR_CPUS`).
const CPUS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

pub(super) fn learn(word_len: u64, sample: &Sample, members: &mut Members) {
    let times = Times { word_len, sample };
    let found = range(members).and_then(|range| {
        times
            .two_timespecs(range.clone(), members)
            .or_else(|| times.nanoseconds(range.clone(), members))
            .or_else(|| times.timespec(range.clone(), members))
            .or_else(|| times.ticks(range, members))
    });
    if found.is_none() {
        members.miss("task_struct.start_time", "no times grow from process to process");
    }
}

/// Between the family and the name.
fn range(members: &Members) -> Option<std::ops::Range<u64>> {
    let family = members.task("group_leader").or_else(|| members.task("real_parent"))?;
    Some(family..members.task("comm")?)
}

struct Times<'s> {
    word_len: u64,
    sample: &'s Sample,
}

impl Times<'_> {
    /// Whether a time is 0 for the first task and grows from process to process.
    fn grow(&self, time: impl Fn(&Shot) -> Option<u64>) -> bool {
        let tasks = self.sample.tasks.iter().take(self.sample.in_order);
        let times: Vec<u64> = tasks.map(time).collect::<Option<_>>().unwrap_or_default();
        let (Some(0), Some(last)) = (times.first(), times.last()) else { return false };
        let (falls, rises) = steps(&times);
        falls <= times.len() / 20 && rises.times(2) > times.len() && *last < LONGEST_UPTIME
    }

    /// Whether a time is 0 for the first task and never falls: many processes start in the
    /// same tick, which is all that some clocks show.
    fn never_falls(&self, time: impl Fn(&Shot) -> Option<u64>) -> bool {
        let tasks = self.sample.tasks.iter().take(self.sample.in_order);
        let times: Vec<u64> = tasks.map(time).collect::<Option<_>>().unwrap_or_default();
        let (falls, rises) = steps(&times);
        let is_fine = times.last().is_some_and(|last| *last < LONGEST_UPTIME);
        times.first() == Some(&0) && falls == 0 && rises.times(4) > times.len() && is_fine
    }

    /// The time of a `timespec`.
    fn time(&self, task: &Shot, at: u64) -> Option<u64> {
        let (seconds, nanoseconds) = (task.word(at)?, task.word(at.plus(self.word_len))?);
        let is_time = seconds < LONGEST_UPTIME / SECOND && nanoseconds < SECOND;
        is_time.then(|| seconds.times(SECOND).plus(nanoseconds))
    }

    fn is_timespec(&self, at: u64) -> bool {
        let tasks = &self.sample.tasks;
        let is_fine = |task: &&Shot| {
            let nanoseconds = task.word(at.plus(self.word_len));
            nanoseconds.is_some_and(|nanoseconds| nanoseconds >= SMALL)
        };
        let time = |task: &Shot| self.time(task, at);
        (self.grow(time) || self.never_falls(time))
            && tasks.iter().filter(is_fine).count().times(2) > tasks.len()
    }

    fn put_timespec(
        &self,
        members: &mut Members,
        (seconds, nanoseconds): (&'static str, &'static str),
        at: u64,
    ) {
        let how = "seconds and nanoseconds that grow from process to process";
        members.put("task_struct", seconds, (at, self.word_len), how);
        members.put("task_struct", nanoseconds, (at.plus(self.word_len), self.word_len), how);
    }

    fn two_timespecs(&self, range: std::ops::Range<u64>, members: &mut Members) -> Option<()> {
        let second = |at: u64| at.plus(self.word_len.times(2));
        let are_two = |at: u64| {
            let no_less = |task: &&Shot| self.time(task, second(at)) >= self.time(task, at);
            self.is_timespec(at)
                && self.is_timespec(second(at))
                && self.sample.tasks.iter().all(|task| no_less(&task))
        };
        let at = offsets(range, self.word_len, are_two).next()?;
        self.put_timespec(members, ("start_time.tv_sec", "start_time.tv_nsec"), at);
        let real = ("real_start_time.tv_sec", "real_start_time.tv_nsec");
        self.put_timespec(members, real, second(at));
        Some(())
    }

    fn timespec(&self, range: std::ops::Range<u64>, members: &mut Members) -> Option<()> {
        let at = offsets(range, self.word_len, |at| self.is_timespec(at)).next()?;
        self.put_timespec(members, ("start_time.tv_sec", "start_time.tv_nsec"), at);
        Some(())
    }

    fn nanoseconds(&self, range: std::ops::Range<u64>, members: &mut Members) -> Option<()> {
        let are_two = |at: u64| {
            let no_less = |task: &&Shot| task.u64(at.plus(8)) >= task.u64(at);
            self.grow(|task| task.u64(at))
                && self.grow(|task| task.u64(at.plus(8)))
                && self.sample.tasks.iter().all(|task| no_less(&task))
        };
        let at = only(offsets(range, self.word_len, are_two))?;
        members.put("task_struct", "start_time", (at, 8), "grows from process to process");
        for name in ["start_boottime", "real_start_time"] {
            members.put("task_struct", name, (at.plus(8), 8), "grows with start_time");
        }
        Some(())
    }

    /// Ticks of 2.4, after `tms_utime`, `tms_stime` and those of children, and before
    /// `per_cpu_utime` and `per_cpu_stime`, which are as much together as the first two. A
    /// kernel for one processor lets tasks inherit the latter from their parents.
    fn ticks(&self, range: std::ops::Range<u64>, members: &mut Members) -> Option<()> {
        let word_len = self.word_len;
        let parent = members.task("real_parent")?;
        let are_ticks = |at: u64| {
            self.never_falls(|task| task.word(at))
                && CPUS.into_iter().any(|cpus| self.are_times(at, cpus, parent))
        };
        let range = range.start.plus(word_len.times(4))..range.end;
        let at = only(offsets(range, word_len, are_ticks))?;
        let how = "never falls from task to task, between times of processors";
        members.put("task_struct", "start_time", (at, word_len), how);
        Some(())
    }

    /// Whether the times before a place are those of so many processors after it.
    fn are_times(&self, at: u64, cpus: u64, parent: u64) -> bool {
        let word_len = self.word_len;
        let (user, system) = (at.plus(word_len), at.plus(word_len.times(cpus.plus(1))));
        let kinds = [(at.minus(word_len.times(4)), user), (at.minus(word_len.times(3)), system)];
        kinds.into_iter().all(|(own, first)| {
            let sum = |task: &Shot| {
                let mut words = (0..cpus).map(|cpu| task.word(first.plus(cpu.times(word_len))));
                words.try_fold(0_u64, |sum, word| Some(sum.plus(word?)))
            };
            let inherited = |task: &Shot| match cpus {
                1 => self.task_at(task.word(parent)?).and_then(&sum),
                _ => Some(0),
            };
            let is_sum = |task: &Shot| {
                let more = sum(task)?.checked_sub(task.word(own)?)?;
                (more <= inherited(task).unwrap_or(0)).then_some(())
            };
            let tells = |task: &Shot| task.word(own).is_some_and(|time| time != 0);
            let tasks = &self.sample.tasks;
            tasks.iter().all(|task| is_sum(task).is_some()) && tasks.iter().any(tells)
        })
    }

    fn task_at(&self, gva: u64) -> Option<&Shot> {
        self.sample.tasks.iter().find(|task| task.gva == gva)
    }
}

/// How often a time falls, and how often it rises.
fn steps(times: &[u64]) -> (usize, usize) {
    let steps = times.windows(2);
    let falls = steps.clone().filter(|pair| pair.first() > pair.last()).count();
    (falls, steps.filter(|pair| pair.first() < pair.last()).count())
}
