//! Kernel stacks that `bt` shows, against those of drgn and crash, which unwind
//! by the DWARF of the real kernel; without it, against what must be so.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[macro_use]
mod common;
#[path = "../../answers/tests/schema/mod.rs"]
mod schema;

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::cores::{self, PROGRAM, Wrap};
use common::guests;
use common::judges;
use common::stacks::{self, Stack, address, addresses};
use serde_json::Value;
use vmss2core_lab::Guest;

/// What `bt --json` says.
fn bt(guest: &Guest, options: &[&str]) -> Result<Vec<Value>> {
    bt_of(guest, &Wrap::split(), options)
}

fn bt_of(guest: &Guest, wrap: &Wrap, options: &[&str]) -> Result<Vec<Value>> {
    let checkpoint = cores::checkpoint(guest, wrap)?;
    let mut program = Command::new(PROGRAM);
    program.args(["bt", "--json"]).args(options).arg(&checkpoint);
    let report: Value = serde_json::from_str(&judges::output(&mut program)?)?;
    let violations = schema::violations(&schema::load("bt-2.json"), &report);
    ensure!(violations.is_empty(), "{violations:?}");
    Ok(report["stacks"].as_array().context("no stacks")?.clone())
}

/// By number of the thread; those of idle processors, which all have 0, apart.
fn by_thread(stacks: &[Value]) -> Result<BTreeMap<u64, Stack>> {
    let threads = stacks.iter().filter(|stack| stack["task"]["tid"] != 0);
    threads
        .map(|stack| Ok((stack["task"]["tid"].as_u64().context("no thread")?, addresses(stack)?)))
        .collect()
}

/// The same return addresses as drgn finds for every task: of those that run in
/// user mode none, of those that have ended none.
fn same_as_in_drgn(name: &str) -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let ours = by_thread(&bt(&guest, &["--all"])?)?;
    same_as_drgn_said(&guest, &ours, &stacks::in_drgn(&guest, &kernel)?)
}

fn same_as_drgn_said(
    guest: &Guest,
    ours: &BTreeMap<u64, Stack>,
    theirs: &[(u64, Stack)],
) -> Result<()> {
    let name = &guest.name;
    let tasks = guest.truth()?.tasks()?;
    let ended = tasks.iter().filter(|task| task.state == 'Z').map(|task| u64::from(task.tid));
    let ended: Vec<u64> = ended.collect();
    let trampolines = stacks::trampolines(guest)?;
    let mut compared = 0;
    for (tid, theirs) in theirs {
        // The stack of what has ended is used for something else by now, which
        // drgn shows nevertheless.
        if *tid == 0 || ended.contains(tid) {
            ensure!(*tid == 0 || !ours.contains_key(tid), "{name}: a stack of {tid}, which ended");
            continue;
        }
        let Some(ours) = ours.get(tid) else {
            ensure!(theirs.is_empty(), "{name}: no stack of {tid}, in drgn {theirs:x?}");
            continue;
        };
        stacks::ensure_same(&trampolines, ours, theirs, &format!("{name}, {tid}, in drgn"))?;
        compared += usize::from(!ours.is_empty());
    }
    ensure!(compared > 40, "{name}: only {compared} stacks compared");
    Ok(())
}

/// The same as drgn finds by the DWARF and the frame pointers of a kernel, of idle
/// processors too. The DWARF says nothing of assembler, so that drgn has no callers of
/// that if it was interrupted.
fn same_as_in_drgn_by_frame_pointers(name: &str) -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let mut ours = bt(&guest, &["--all"])?;
    for stack in &mut ours {
        forget_callers_of_assembler(stack)?;
    }
    let theirs = stacks::in_drgn(&guest, &kernel)?;
    same_as_drgn_said(&guest, &by_thread(&ours)?, &theirs)?;
    let is_idle = |stack: &&Value| stack["task"]["tid"] == 0 && !stack["vcpu"].is_null();
    let idle = ours.iter().filter(is_idle).map(addresses).collect::<Result<Vec<Stack>>>()?;
    let theirs: Vec<Stack> =
        theirs.into_iter().filter(|(tid, _)| *tid == 0).map(|(_, stack)| stack).collect();
    ensure!(idle == theirs && !idle.is_empty(), "{name}: {idle:x?}\nin drgn\n{theirs:x?}");
    Ok(())
}

/// Whatever `bt` and `ps` call a task can be asked for: idle tasks, which all have number 0, and
/// threads of the kernel by the name that `ps` in the guest shows.
#[test]
fn what_is_listed_can_be_asked_for() -> Result<()> {
    let guest = guests::guest("linux-6.1")?;
    let all = bt(&guest, &["--all"])?;
    let of_idle = |stack: &&Value| stack["task"]["pid"] == 0;
    let idle: Vec<&Value> = all.iter().filter(of_idle).collect();
    let asked = bt(&guest, &["--pid", "0"])?;
    ensure!(idle.len() == 2 && asked.iter().collect::<Vec<_>>() == idle, "{asked:#?}");
    let one = bt(&guest, &["--pid", "swapper/1"])?;
    ensure!(one.len() == 1 && one[0]["task"]["comm"] == "swapper/1", "{one:#?}");
    let long = all.iter().find_map(|stack| stack["task"]["name"].as_str());
    let long = long.context("no task has a longer name")?;
    let named = bt(&guest, &["--pid", long])?;
    ensure!(!named.is_empty() && named.iter().all(|one| one["task"]["name"] == long), "{named:#?}");
    Ok(())
}

fn forget_callers_of_assembler(stack: &mut Value) -> Result<()> {
    let callers = stacks::callers_without_frames(stack)?;
    let frames = stack["frames"].as_array_mut().context("no frames")?;
    let mut former = Value::Null;
    frames.retain(|frame| {
        let is_assembler =
            former["symbol"].as_str().is_some_and(|name| name.starts_with("copy_user_"));
        former = frame.clone();
        let is_caller = address(&frame["ip"]).is_ok_and(|ip| callers.contains(&ip));
        !(is_assembler && is_caller)
    });
    Ok(())
}

/// The same return addresses as crash finds for every task that does not run.
fn same_as_in_crash(name: &str) -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let stacks = bt(&guest, &["--all"])?;
    let sleeping: Vec<_> = stacks.into_iter().filter(|stack| stack["vcpu"].is_null()).collect();
    let ours = by_thread(&sleeping)?;
    let theirs = stacks::in_crash(&guest, &kernel)?;
    ensure!(ours.len() > 40, "{name}: only {} stacks", ours.len());
    let trampolines = stacks::trampolines(&guest)?;
    for (tid, stack) in &ours {
        let their = theirs.get(tid).with_context(|| format!("{name}: crash has no {tid}"))?;
        stacks::ensure_same(&trampolines, stack, their, &format!("{name}, {tid}, in crash"))?;
    }
    Ok(())
}

/// The same functions as crash finds with the symbols of modules, up to where its own
/// stacks are none: return probes, which it does not know, and the common entry of
/// system calls, where it adds what was left of calls that had returned.
fn as_in_crash_up_to_the_entry(name: &str) -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let ours = by_thread(&bt(&guest, &["--all"])?)?;
    let theirs = stacks::in_crash(&guest, &kernel)?;
    let entry = guest.truth()?.symbol("do_syscall_64")?;
    let is_entry = |ip: &u64| (entry..entry + 0x100).contains(ip);
    let trampolines = stacks::trampolines(&guest)?;
    let (mut compared, mut whole) = (0, 0);
    for (tid, in_drgn) in stacks::in_drgn(&guest, &kernel)? {
        let (Some(ours), Some(theirs)) = (ours.get(&tid), theirs.get(&tid)) else { continue };
        let probe = in_drgn.iter().position(|ip| trampolines.contains(ip));
        let entry = ours.iter().position(is_entry).map(|at| at + 1);
        let len = [probe, entry].into_iter().flatten().min();
        let same = match len {
            Some(len) => ours.get(..len) == theirs.get(..len),
            None => ours == theirs,
        };
        ensure!(same || tid == 0, "{name}, {tid}: {len:?} of\n{ours:x?}\nin crash\n{theirs:x?}");
        compared += 1;
        whole += usize::from(ours == theirs);
    }
    ensure!(compared > 180 && whole > 60, "{name}: {compared} compared, {whole} whole");
    Ok(())
}

/// What the kernel itself said of the stacks of its tasks shortly before it stopped
/// and shortly after: what is the same in both must be so here, each function and
/// each offset, through return probes and the tracer of functions too. The kernel
/// leaves out what belongs to the scheduler.
fn same_as_the_kernel_said(name: &str) -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let truth = guest.truth()?;
    let before = stacks::said_by_kernel(truth.text("stacks")?)?;
    let after = stacks::said_by_kernel(guest.truth_after()?.text("stacks")?)?;
    let scheduler = stacks::scheduler(&guest)?;
    let is_left_out = |ip| scheduler.iter().any(|section| section.contains(&ip));
    let trampolines = stacks::trampolines(&guest)?;
    let in_drgn: BTreeMap<u64, Stack> = stacks::in_drgn(&guest, &kernel)?.into_iter().collect();
    let (mut compared, mut in_modules, mut moved) = (0, 0, 0);
    for stack in bt(&guest, &["--all"])?.iter().filter(|stack| stack["vcpu"].is_null()) {
        let tid = stack["task"]["tid"].as_u64().context("no thread")?;
        let said =
            before.get(&tid).filter(|said| !said.is_empty() && after.get(&tid) == Some(said));
        let Some(said) = said else { continue };
        ensure!(stack["end"] != "lost", "{name}: {stack:#}");
        if stacks::places(stack, is_left_out)? == *said {
            compared += 1;
            in_modules += usize::from(said.iter().any(|place| place.ends_with(']')));
        } else {
            // It slept somewhere else in between, and came back.
            let what = format!("{name}, {tid}: {said:#?}\n{stack:#}\nin drgn");
            stacks::ensure_same(&trampolines, &addresses(stack)?, &in_drgn[&tid], &what)?;
            moved += 1;
        }
    }
    ensure!(compared > 150 && moved <= 5, "{name}: {compared} stacks compared, {moved} moved");
    ensure!(in_modules > 5, "{name}: only {in_modules} stacks in modules");
    Ok(())
}

/// As the kernel itself found the callers and the wait channel of its tasks by their
/// frame pointers, each function and each offset, before it crashed. A task may sleep
/// elsewhere since then: few do, and no thread of a program that only waits.
fn same_as_the_kernel_said_by_frame_pointers(name: &str) -> Result<()> {
    same_as_was_said_to_a_program(name, stacks::callers_without_frames)
}

/// The same of a kernel that has tables for that, which lead through everything.
fn same_as_the_kernel_said_by_tables(name: &str) -> Result<()> {
    same_as_was_said_to_a_program(name, |_| Ok(Vec::new()))
}

/// The kernel leaves out what belongs to the scheduler, and what `left_out` finds.
fn same_as_was_said_to_a_program(
    name: &str,
    left_out: fn(&Value) -> Result<Vec<u64>>,
) -> Result<()> {
    let guest = guests::guest(name)?;
    let truth = guest.truth()?;
    let text = truth.text("out where")?;
    let (said, sleepers) = (stacks::said_to_program(text)?, stacks::sleepers(text)?);
    ensure!(sleepers.len() == 4, "{name}: {sleepers:?}");
    let threads = truth.program_threads()?;
    let mut waiting: Vec<u64> = threads.iter().map(|thread| thread.tid.into()).collect();
    waiting.extend(sleepers.values());
    let scheduler = stacks::scheduler(&guest)?;
    let is_left_out = |ip| scheduler.iter().any(|section| section.contains(&ip));
    let has_symbols = guests::has_symbols(&guest);
    let (mut compared, mut moved) = (0, Vec::new());
    for stack in bt(&guest, &["--all"])?.iter().filter(|stack| stack["vcpu"].is_null()) {
        let tid = stack["task"]["tid"].as_u64().context("no thread")?;
        let Some(said) = said.get(&tid).filter(|said| !said.stack.is_empty()) else { continue };
        let more = left_out(stack)?;
        let is_left_out = |ip| is_left_out(ip) || more.contains(&ip);
        let ours = if has_symbols {
            stacks::places(stack, is_left_out)?
        } else {
            let told = addresses(stack)?.into_iter().filter(|ip| !is_left_out(*ip));
            told.map(|ip| format!("{ip:#x}")).collect()
        };
        if ours == said.stack {
            let at = ours.first().and_then(|place| place.split('+').next());
            let is_there = !has_symbols || at == Some(&said.channel);
            ensure!(is_there, "{name}: waits in {}: {stack:#}", said.channel);
            compared += 1;
        } else {
            ensure!(!waiting.contains(&tid), "{name}, {tid}: {:#?}\n{stack:#}", said.stack);
            moved.push(format!("{tid}: {:?}\n{ours:?}", said.stack));
        }
    }
    ensure!(compared > 25 && moved.len() <= 3, "{name}: {compared} compared; {moved:#?}");
    Ok(())
}

/// A kernel that was compiled without type information has the same stacks.
fn same_without_types(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let with = by_thread(&bt(&guest, &["--all"])?)?;
    let without = by_thread(&bt_of(&guest, &Wrap::without_types(), &["--all"])?)?;
    ensure!(with == without, "{name}: {with:x?}\nwithout types\n{without:x?}");
    Ok(())
}

/// The same stacks where no symbol is known: by unwind tables that are found by their form, or
/// by frame pointers.
fn same_without_symbols(name: &str) -> Result<()> {
    let with = by_thread(&bt(&guests::guest(name)?, &["--all"])?)?;
    let hidden = guests::guest(&format!("{name}-hidden"))?;
    let without = by_thread(&bt(&hidden, &["--all"])?)?;
    ensure!(with == without, "{name}: {with:x?}\nwithout symbols\n{without:x?}");
    Ok(())
}

/// A fault of the kernel in a system call is told with the function that it interrupted
/// and with that one's caller, of which no frame pointer knows.
fn faults_of_the_kernel_are_told(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let stacks = bt(&guest, &["--all"])?;
    let sleepers = stacks::sleepers(guest.truth()?.text("out where")?)?;
    for (how, count) in [("pipe", 0), ("poll", 0), ("fault", 0), ("fault-of-kernel", 1)] {
        let tid = sleepers.get(how).with_context(|| format!("{name}: no {how}"))?;
        let stack = stacks.iter().find(|stack| stack["task"]["tid"] == *tid);
        let stack = stack.with_context(|| format!("{name}: no stack of {tid}"))?;
        let what = format!("{name}, {how}: {stack:#}");
        let (found, callers) = (interrupted(stack)?, stacks::callers_without_frames(stack)?);
        ensure!((found.len(), callers.len()) == (count, count), "{what}");
        ensure!(found.iter().all(|function| function.starts_with("copy_user_")), "{what}");
        ensure!(stack["end"] == "user", "{what}");
    }
    Ok(())
}

/// The functions that were interrupted.
fn interrupted(stack: &Value) -> Result<Vec<&str>> {
    let frames = stack["frames"].as_array().context("no frames")?.iter();
    let interrupted = frames.filter(|frame| frame["kind"] == "interrupted");
    interrupted.map(|frame| frame["symbol"].as_str().context("no name")).collect()
}

/// A panic stopped one processor in a program and one in the kernel, from where it is on
/// the stack of interrupts.
fn processors_are_followed_from_an_interrupt(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let stacks = bt(&guest, &[])?;
    ensure!(stacks.len() == guest.cpus.len(), "{name}: {stacks:#?}");
    let holds = |stack: &Value, function: &str| {
        let frames = stack["frames"].as_array().into_iter().flatten();
        frames.into_iter().any(|frame| frame["symbol"] == function)
    };
    let stopped: Vec<_> = stacks.iter().filter(|stack| holds(stack, "stop_this_cpu")).collect();
    ensure!(stopped.len() + 1 == stacks.len(), "{name}: {stacks:#?}");
    let in_program = stopped.iter().filter(|stack| stack["end"] == "user").count();
    let in_kernel = stopped.iter().filter(|stack| stack["end"] == "bottom");
    for stack in in_kernel.clone() {
        ensure!(interrupted(stack)?.len() == 1, "{name}: {stack:#}");
    }
    ensure!(in_program > 0 && in_kernel.count() > 0, "{name}: {stacks:#?}");
    Ok(())
}

/// Every stack leads to where it began, without guesses; those of threads of
/// programs to the system call they are in, where the guest says they are.
fn complete(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let stacks = bt(&guest, &["--all"])?;
    let maps = guest.truth()?.maps("mt")?;
    let threads: Vec<u64> =
        guest.truth()?.program_threads()?.iter().map(|thread| thread.tid.into()).collect();
    let has_symbols = guests::has_symbols(&guest);
    let mut of_programs = 0;
    for stack in &stacks {
        let task = &stack["task"];
        ensure!(stack["end"] != "lost", "{name}: {stack:#}");
        let frames = stack["frames"].as_array().context("no frames")?;
        for frame in frames {
            let is_named = frame["symbol"].is_string() || !has_symbols;
            ensure!(frame["kind"] != "guess" && is_named, "{name}: {stack:#}");
        }
        if stack["vcpu"].is_null() {
            let first = frames.first().context("a sleeping task without a stack")?;
            ensure!(!has_symbols || first["symbol"] == "__schedule", "{name}: {stack:#}");
        }
        if task["tid"].as_u64().is_some_and(|tid| threads.contains(&tid)) {
            let ip = address(&stack["user_ip"]).with_context(|| format!("{name}: {stack:#}"))?;
            let code = maps.iter().find(|map| (map.start..map.end).contains(&ip));
            ensure!(code.is_some_and(|map| map.permissions.contains('x')), "{name}: {stack:#}");
            of_programs += 1;
        }
    }
    ensure!(of_programs == threads.len(), "{name}: {of_programs} threads of mt");
    Ok(())
}

tests_of_all_guests!(complete);

/// crash is no judge here: without unwind tables it guesses.
mod by_frame_pointers {
    guest_tests! {
        (
            complete,
            same_as_the_kernel_said_by_frame_pointers,
            faults_of_the_kernel_are_told,
            processors_are_followed_from_an_interrupt,
            same_without_types,
            same_as_in_drgn_by_frame_pointers
        )
        built_from_source: "linux-6.1-frame-pointers",
    }

    use super::{
        complete, faults_of_the_kernel_are_told, processors_are_followed_from_an_interrupt,
        same_as_in_drgn_by_frame_pointers, same_as_the_kernel_said_by_frame_pointers,
        same_without_types,
    };
}

guest_tests! {
    (complete)
    real_time: "linux-6.12-rt",
}

tests_of_other_kernels!(complete);

mod by_tables_without_types {
    guest_tests! {
        (same_as_the_kernel_said_by_tables)
        functions_only: "linux-6.1-bare",
        no_symbols: "linux-6.1-no-kallsyms",
    }

    use super::same_as_the_kernel_said_by_tables;
}

mod without_symbols {
    guest_tests! {
        (same_without_symbols)
        linux_6_1: "linux-6.1",
        linux_5_10: "linux-5.10",
        newest: "linux-sid",
        frame_pointers: "linux-6.1-frame-pointers",
    }

    use super::same_without_symbols;
}

mod of_an_installed_system {
    guest_tests! {
        (same_as_the_kernel_said, same_as_in_drgn, as_in_crash_up_to_the_entry)
        production: "linux-6.1-production",
    }

    use super::{as_in_crash_up_to_the_entry, same_as_in_drgn, same_as_the_kernel_said};
}

mod of_a_crashed_kernel {
    guest_tests! {
        (same_as_in_drgn)
        kdump: "linux-6.1-kdump",
    }

    use super::same_as_in_drgn;
}

mod with_vmlinux {
    guest_tests! {
        (same_as_in_drgn, same_as_in_crash)
        five_level: "linux-6.1",
        isolated_four_level: "linux-6.1-4level",
        around_the_hole: "linux-6.1-6g",
        panicked: "linux-6.1-panic",
    }

    use super::{same_as_in_crash, same_as_in_drgn};
}
