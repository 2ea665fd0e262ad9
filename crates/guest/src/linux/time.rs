//! What time it is in the guest.
//!
//! The kernel's timekeeper (kernel/time/timekeeping.c) holds the time of the
//! last tick and how far the clocks are apart. It is in `tk_core`, since 7.0 in
//! `timekeeper_data`, behind a sequence counter. Where it is not to be found the
//! checkpoint says when it was made, and the log how long the guest ran at least.

use vmss2core_mem::Gva;

use super::{Kernel, Log, Object};
use crate::Found;

const SECOND: i128 = 1_000_000_000;
/// A real clock is after 2001 and before 2096; others are damage.
const REAL: std::ops::Range<i128> = 1_000_000_000 * SECOND..4_000_000_000 * SECOND;
/// Structures that the timekeeper is the second member of.
const HOLDERS: [&str; 2] = ["tk_core", "timekeeper_data"];

/// What time it is in the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Seconds since 1970.
    pub now_unix: Option<Found<u64>>,
    /// Nanoseconds since 1970 at which the guest was started.
    pub boot_unix_ns: Option<Found<u64>>,
    /// How long it has run in nanoseconds, time asleep included.
    pub uptime_ns: Option<Found<u64>>,
}

impl Kernel<'_> {
    /// What time it is in the guest: by its own clock, else from the checkpoint
    /// and the last message of the `log`.
    pub fn clock(&self, log: Option<&Log>) -> Clock {
        HOLDERS
            .iter()
            .find_map(|holder| self.timekeeper(holder))
            .unwrap_or_else(|| self.estimate(log))
    }

    fn timekeeper(&self, holder: &'static str) -> Option<Clock> {
        let symbol = self.symbol(holder).ok()?;
        let inside =
            self.layout().member("tk_data", "timekeeper").map(|found| found.value.offset_bytes);
        let at = Gva(symbol.value.0.wrapping_add(inside.unwrap_or(self.word_len())));
        let keeper = self.object(at, "timekeeper");
        let now = i128::from(keeper.uint("xtime_sec").ok()?) * SECOND;
        let since_boot = i128::from(keeper.uint("ktime_sec").ok()?) * SECOND;
        let (real, asleep) = (signed(&keeper, "offs_real"), signed(&keeper, "offs_boot"));
        let boot = real? - asleep?;
        // Whole seconds are not far from the exact difference, or it is no clock.
        let exact = (now - since_boot - asleep? - boot).abs() <= 2 * SECOND;
        if !REAL.contains(&now) || !REAL.contains(&boot) || !exact {
            return None;
        }
        let how = format!("{holder} at {}, {}", symbol.value, symbol.how);
        Some(Clock {
            now_unix: Some(Found::new(u64::try_from(now / SECOND).ok()?, &how)),
            boot_unix_ns: Some(Found::new(u64::try_from(boot).ok()?, &how)),
            uptime_ns: Some(Found::new(u64::try_from(since_boot + asleep?).ok()?, &how)),
        })
    }

    fn estimate(&self, log: Option<&Log>) -> Clock {
        let last = log.and_then(|log| log.records.iter().filter_map(|record| record.time_ns).max());
        let uptime = last.map(|last| Found::new(last, "the last message of the log, at least"));
        let made = self.checkpoint().machine.suspended_unix;
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
