//! How many ticks a second has (`HZ`).
//!
//! Nothing of the kernel says so, but it measures its processor against them when it boots:
//! it prints as "BogoMIPS" what it counted in `loops_per_jiffy` (`calibrate_delay`,
//! init/main.c of 2.4).

use vmss2core_mem::{Gva, Sums};

use super::Kernel;
use super::modules::exported_by_kernel;
use super::words::image_range;

/// Bytes of the kernel's image that are searched, so many at once.
const SEARCHED: u64 = 16 << 20;
const STEP: usize = 1 << 20;
/// A number has fewer characters.
const LONGEST: usize = 32;
/// Kernels were built with 24 to 1200 ticks.
const TICKS: std::ops::RangeInclusive<u64> = 10..=5000;

impl Kernel {
    /// How many ticks a second has; `None` if the measurement is not in memory any more, or
    /// its result is not known.
    pub(super) fn find_ticks(&self) -> Option<u64> {
        let loops = exported_by_kernel(self, "loops_per_jiffy")?;
        let loops = self.read_uint(loops, self.word_len(), "loops_per_jiffy").ok()?;
        let image = image_range(self)?;
        let mut found = Vec::new();
        // The log is among the kernel's variables; to look for it would cost more.
        for at in (image.start..image.end.min(image.start.plus(SEARCHED))).step_by(STEP) {
            let mut bytes = vec![0; STEP.plus(LONGEST)];
            if self.space().read(Gva(at), &mut bytes).is_ok() {
                let measured = measurements(&bytes);
                found.extend(measured.flat_map(|measured| ticks_of(loops, measured)));
            }
        }
        let first = *found.first()?;
        found.iter().all(|ticks| *ticks == first).then_some(first)
    }
}

/// All measurements that are printed somewhere.
fn measurements(bytes: &[u8]) -> impl Iterator<Item = (u64, u64)> + '_ {
    memchr::memmem::find_iter(bytes, " BogoMIPS").filter_map(|end| {
        let text = bytes.get(end.minus(LONGEST)..end)?;
        bogomips(text.rsplit(|byte| *byte == b' ').next()?)
    })
}

/// Whole and hundredths of a number.
fn bogomips(text: &[u8]) -> Option<(u64, u64)> {
    let (whole, parts) = std::str::from_utf8(text).ok()?.split_once('.')?;
    (parts.len() == 2).then_some(())?;
    Some((whole.parse().ok()?, parts.parse().ok()?))
}

/// How many ticks a second has if the kernel printed this for so many loops.
fn ticks_of(loops: u64, measured: (u64, u64)) -> impl Iterator<Item = u64> {
    TICKS.filter(move |ticks| printed(loops, *ticks) == Some(measured))
}

/// The number that the kernel prints for so many loops of its delay in a tick.
fn printed(loops: u64, ticks: u64) -> Option<(u64, u64)> {
    let whole = loops.checked_div(500_000_u64.checked_div(ticks)?)?;
    let parts = loops.checked_div(5000_u64.checked_div(ticks)?)?.checked_rem(100)?;
    Some((whole, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_those_for_which_the_kernel_printed_what_it_counted() {
        let ticks = |loops: u64, text: &str| -> Vec<u64> {
            measurements(text.as_bytes()).flat_map(|measured| ticks_of(loops, measured)).collect()
        };
        // Debian's 2.4.27, and 2.4.31.
        let text = "Calibrating delay loop... 3552.05 BogoMIPS";
        assert_eq!(ticks(17_760_256, text), [100]);
        assert_eq!(ticks(27_262_976, "Calibrating delay loop... 5452.59 BogoMIPS"), [100]);
        assert!(ticks(3_468_800, text).is_empty());
        let total = "Total of 2 processors activated (7104.10 BogoMIPS).";
        assert!(ticks(17_760_256, total).is_empty() && ticks(1, " BogoMIPS").is_empty());
    }
}
