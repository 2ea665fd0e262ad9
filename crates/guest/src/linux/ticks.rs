//! How many ticks a second has (`HZ`).
//!
//! Nothing of the kernel says so, but it measures its processor against them when it boots:
//! it prints as "BogoMIPS" what it counted in `loops_per_jiffy` (`calibrate_delay`,
//! init/main.c of 2.4).

use super::Kernel;

/// Kernels were built with 24 to 1200 ticks.
const TICKS: std::ops::RangeInclusive<u64> = 10..=5000;

impl Kernel {
    /// How many ticks a second has; `None` if the log does not have the measurement, or its
    /// result is not known.
    pub(super) fn find_ticks(&self) -> Option<u64> {
        let loops = self.symbol("loops_per_jiffy").ok()?.value;
        let loops = self.read_uint(loops, self.word_len(), "loops_per_jiffy").ok()?;
        let log = self.log().ok()?;
        let measured = log.records.iter().filter_map(|record| bogomips(&record.text));
        let mut found = None;
        for measured in measured {
            let mut ticks = TICKS.filter(|ticks| printed(loops, *ticks) == Some(measured));
            let Some(first) = ticks.next() else { continue };
            if ticks.next().is_some() || found.is_some_and(|found| found != first) {
                return None;
            }
            found = Some(first);
        }
        found
    }
}

/// Whole and hundredths of the only such number in a message.
fn bogomips(text: &str) -> Option<(u64, u64)> {
    let (before, _) = text.split_once(" BogoMIPS")?;
    let (whole, parts) = before.rsplit(' ').next()?.split_once('.')?;
    (parts.len() == 2).then_some(())?;
    Some((whole.parse().ok()?, parts.parse().ok()?))
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
            let measured = bogomips(text);
            TICKS.filter(|ticks| printed(loops, *ticks) == measured).collect()
        };
        // Debian's 2.4.27, and 2.4.31.
        let text = "Calibrating delay loop... 3552.05 BogoMIPS";
        assert_eq!(ticks(17_760_256, text), [100]);
        assert_eq!(ticks(27_262_976, "Calibrating delay loop... 5452.59 BogoMIPS"), [100]);
        assert!(ticks(3_468_800, text).is_empty());
        let total = "Total of 2 processors activated (7104.10 BogoMIPS).";
        assert_eq!(bogomips(total), None);
        assert_eq!(bogomips("BogoMIPS"), None);
    }
}
