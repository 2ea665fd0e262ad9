//! The kernel's log, as plain data and as a page.

use serde::Serialize;
use vmss2core_guest::model::{Clock, LEVELS, Log, Record};
use vmss2core_mem::Problem;

use crate::info::{Known, ProblemInfo, problem_info};
use crate::page::{Answer, Page};
use crate::units::{ctime, utc_time};

/// Names of syslog's facilities, as `dmesg --facility` has them.
const FACILITIES: [&str; 12] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp",
];
const SECOND: u64 = 1_000_000_000;

/// How times are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeStyle {
    /// Seconds after boot: `[    1.234567]`.
    #[default]
    SinceBoot,
    /// Date and time in UTC: `[Sat Nov 21 05:00:00 2026]`.
    Date,
}

/// The kernel's log.
#[derive(Clone, Debug, Serialize)]
pub struct DmesgReport {
    /// How the log was found.
    pub how: String,
    /// When the guest was started, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub booted: Option<Known<String>>,
    /// The messages, oldest first.
    pub messages: Vec<MessageInfo>,
    /// Missing parts.
    pub problems: Vec<ProblemInfo>,
    #[serde(skip)]
    times: TimeStyle,
}

/// One message.
#[derive(Clone, Debug, Serialize)]
pub struct MessageInfo {
    /// Nanoseconds after boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_ns: Option<u64>,
    /// Its time as a date, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Name of its level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<&'static str>,
    /// Name of its facility; a number for those that have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facility: Option<String>,
    /// Who wrote it: `T` and the number of a thread, or `C` and that of a CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Its text.
    pub text: String,
    #[serde(skip)]
    date: Option<String>,
}

impl DmesgReport {
    /// The report about the messages of a log whose level is among `levels`.
    /// Those that have none are taken for what `printk` gives them: warnings.
    pub fn new(log: &Log, clock: &Clock, levels: &[u8], problems: &[Problem]) -> Self {
        let boot = clock.boot_unix_ns.as_ref();
        let wanted = |record: &&Record| levels.contains(&record.level.unwrap_or(4));
        let message = |record| message(record, boot.map(|boot| boot.value));
        let booted = boot.and_then(|boot| {
            Some(Known { value: utc_time(boot.value / SECOND)?, how: boot.how.clone() })
        });
        Self {
            how: log.how.clone(),
            booted,
            messages: log.records.iter().filter(wanted).map(message).collect(),
            problems: problems.iter().map(problem_info).collect(),
            times: TimeStyle::default(),
        }
    }

    /// This log with times printed in this way.
    pub fn with_times(self, times: TimeStyle) -> Self {
        Self { times, ..self }
    }
}

impl Answer for DmesgReport {
    const SCHEMA: &'static str = "vmss2core/dmesg/1";

    /// As `dmesg` prints it.
    fn page(&self, page: &mut Page<'_>) {
        for message in &self.messages {
            let prefix = message.prefix(self.times);
            // Each line of a message has the prefix, as with syslog(2).
            for line in message.text.split('\n') {
                page.preformatted(&format!("{prefix}{line}"));
            }
        }
    }
}

impl MessageInfo {
    fn prefix(&self, times: TimeStyle) -> String {
        match (times, &self.date, self.time_ns) {
            (TimeStyle::Date, Some(date), _) => format!("[{date}] "),
            (_, _, Some(time)) => {
                format!("[{:>5}.{:06}] ", time / SECOND, time % SECOND / 1000)
            }
            (_, _, None) => String::new(),
        }
    }
}

fn message(record: &Record, boot: Option<u64>) -> MessageInfo {
    let unix =
        boot.zip(record.time_ns).and_then(|(boot, time)| Some(boot.checked_add(time)? / SECOND));
    let level = record.level.and_then(|level| LEVELS.get(usize::from(level)).copied());
    MessageInfo {
        time_ns: record.time_ns,
        time: unix.and_then(utc_time),
        level,
        facility: record.facility.map(facility),
        caller: record.caller.map(|caller| caller.to_string()),
        text: record.text.clone(),
        date: unix.and_then(ctime),
    }
}

fn facility(number: u8) -> String {
    let name = FACILITIES.get(usize::from(number));
    name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}
