//! An installed Debian under load against what it said of itself, before and after
//! it was stopped.

#![allow(clippy::indexing_slicing, reason = "a member that is missing in JSON is null")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::cores::{self, PROGRAM, Wrap};
use common::guests;
use common::production::Production;
use common::stacks::said_by_kernel;
use common::text::same_lines;
use serde_json::Value;

fn printed(production: &Production, args: &[&str]) -> Result<String> {
    Ok(cores::converted(&production.guest, &Wrap::split(), args)?.stdout)
}

fn tasks(production: &Production) -> Result<BTreeMap<u64, Value>> {
    let list: Value = serde_json::from_str(&printed(production, &["ps", "--threads", "--json"])?)?;
    let tasks = list["tasks"].as_array().context("no tasks")?.iter();
    let tasks = tasks.map(|task| Ok((task["tid"].as_u64().context("no number")?, task.clone())));
    tasks.collect()
}

/// The guest is what the tests of it take for granted.
#[test]
fn it_is_under_pressure_with_a_hung_disk() -> Result<()> {
    let production = Production::get()?;
    let tasks = production.tasks()?;
    ensure!(tasks.len() > 200, "{} threads", tasks.len());
    let hung = tasks.iter().filter(|task| task.state == 'D').count();
    ensure!(hung >= 4, "{hung} threads in D");
    let stacks = said_by_kernel(production.before.text("stacks")?)?;
    let deep = |module: &str| stacks.values().flatten().any(|line| line.ends_with(module));
    ensure!(deep(" [ext4]") && deep(" [jbd2]"), "no stack goes through a module");
    let swaps = production.before.text("swaps")?;
    ensure!(swaps.matches("/dev/zram").count() == 4 && swaps.contains("/swapfile"), "{swaps}");
    let probes = production.before.text("kprobes")?.lines().filter(|line| line.starts_with('r'));
    ensure!(probes.count() >= 4, "return probes are missing");
    let modules = production.before.text("modules")?.lines().count();
    ensure!(modules > 100, "{modules} modules");
    Ok(())
}

#[test]
fn threads_are_those_that_it_listed() -> Result<()> {
    let production = Production::get()?;
    let ours = tasks(&production)?;
    for task in production.tasks()? {
        let found = ours.get(&task.tid.into()).with_context(|| format!("missing: {task:?}"))?;
        let number = |member: &str| found[member].as_u64().context("no number");
        let what = format!("{found}\nthe guest: {task:?}");
        ensure!((number("pid")?, number("ppid")?) == (task.pid.into(), task.ppid.into()), "{what}");
        ensure!(number("start_ns")? / 10_000_000 == task.start, "{what}");
        let runs = found["state"] == "R" || task.state == 'R';
        ensure!(runs || found["state"] == task.state.to_string(), "{what}");
    }
    let known: BTreeSet<u64> =
        production.before.tasks()?.iter().map(|task| task.tid.into()).collect();
    let extra = ours.keys().filter(|tid| **tid != 0 && !known.contains(tid)).count();
    ensure!(extra < 10, "{extra} threads that the guest did not list");
    Ok(())
}

/// Of programs: what kernel threads are called is longer in `/proc`.
#[test]
fn names_of_programs_are_those_that_it_listed() -> Result<()> {
    let production = Production::get()?;
    let ours = tasks(&production)?;
    let mut compared = 0;
    for task in production.tasks()? {
        let found = ours.get(&task.tid.into()).with_context(|| format!("missing: {task:?}"))?;
        // Each side writes bytes that are no text in its own way.
        if found["kernel_thread"] == true || task.comm.contains(['\u{fffd}', '\\']) {
            continue;
        }
        let name = found["name"].as_str().context("no name")?;
        ensure!(name == task.comm || name.contains(char::is_control), "{found}\n{task:?}");
        compared += 1;
    }
    ensure!(compared > 60, "{compared} names");
    Ok(())
}

/// In full, and of workers what they work on: `/proc/PID/comm`.
#[test]
fn names_of_kernel_threads_are_those_that_it_listed() -> Result<()> {
    let production = Production::get()?;
    let ours = tasks(&production)?;
    let mut compared = 0;
    // Names of programs are no text there, but each of the kernel's has a line.
    let [before, after] = [&production.before, &production.after]
        .map(|truth| Ok::<_, anyhow::Error>(String::from_utf8_lossy(truth.bytes("comm")?)));
    let (before, after) = (before?, after?);
    let after: BTreeSet<&str> = after.lines().collect();
    for line in before.lines().filter(|line| after.contains(line)) {
        let Some((tid, name)) = line.split_once(' ') else { continue };
        let found = tid.parse().ok().and_then(|tid: u64| ours.get(&tid));
        let Some(found) = found.filter(|found| found["kernel_thread"] == true) else { continue };
        ensure!(found["name"] == name, "{found}\nthe guest: {name}");
        compared += 1;
    }
    ensure!(compared > 50, "{compared} names");
    Ok(())
}

#[test]
fn users_are_those_that_it_listed() -> Result<()> {
    let production = Production::get()?;
    let ours = tasks(&production)?;
    let mut users = BTreeSet::new();
    for process in production.before.processes()? {
        let Some(found) = ours.get(&process.pid.into()) else { continue };
        let ids = (found["uid"].as_u64(), found["gid"].as_u64());
        let theirs = (Some(process.uid.1.into()), Some(process.gid.1.into()));
        ensure!(ids == theirs, "{found}\nthe guest: {process:?}");
        users.insert(ids.0);
    }
    ensure!(users.len() > 3, "all are {users:?}");
    Ok(())
}

/// Every line of every process that it said twice.
#[test]
fn mappings_are_those_that_it_listed() -> Result<()> {
    let production = Production::get()?;
    let checkpoint = cores::checkpoint(&production.guest, &Wrap::split())?;
    let (mut lines, mut processes) = (0, 0);
    for pid in production.processes_with("maps") {
        let mut program = Command::new(PROGRAM);
        program.args(["maps", "--proc", "--pid", &pid.to_string()]).arg(&checkpoint);
        let said = program.output()?;
        let ours: BTreeSet<String> =
            String::from_utf8_lossy(&said.stdout).lines().map(str::to_owned).collect();
        if ours.is_empty() {
            continue;
        }
        for line in production.lines(&format!("maps {pid}"))? {
            let is_plain = !line.contains("socket:[") && !line.contains("\\012");
            ensure!(!is_plain || ours.contains(line), "{pid}: missing: {line}\nof {ours:#?}");
            lines += 1;
        }
        processes += 1;
    }
    ensure!(lines > 2000 && processes > 40, "{lines} lines of {processes} processes");
    Ok(())
}

#[test]
fn modules_are_those_that_it_listed() -> Result<()> {
    let production = Production::get()?;
    let ours = printed(&production, &["modules", "--proc"])?;
    // Its own open files change use counts between its list and its stop.
    let without_count = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let (start, rest) = (words.get(..2), words.get(3..));
        format!("{} {}", start.unwrap_or_default().join(" "), rest.unwrap_or_default().join(" "))
    };
    let ours: Vec<String> = ours.lines().map(without_count).collect();
    let theirs = production.before.text("modules")?.lines();
    same_lines("modules", &ours, &theirs.map(without_count).collect::<Vec<_>>())
}

/// Address and name of all but what is no module: code of BPF and of tracers.
#[test]
fn symbols_are_those_that_it_listed() -> Result<()> {
    let production = Production::get()?;
    let part = |line: &str| {
        let (address, rest) = line.split_once(' ')?;
        let (_, name) = rest.split_once(' ')?;
        let is_code = line.ends_with("[bpf]") || line.ends_with("[__builtin__ftrace]");
        (!is_code).then(|| format!("{address} {name}"))
    };
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().filter_map(part).collect();
        lines.sort();
        lines
    };
    let theirs = sorted(production.before.text("kallsyms")?);
    ensure!(theirs.len() > 130_000, "{} symbols", theirs.len());
    let ours: BTreeSet<String> = sorted(&printed(&production, &["symbols"])?).into_iter().collect();
    let missing: Vec<&String> = theirs.iter().filter(|line| !ours.contains(*line)).collect();
    ensure!(missing.is_empty(), "{} are missing: {missing:#?}", missing.len());
    Ok(())
}

#[test]
fn the_log_is_that_of_dmesg() -> Result<()> {
    let production = Production::get()?;
    let ours = printed(&production, &["dmesg"])?;
    let ours: Vec<String> = ours.lines().map(str::to_owned).collect();
    let theirs = String::from_utf8_lossy(production.before.bytes("dmesg")?).into_owned();
    // syslog(2) gives the level before each.
    let text = |line: &str| line.split_once('>').map(|(_, rest)| rest.to_owned());
    let theirs: Vec<String> = theirs.lines().filter_map(text).collect();
    let first = ours.get(..theirs.len()).context("lines are missing")?;
    same_lines("dmesg", first, &theirs)
}

/// Debuggers want its kernel and modules with debug information.
#[test]
fn its_debug_information_is_there() -> Result<()> {
    let (_, kernel) = guests::guest_with_kernel(common::production::NAME)?;
    ensure!(kernel.exists(), "{}", kernel.display());
    let ext4 = Production::debug_modules()?.join("kernel/fs/ext4/ext4.ko");
    ensure!(ext4.exists(), "{}", ext4.display());
    Ok(())
}
