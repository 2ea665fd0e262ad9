//! The tasks that `ps` lists against those that the guest itself listed just
//! before it was stopped, and against crash and drgn with the kernel's symbols.

#![allow(clippy::indexing_slicing, reason = "a member that is missing in JSON is null")]

#[macro_use]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::cores::{self, PROGRAM, Wrap};
use common::guests;
use common::judges;
use serde_json::Value;
use vmss2core_lab::Guest;
use vmss2core_lab::judges::{Judge, crash, crash_trixie};

/// What must be the same for all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    pid: u64,
    ppid: u64,
    state: char,
    comm: String,
}

/// What the program prints.
fn listed(guest: &Guest, wrap: &Wrap) -> Result<Value> {
    let checkpoint = cores::checkpoint(guest, wrap)?;
    let output =
        Command::new(PROGRAM).args(["ps", "--threads", "--json"]).arg(&checkpoint).output()?;
    let talk = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}\n{talk}", guest.name, output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// All tasks but the idle ones, by number.
fn tasks(list: &Value) -> Result<BTreeMap<u64, &Value>> {
    let tasks = list["tasks"].as_array().context("no tasks")?;
    let mut found = BTreeMap::new();
    for task in tasks.iter().filter(|task| task["tid"] != 0) {
        let former = found.insert(number(task, "tid")?, task);
        ensure!(former.is_none(), "twice: {task}");
    }
    Ok(found)
}

fn number(task: &Value, member: &str) -> Result<u64> {
    task[member].as_u64().with_context(|| format!("no {member}: {task}"))
}

fn text<'v>(task: &'v Value, member: &str) -> Result<&'v str> {
    task[member].as_str().with_context(|| format!("no {member}: {task}"))
}

fn row(task: &Value) -> Result<Row> {
    Ok(Row {
        pid: number(task, "pid")?,
        ppid: number(task, "ppid")?,
        state: text(task, "state")?.chars().next().context("no letter")?,
        comm: text(task, "name")?.to_owned(),
    })
}

/// `task_struct.comm`, which debuggers show.
fn comm(task: &Value) -> Result<&str> {
    text(task, if task["comm"].is_null() { "name" } else { "comm" })
}

/// Every thread that the guest listed, with the same numbers, name, state and
/// start; and no others.
fn the_guests_own_threads(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let list = listed(&guest, &Wrap::split())?;
    ensure!(list["problems"].as_array().is_some_and(Vec::is_empty), "{name}: {}", list["problems"]);
    let ours = tasks(&list)?;
    let theirs = guest.truth()?.tasks()?;
    ensure!(theirs.len() > 40, "{name}: the guest listed only {} tasks", theirs.len());
    let mut states = BTreeSet::new();
    let mut workers = (0, 0);
    // Without them only the names of 15 letters are known, which are no longer ones' start.
    let has_types = guests::has_types(&guest);
    for task in &theirs {
        let Some(found) = ours.get(&task.tid.into()) else {
            ensure!(guests::is_fleeting(&task.comm), "{name}: not listed: {task:?}");
            continue;
        };
        let (row, what) = (row(found)?, format!("{name}: {found}\nthe guest: {task:?}"));
        ensure!((row.pid, row.ppid) == (task.pid.into(), task.ppid.into()), "{what}");
        ensure!(same_name(&row.comm, &task.comm, has_types), "{what}");
        if guests::is_fleeting(&task.comm) {
            workers.0 += 1;
            workers.1 += usize::from(row.comm == task.comm);
        }
        ensure!(number(found, "start_ns")? / 10_000_000 == task.start, "{what}");
        ensure!(same_state(row.state, task.state), "{what}");
        states.insert(row.state);
    }
    ensure!(states.is_superset(&BTreeSet::from(['S', 'I', 'R'])), "{name}: {states:?}");
    let (all, same) = workers;
    ensure!(
        !has_types || 2 * same >= all,
        "{name}: of {all} workers {same} are called as the guest has them"
    );
    let known: BTreeSet<u64> = theirs.iter().map(|task| task.tid.into()).collect();
    for (tid, task) in ours.iter().filter(|(tid, _)| !known.contains(tid)) {
        ensure!(guests::is_fleeting(text(task, "name")?), "{name}: {tid} is too much: {task}");
    }
    Ok(())
}

/// Workers are named with what they do, or did last, which changes all the time.
fn same_name(ours: &str, theirs: &str, has_types: bool) -> bool {
    let id = |name: &str| name.split(['+', '-']).next().map(str::to_owned);
    ours == theirs
        || guests::is_fleeting(ours) && id(ours) == id(theirs)
        || !has_types && ours.len() == 15 && theirs.starts_with(ours)
}

/// Between its list and its stop a task may have been woken or gone to sleep: the
/// shell that made the list has.
fn same_state(ours: char, theirs: char) -> bool {
    ours == theirs || ours == 'R' || theirs == 'R'
}

/// Every process that the guest told of, with the same user and command line.
fn users_and_command_lines(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let list = listed(&guest, &Wrap::split())?;
    let ours = tasks(&list)?;
    let theirs = guest.truth()?.processes()?;
    let (mut users, mut with_command_line) = (BTreeSet::new(), 0);
    for process in &theirs {
        let Some(task) = ours.get(&process.pid.into()) else { continue };
        let what = format!("{name}: {task}\nthe guest: {process:?}");
        let ids = (number(task, "uid")?, number(task, "gid")?);
        ensure!(ids == (process.uid.1.into(), process.gid.1.into()), "{what}");
        ensure!(command_line(task)? == process.command_line, "{what}");
        ensure!(number(task, "start_ns")? / 10_000_000 == process.start, "{what}");
        let is_kernel_thread = task["kernel_thread"].as_bool().context("no kernel_thread")?;
        let has_none = process.command_line.is_empty();
        ensure!(has_none == (is_kernel_thread || has_ended(task)), "{what}");
        users.insert(ids.0);
        with_command_line += usize::from(!process.command_line.is_empty());
    }
    ensure!(users.len() > 1, "{name}: all are {users:?}");
    ensure!(with_command_line > 4, "{name}: {with_command_line} command lines");
    Ok(())
}

fn has_ended(task: &Value) -> bool {
    task["state"] == "Z"
}

fn command_line(task: &Value) -> Result<Vec<u8>> {
    let Some(words) = task["command_line"].as_array() else { return Ok(Vec::new()) };
    let mut bytes = Vec::new();
    for word in words {
        bytes.extend(word.as_str().context("no word")?.bytes());
        bytes.push(0);
    }
    Ok(bytes)
}

/// Each CPU runs one task; a halted one its idle task, one in user mode a program.
fn what_runs_on_each_cpu(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let list = listed(&guest, &Wrap::split())?;
    let tasks = list["tasks"].as_array().context("no tasks")?;
    for (index, cpu) in guest.cpus.iter().enumerate() {
        let runs = |task: &&Value| {
            task["running_on"].as_array().is_some_and(|on| on.contains(&Value::from(index)))
        };
        let running: Vec<&Value> = tasks.iter().filter(runs).collect();
        let [task] = *running else {
            anyhow::bail!("{name}: vCPU {index} runs {running:?}");
        };
        let what = format!("{name}: vCPU {index} runs {task}");
        ensure!(number(task, "cpu")? == index as u64, "{what}");
        if guests::privilege(cpu) == 3 {
            ensure!(task["kernel_thread"] == false && task["tid"] != 0, "{what}");
        } else if cpu.halted && !guests::has_panicked(&guest)? {
            ensure!(text(task, "name")? == format!("swapper/{index}"), "{what}");
        }
    }
    let idle = tasks.iter().filter(|task| task["tid"] == 0).count();
    ensure!(idle == guest.cpus.len(), "{name}: {idle} idle tasks");
    Ok(())
}

/// `info` counts what the guest listed, and names what each vCPU runs.
fn info_counts_them(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let list = listed(&guest, &Wrap::split())?;
    let info = cores::converted(&guest, &Wrap::split(), &["info", "--json"])?.stdout;
    let info: Value = serde_json::from_str(&info)?;
    let counts = &info["guest"]["linux"]["state"]["tasks"]["value"];
    let theirs = guest.truth()?.tasks()?;
    let is_program = |task: &&vmss2core_lab::truth::Task| task.pid != 2 && task.ppid != 2;
    let programs = theirs.iter().filter(|task| task.tid == task.pid).filter(is_program).count();
    let threads = tasks(&list)?.len();
    let of_kernel = tasks(&list)?.values().filter(|task| task["kernel_thread"] == true).count();
    let expected = serde_json::json!({
        "processes": programs, "kernel_threads": of_kernel, "threads": threads
    });
    ensure!(*counts == expected, "{name}: {counts}, not {expected}");
    ensure!(threads > programs + of_kernel, "{name}: no process has two threads");

    let vcpus = info["vcpus"].as_array().context("no vCPUs")?;
    for (index, vcpu) in vcpus.iter().enumerate() {
        let runs = |task: &&Value| {
            task["running_on"].as_array().is_some_and(|on| on.contains(&Value::from(index)))
        };
        let task = list["tasks"].as_array().and_then(|all| all.iter().find(runs));
        let task = task.with_context(|| format!("{name}: vCPU {index} runs nothing"))?;
        let expected = serde_json::json!({
            "pid": task["pid"], "tid": task["tid"], "name": task["name"]
        });
        ensure!(vcpu["task"] == expected, "{name}: {vcpu}\n{task}");
    }
    let panic_cpu = info["guest"]["linux"]["state"]["panic_cpu"]["value"].as_u64();
    let Some(cpu) = panic_cpu else { return Ok(()) };
    // The shell that asked for the crash: the guest's first process.
    let panicked = vcpus.iter().find(|vcpu| vcpu["logical_cpu"] == cpu).context("no such vCPU")?;
    ensure!(panicked["task"]["pid"] == 1, "{name}: {panicked}");
    Ok(())
}

/// Without the guest's symbols and types the answer is the same.
fn same_without_symbols_and_types(name: &str) -> Result<()> {
    let whole = listed(&guests::guest(name)?, &Wrap::split())?;
    let hidden = listed(&vmss2core_lab::hidden::guest(name)?, &Wrap::hidden())?;
    let (whole, hidden) = (members(&whole)?, members(&hidden)?);
    ensure!(whole.len() > 40, "{name}: {} tasks", whole.len());
    common::text::same_lines(&format!("{name} with symbols and without"), &whole, &hidden)
}

/// A line for each task. When it started in the calendar takes the guest's clock,
/// which is a variable.
fn members(list: &Value) -> Result<Vec<String>> {
    let tasks = list["tasks"].as_array().context("no tasks")?;
    let line = |task: &Value| {
        let mut task = task.clone();
        // What it is called besides is known by types alone.
        if !task["comm"].is_null() {
            task["name"] = task["comm"].take();
        }
        task.as_object_mut().map(|members| members.remove("comm"));
        task.as_object_mut().map(|members| members.remove("start_unix"));
        task.to_string()
    };
    Ok(tasks.iter().map(line).collect())
}

/// drgn finds tasks by their numbers, not by their lists.
fn same_as_drgn(name: &str) -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let run = cores::linux(&guest)?;
    let mut drgn = judges::drgn_script(&run.path("vmss.core"), "drgn_ps.py")?;
    let said = judges::output(drgn.env("VMLINUX", &kernel))?;
    let list = listed(&guest, &Wrap::split())?;
    let ours = tasks(&list)?;
    let mut count = 0;
    for line in said.lines().filter_map(|line| line.strip_prefix("task ")) {
        let task = ours.get(&line.split(' ').next().unwrap_or_default().parse()?);
        let task = task.with_context(|| format!("{name}: not listed: {line}"))?;
        let Row { pid, ppid, state, .. } = row(task)?;
        let comm = comm(task)?;
        let (tid, cpu, at) = (number(task, "tid")?, number(task, "cpu")?, text(task, "address")?);
        let (uid, start) = (number(task, "uid")?, number(task, "start_ns")?);
        let mm = line.split(' ').nth(8).unwrap_or_default();
        let shown = format!("{tid} {pid} {ppid} {state} {cpu} {at} {uid} {start} {mm} {comm}");
        ensure!(shown == line, "{name}: we\n{shown}\ndrgn\n{line}");
        let has_no_memory = task["kernel_thread"] == true || has_ended(task);
        ensure!((mm == "0x0") == has_no_memory, "{name}: {task}\n{line}");
        count += 1;
    }
    ensure!(count == ours.len(), "{name}: drgn lists {count}, we {}", ours.len());
    let all = list["tasks"].as_array().context("no tasks")?;
    for line in said.lines().filter_map(|line| line.strip_prefix("runs ")) {
        let (cpu, at) = line.split_once(' ').context("no address")?;
        let task = all.iter().find(|task| task["address"] == at);
        let task = task.with_context(|| format!("{name}: not listed: {line}"))?;
        let on = &task["running_on"];
        ensure!(*on == Value::from(vec![cpu.parse::<u64>()?]), "{name}: {task}\n{line}");
    }
    Ok(())
}

/// crash's `ps` of the checkpoint itself: every line, the idle tasks too.
fn same_as_crash(judge: &Judge, name: &str) -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let checkpoint = cores::checkpoint(&guest, &Wrap::split())?;
    let said = judges::crash(judge, &[&kernel, Path::new(&checkpoint)], "ps\nquit\n")?;
    let mut theirs: Vec<String> = said.lines().filter_map(line_of_crash).collect();
    let list = listed(&guest, &Wrap::split())?;
    let tasks = list["tasks"].as_array().context("no tasks")?;
    let mut ours = tasks.iter().map(as_crash_has_it).collect::<Result<Vec<_>>>()?;
    theirs.sort();
    ours.sort();
    common::text::same_lines(&format!("{name} in crash"), &theirs, &ours)?;
    ensure!(ours.len() > 40, "{name}: {} tasks", ours.len());
    Ok(())
}

/// Mark, PID, PPID, CPU, TASK, ST, %MEM, VSZ, RSS, COMM.
fn line_of_crash(line: &str) -> Option<String> {
    let (mark, rest) = match line.strip_prefix('>') {
        Some(rest) => ('>', rest),
        None => (' ', line),
    };
    let mut words = rest.split_whitespace();
    let mut kept: Vec<&str> = words.by_ref().take(5).collect();
    kept.first()?.parse::<u32>().ok()?;
    let comm: Vec<&str> = words.skip(3).collect();
    let comm = comm.join(" ");
    kept.push(comm.trim_matches(['[', ']']));
    Some(format!("{mark}{}", kept.join(" ")))
}

/// To crash the idle tasks have no parent; in truth init made all but the first.
fn as_crash_has_it(task: &Value) -> Result<String> {
    let Row { pid, ppid, state, .. } = row(task)?;
    let comm = comm(task)?;
    let ppid = if pid == 0 { 0 } else { ppid };
    let state = match state {
        'R' => "RU",
        'S' => "IN",
        'D' => "UN",
        'I' => "ID",
        'T' => "ST",
        't' => "TR",
        'Z' => "ZO",
        other => anyhow::bail!("crash has no word for {other}"),
    };
    let mark = if task["running_on"].as_array().is_some_and(Vec::is_empty) { ' ' } else { '>' };
    let (tid, cpu) = (number(task, "tid")?, number(task, "cpu")?);
    let at = text(task, "address")?.trim_start_matches("0x");
    Ok(format!("{mark}{tid} {ppid} {cpu} {at} {state} {comm}"))
}

fn same_as_newest_crash(name: &str) -> Result<()> {
    same_as_crash(&crash()?, name)
}

fn same_as_older_crash(name: &str) -> Result<()> {
    same_as_crash(&crash_trixie()?, name)
}

mod of_the_guest {
    use super::{
        info_counts_them, the_guests_own_threads, users_and_command_lines, what_runs_on_each_cpu,
    };

    tests_of_all_guests!(
        the_guests_own_threads,
        users_and_command_lines,
        what_runs_on_each_cpu,
        info_counts_them
    );
}

mod of_other_kernels {
    guest_tests! {
        (the_guests_own_threads, users_and_command_lines, what_runs_on_each_cpu, info_counts_them)
        frame_pointers: "linux-6.1-frame-pointers",
        real_time: "linux-6.12-rt",
    }

    tests_of_other_kernels!(
        the_guests_own_threads,
        users_and_command_lines,
        what_runs_on_each_cpu,
        info_counts_them
    );

    use super::{
        info_counts_them, the_guests_own_threads, users_and_command_lines, what_runs_on_each_cpu,
    };
}

mod hidden {
    guest_tests! {
        (same_without_symbols_and_types)
        linux_6_1: "linux-6.1",
        linux_5_10: "linux-5.10",
        newest: "linux-sid",
    }

    use super::same_without_symbols_and_types;
}

mod of_judges {
    guest_tests! {
        (same_as_drgn, same_as_newest_crash, same_as_older_crash)
        five_level: "linux-6.1",
        isolated_four_level: "linux-6.1-4level",
        around_the_hole: "linux-6.1-6g",
        panicked: "linux-6.1-panic",
    }

    use super::{same_as_drgn, same_as_newest_crash, same_as_older_crash};
}
