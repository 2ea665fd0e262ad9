//! Numbers for people.

/// A size in the largest binary unit that keeps it readable: exact where it is
/// a whole number of units, one decimal otherwise.
///
/// ```
/// assert_eq!(vmss2core_answers::human_size(3 << 30), "3 GiB");
/// assert_eq!(vmss2core_answers::human_size(1536), "1.5 KiB");
/// ```
pub fn human_size(bytes: u64) -> String {
    const UNITS: [(u32, &str); 6] =
        [(60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    for (shift, unit) in UNITS {
        let (whole, rest) = (bytes.unbounded_shr(shift), bytes & !u64::MAX.unbounded_shl(shift));
        if whole == 0 {
            continue;
        }
        // Tenths, rounded down: "0.9" never becomes a whole that is not there.
        let tenths = (u128::from(rest) * 10) >> shift;
        return if tenths == 0 {
            format!("{whole} {unit}")
        } else {
            format!("{whole}.{tenths} {unit}")
        };
    }
    format!("{bytes} bytes")
}

/// A Unix time as RFC 3339 has it, `2026-11-21T05:00:00Z`; `None` past the year 9999, where a
/// "time" is more likely damage than a date.
pub fn utc_time(unix: u64) -> Option<String> {
    let days = i64::try_from(unix / 86_400).ok()?;
    let (year, month, day) = civil(days)?;
    let second = unix % 86_400;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// "1 thread", "2 threads"
pub(crate) fn counted(count: usize, one: &str, ending: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { ending })
}

/// `11:02:03`, or `5 days 11:02:03`.
pub(crate) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match days {
        0 => format!("{hours:02}:{minutes:02}:{:02}", seconds % 60),
        days => format!("{days} days {hours:02}:{minutes:02}:{:02}", seconds % 60),
    }
}

/// A Unix time as C's `ctime` writes it, in UTC: `Sat Nov 21 05:00:00 2026`.
pub(crate) fn ctime(unix: u64) -> Option<String> {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = unix / 86_400;
    let (year, month, day) = civil(i64::try_from(days).ok()?)?;
    let weekday = DAYS.get(usize::try_from(days % 7).ok()?)?;
    let month = MONTHS.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    let second = unix % 86_400;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{weekday} {month} {day:>2} {hour:02}:{minute:02}:{second:02} {year}"))
}

/// Date of the day `days` after 1970-01-01. Years are counted from March, so
/// that the leap day is the last of its year, and in eras of 400 years, which
/// all have 146097 days.
#[expect(clippy::arithmetic_side_effects, reason = "of numbers below 146,097 but for the era's")]
fn civil(days: i64) -> Option<(i64, i64, i64)> {
    let days = days.checked_add(719_468)?;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year <= 9999).then_some((year, month, day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (4096, "4 KiB"),
            ((1 << 20) - 1, "1023.9 KiB"),
            (3 << 30, "3 GiB"),
            (6_979_321_856, "6.5 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc_time(unix).as_deref(), Some(text));
        }
        assert_eq!(ctime(0).as_deref(), Some("Thu Jan  1 00:00:00 1970"));
        assert_eq!(ctime(1_709_251_199).as_deref(), Some("Thu Feb 29 23:59:59 2024"));
        assert_eq!(ctime(4_107_542_400).as_deref(), Some("Mon Mar  1 00:00:00 2100"));
        assert_eq!(utc_time(253_402_300_800), None);
        assert_eq!(utc_time(u64::MAX), None);
    }
}
