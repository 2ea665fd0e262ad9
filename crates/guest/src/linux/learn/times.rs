//! When tasks were started: what grows from process to process.
//!
//! | kernel | `start_time` |
//! |---|---|
//! | 2.6 | a `timespec`: seconds and nanoseconds in two words |
//! | 2.6.23 to 3.16 | the same, and `real_start_time` after it |
//! | 3.17 | nanoseconds, and `real_start_time` or `start_boottime` after it |
//!
//! In 2.4 it counts ticks, whose length the data does not show.

use vmss2core_mem::Sums;

use super::members::{Members, offsets, only};
use super::memory::Shot;
use super::sample::Sample;

/// Nine years in nanoseconds.
const LONGEST_UPTIME: u64 = 1 << 58;
const SECOND: u64 = 1_000_000_000;
/// Few times end so soon after a full second; small numbers are no nanoseconds.
const SMALL: u64 = 1 << 16;

pub(super) fn learn(word_len: u64, sample: &Sample, members: &mut Members) {
    let times = Times { word_len, sample };
    let found = range(members).and_then(|range| {
        times
            .two_timespecs(range.clone(), members)
            .or_else(|| times.nanoseconds(range.clone(), members))
            .or_else(|| times.timespec(range, members))
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
        let steps = times.windows(2);
        let falls = steps.clone().filter(|pair| pair.first() > pair.last()).count();
        let rises = steps.filter(|pair| pair.first() < pair.last()).count();
        falls <= times.len() / 20 && rises.times(2) > times.len() && *last < LONGEST_UPTIME
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
        self.grow(|task| self.time(task, at))
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
}
