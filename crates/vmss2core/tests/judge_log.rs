//! The kernel's log against crash and drgn with the kernel's symbols.

#![allow(clippy::indexing_slicing, reason = "a member that is missing in JSON is null")]

#[macro_use]
mod common;

use anyhow::{Context, Result, ensure};
use common::cores::{self, Wrap};
use common::guests;
use common::judges;
use common::text::same_lines;
use serde_json::Value;
use vmss2core_lab::Guest;
use vmss2core_lab::judges::{Judge, crash, crash_trixie};

fn printed(guest: &Guest) -> Result<Vec<String>> {
    let run = cores::converted(guest, &Wrap::split(), &["dmesg"])?;
    let lines: Vec<String> = run.stdout.lines().map(str::to_owned).collect();
    ensure!(lines.len() > 200, "{}: {} lines", guest.name, lines.len());
    Ok(lines)
}

/// crash's `log` of the checkpoint itself.
fn same_as_crash(judge: &Judge, name: &str) -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let checkpoint = cores::checkpoint(&guest, &Wrap::split())?;
    let said = judges::crash(judge, &[&kernel, &checkpoint], "log\nquit\n")?;
    same_lines(&format!("{name} in crash"), &with_times(&said, " ")?, &printed(&guest)?)
}

/// Of a message of several lines crash and drgn give only the first its time, and
/// crash indents the others as wide; dmesg, and we, write the time before each.
fn with_times(said: &str, indent: &str) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut time = String::new();
    for line in said.lines() {
        if line.starts_with('[') {
            let (stamp, _) = line.split_once("] ").or(line.split_once(']')).context("no time")?;
            time = format!("{stamp}] ");
            lines.push(line.to_owned());
        } else {
            let indent = indent.repeat(time.len());
            let text = line.strip_prefix(&indent).with_context(|| format!("what is {line:?}?"))?;
            lines.push(format!("{time}{text}"));
        }
    }
    Ok(lines)
}

fn same_as_newest_crash(name: &str) -> Result<()> {
    same_as_crash(&crash()?, name)
}

fn same_as_older_crash(name: &str) -> Result<()> {
    same_as_crash(&crash_trixie()?, name)
}

/// drgn's text, and its records: time, level, facility, who wrote it.
fn same_as_drgn(name: &str) -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let run = cores::linux(&guest)?;
    let mut drgn = judges::drgn_script(&run.path("vmss.core"), "drgn_log.py")?;
    let said: Value = serde_json::from_str(&judges::output(drgn.env("VMLINUX", &kernel))?)?;
    let text = said["text"].as_str().context("no text")?;
    same_lines(&format!("{name} in drgn"), &with_times(text, "")?, &printed(&guest)?)?;

    let json = cores::converted(&guest, &Wrap::split(), &["dmesg", "--json"])?.stdout;
    let json: Value = serde_json::from_str(&json)?;
    let ours = json["messages"].as_array().context("no messages")?;
    let ours = ours.iter().map(record).collect::<Result<Vec<_>>>()?;
    let theirs = said["records"].as_array().context("no records")?;
    let theirs = theirs.iter().map(record_of_drgn).collect::<Result<Vec<_>>>()?;
    same_lines(&format!("{name}: records in drgn"), &theirs, &ours)
}

/// Names of levels and facilities as syslog numbers them (RFC 5424).
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];
const FACILITIES: [&str; 4] = ["kern", "user", "mail", "daemon"];

fn record(message: &Value) -> Result<String> {
    let text = |member: &str| message[member].as_str().with_context(|| format!("{message}"));
    let time = message["time_ns"].as_u64().context("no time")?;
    let (level, facility, caller) = (text("level")?, text("facility")?, text("caller")?);
    Ok(format!("{time} {level} {facility} {caller} {:?}", text("text")?))
}

fn record_of_drgn(record: &Value) -> Result<String> {
    let name = |member: &str, names: &[&'static str]| {
        let number = record[member].as_u64().and_then(|number| usize::try_from(number).ok());
        number.and_then(|number| names.get(number).copied()).with_context(|| format!("{record}"))
    };
    let caller = match (record["thread"].as_u64(), record["cpu"].as_u64()) {
        (Some(thread), _) => format!("T{thread}"),
        (None, Some(cpu)) => format!("C{cpu}"),
        (None, None) => String::new(),
    };
    let (level, facility) = (name("level", &LEVELS)?, name("facility", &FACILITIES)?);
    let text = record["text"].as_str().context("no text")?;
    Ok(format!("{} {level} {facility} {caller} {text:?}", record["time_ns"]))
}

guest_tests! {
    (same_as_newest_crash, same_as_drgn)
    five_level: "linux-6.1",
    isolated_four_level: "linux-6.1-4level",
    panicked: "linux-6.1-panic",
}

/// Of Debian's cloud kernels crash 8.0.6 opens those that panicked only: the others
/// have an exception stack without a size, which it does not take.
mod of_older_crash {
    guest_tests! {
        (same_as_older_crash)
        panicked: "linux-6.1-panic",
    }

    use super::same_as_older_crash;
}
