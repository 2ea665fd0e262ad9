//! The time in the guest.
//!
//! The kernel's timekeeper (kernel/time/timekeeping.c) holds the time of the
//! last tick and how far the clocks are apart. It is in `tk_core`, since 7.0 in
//! `timekeeper_data`, after a sequence counter. Where it is not to be found the
//! checkpoint says when it was made, and the log how long the guest ran at least.

use vmss2core_mem::{Found, Gva};

use super::{Kernel, Object};
use crate::model::{Clock, Log};

const SECOND: i128 = 1_000_000_000;
/// A real clock is after 2001 and before 2096; others are damage.
const REAL: std::ops::Range<i128> = 1_000_000_000 * SECOND..4_000_000_000 * SECOND;
/// Structures that the timekeeper is the second member of.
const HOLDERS: [&str; 2] = ["tk_core", "timekeeper_data"];

impl Kernel {
    /// The time in the guest: by its own clock, else from the checkpoint
    /// and the last message of the `log`.
    pub fn clock(&self, log: Option<&Log>) -> Clock {
        HOLDERS
            .iter()
            .find_map(|holder| self.timekeeper(holder))
            .unwrap_or_else(|| self.estimate(log))
    }

    fn timekeeper(&self, holder: &'static str) -> Option<Clock> {
        let symbol = self.symbol(holder).ok()?;
        self.timekeeper_places().into_iter().find_map(|inside| {
            let at = Gva(symbol.value.0.wrapping_add(inside));
            self.clock_of(at, &format!("{holder} at {}, {}", symbol.value, symbol.how))
        })
    }

    /// Where the timekeeper can be in what holds it, by likelihood: after a sequence
    /// counter, which has a pointer to its lock on kernels with PREEMPT_RT or lockdep.
    fn timekeeper_places(&self) -> Vec<u64> {
        let layout = self.layout();
        let stated = layout.member("tk_data", "timekeeper").map(|found| found.value.offset_bytes);
        let counter = layout.size_of("seqcount_raw_spinlock").map(|size| size.value);
        let word = self.word_len();
        let counter = counter.and_then(|size| size.checked_next_multiple_of(word));
        stated.into_iter().chain(counter).chain([word, word.saturating_mul(2)]).collect()
    }

    /// Reads the timekeeper at an address, if it is one.
    fn clock_of(&self, at: Gva, how: &str) -> Option<Clock> {
        let keeper = self.object(at, "timekeeper");
        let now = i128::from(keeper.uint("xtime_sec").ok()?).saturating_mul(SECOND);
        let since_boot = i128::from(keeper.uint("ktime_sec").ok()?).saturating_mul(SECOND);
        let (real, asleep) = (signed(&keeper, "offs_real"), signed(&keeper, "offs_boot"));
        let boot = real?.saturating_sub(asleep?);
        // Whole seconds are not far from the exact difference, or it is no clock.
        let exact = now
            .saturating_sub(since_boot)
            .saturating_sub(asleep?)
            .saturating_sub(boot)
            .saturating_abs()
            <= 2 * SECOND;
        if !REAL.contains(&now) || !REAL.contains(&boot) || !exact {
            return None;
        }
        Some(Clock {
            now_unix: Some(Found::new(u64::try_from(now / SECOND).ok()?, how)),
            boot_unix_ns: Some(Found::new(u64::try_from(boot).ok()?, how)),
            uptime_ns: Some(Found::new(
                u64::try_from(since_boot.saturating_add(asleep?)).ok()?,
                how,
            )),
        })
    }

    fn estimate(&self, log: Option<&Log>) -> Clock {
        let last = log.and_then(|log| log.records.iter().filter_map(|record| record.time_ns).max());
        let uptime = last.map(|last| Found::new(last, "the last message of the log, at least"));
        let made = self.checkpoint().about.machine.suspended_unix;
        let boot = made.zip(last).and_then(|(made, last)| {
            let boot = made.checked_mul(1_000_000_000)?.checked_sub(last)?;
            let how = "when the checkpoint was made less the time of the last message, at most";
            Some(Found::new(boot, how))
        });
        let made = made.map(|made| Found::new(made, "when the checkpoint was made"));
        Clock { now_unix: made, boot_unix_ns: boot, uptime_ns: uptime }
    }
}

/// A `ktime_t`.
fn signed(object: &Object<'_>, member: &str) -> Option<i128> {
    Some(i128::from(object.uint(member).ok()?.cast_signed()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vmss2core_machine::Checkpoint;
    use vmss2core_mem::{Gpa, PhysicalMemory};

    use super::*;
    use crate::linux::{BetterSources, Member, Symbol, Symbols, Types};
    use crate::{Facts, LinuxFacts};
    use vmss2core_machine::paging::{PagingMode, Root};

    const CORE: u64 = 0x1000;
    const BOOT: u64 = 1_700_000_000;
    const MEMBERS: [(&str, u64); 4] =
        [("xtime_sec", 0x30), ("ktime_sec", 0x38), ("offs_real", 0x40), ("offs_boot", 0x48)];

    /// A timekeeper after a sequence counter of so many bytes, if the types tell.
    #[derive(Debug)]
    struct Timekeeper(Option<u64>);

    impl Types for Timekeeper {
        fn member(&self, structure: &str, path: &str) -> Option<Member> {
            let is_known = |(name, _): &&(&str, u64)| structure == "timekeeper" && *name == path;
            let (_, offset_bytes) = *MEMBERS.iter().find(is_known)?;
            Some(Member { offset_bytes, size_bytes: Some(8), bits: None })
        }

        fn size_of(&self, structure: &str) -> Option<u64> {
            self.0.filter(|_| structure == "seqcount_raw_spinlock")
        }
    }

    fn clock(counter: u64, types: Timekeeper) -> Clock {
        let mut ram = vec![0; 0x4000];
        for ((_, at), value) in MEMBERS.iter().zip([BOOT + 500, 500, BOOT * 1_000_000_000, 0]) {
            let at = usize::try_from(CORE + counter + at).unwrap();
            ram[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0), 0x4000, Arc::new(ram), 0).unwrap();
        let checkpoint = Checkpoint { memory, ..Checkpoint::default() };
        let root = Found::new((PagingMode::IDENTITY, Root(Gpa(0))), "test");
        let linux =
            LinuxFacts { is_64_bit: true, kernel_root: Some(root), ..LinuxFacts::default() };
        let facts = Facts::of(linux, "made");
        let symbol = Symbol { address: Gva(CORE), kind: 'd', name: "tk_core" };
        let types: Arc<dyn Types> = Arc::new(types);
        let better = BetterSources {
            types: vec![Found::new(types, "test")],
            symbols: Some(Found::new(Symbols::new([symbol]), "test")),
            ..BetterSources::default()
        };
        let kernel = Kernel::open(&checkpoint, &facts, better).unwrap();
        kernel.clock(None)
    }

    /// With PREEMPT_RT the counter has a pointer to its lock.
    #[test]
    fn the_clock_is_read_after_a_sequence_counter_of_either_size() {
        for (counter, told) in [(8, Some(4)), (16, Some(16)), (8, None), (16, None)] {
            let clock = clock(counter, Timekeeper(told));
            let now = clock.now_unix.map(|now| now.value);
            assert_eq!(now, Some(BOOT + 500), "{counter} {told:?}");
            assert_eq!(clock.uptime_ns.map(|time| time.value), Some(500_000_000_000));
        }
    }

    #[test]
    fn what_is_no_clock_is_not_taken_for_one() {
        assert_eq!(clock(24, Timekeeper(Some(16))), Clock::default());
    }
}
