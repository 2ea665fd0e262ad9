//! `gdb --tasks` in gdb 13, gdb 16 and lldb 19: the tasks against the guest's own
//! list, registers of those that run against QEMU, stacks against drgn and crash.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[macro_use]
mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vmss2core_debug::kernel::KernelTarget;
use vmss2core_gdb::description::Description;
use vmss2core_gdb::{Bind, Inferior, Listening, Region, Thread};
use vmss2core_lab::Guest;
use vmss2core_lab::judges::{Judge, gdb, gdb_trixie};
use vmss2core_machine::{Arch, Registers, Scope, Width, x86};
use vmss2core_mem::PhysicalMemory;

use common::clients::{self, ask_gdb, ask_lldb, source};
use common::cores::{self, PROGRAM, Wrap};
use common::guests;
use common::judges;
use common::server::Server;
use common::stacks::{self, Stack};
use common::text::{ensure_contains, ensure_registers};

/// Numbers of idle tasks begin here.
const IDLE: u64 = 10_000_000;

fn serve(guest: &Guest) -> Result<Server> {
    Server::start(&cores::checkpoint(guest, &Wrap::split())?, &["--tasks"])
}

/// What a line `KEY TID WORDS` says of each thread.
fn said_of<'s>(said: &'s str, key: &str) -> BTreeMap<u64, Vec<&'s str>> {
    let line = |line: &'s str| {
        let mut words = line.split_whitespace();
        (words.next()? == key).then_some(())?;
        Some((words.next()?.parse().ok()?, words.collect()))
    };
    said.lines().filter_map(line).collect()
}

fn names(said: &str) -> Result<BTreeMap<u64, String>> {
    let name = |(tid, words): (u64, Vec<&str>)| {
        let digits = words.first().copied().unwrap_or_default().as_bytes();
        let byte = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
        let bytes: Vec<u8> = digits.chunks(2).map(byte).collect::<Result<_>>()?;
        Ok((tid, String::from_utf8(bytes)?))
    };
    said_of(said, "task").into_iter().map(name).collect()
}

fn stack(words: &[&str]) -> Result<Stack> {
    let all = words.iter().map(|word| Ok(u64::from_str_radix(word, 16)?));
    all.collect::<Result<_>>()
}

/// What our `bt` says of all tasks, which other tests compare with drgn and crash.
fn bt(guest: &Guest) -> Result<Vec<Value>> {
    let checkpoint = cores::checkpoint(guest, &Wrap::split())?;
    let mut program = Command::new(PROGRAM);
    let report = judges::output(program.args(["bt", "--all", "--json"]).arg(&checkpoint))?;
    let report: Value = serde_json::from_str(&report)?;
    Ok(report["stacks"].as_array().context("no stacks")?.clone())
}

/// How a task is numbered as a thread.
fn number(task: &Value) -> Result<u64> {
    let name = task["comm"].as_str().context("no name")?;
    match task["tid"].as_u64().context("no thread")? {
        0 => Ok(IDLE + name.trim_start_matches("swapper/").parse::<u64>()?),
        tid => Ok(tid),
    }
}

/// The task that each processor runs, as threads are numbered.
fn running(stacks: &[Value]) -> Result<BTreeMap<u64, u64>> {
    let on_vcpu = |stack: &&Value| !stack["vcpu"].is_null();
    let of = |stack: &Value| {
        let vcpu = stack["vcpu"].as_u64().context("no vCPU")?;
        Ok((vcpu, number(&stack["task"])?))
    };
    stacks.iter().filter(on_vcpu).map(of).collect()
}

/// The guest's own list, and an idle task for each processor.
fn ensure_all_tasks(name: &str, guest: &Guest, shown: &BTreeMap<u64, String>) -> Result<()> {
    let truth = guests::tasks(guest)?;
    for (tid, comm) in &truth {
        let found = shown.get(&u64::from(*tid));
        let is_right = found.is_some_and(|found| found == comm || comm.starts_with(found.as_str()));
        ensure!(is_right || guests::is_fleeting(comm), "{name}: {tid} {comm} shown as {found:?}");
    }
    for (tid, comm) in shown.iter().filter(|(tid, _)| **tid < IDLE) {
        let is_known = truth.contains_key(&u32::try_from(*tid)?);
        ensure!(is_known || guests::is_fleeting(comm), "{name}: {tid} {comm} is too much");
    }
    let idle: Vec<&String> = shown.range(IDLE..).map(|(_, comm)| comm).collect();
    let expected: Vec<String> = (0..guest.cpus.len()).map(|cpu| format!("swapper/{cpu}")).collect();
    ensure!(idle.iter().copied().eq(&expected), "{name}: idle tasks {idle:?}");
    Ok(())
}

/// Without any file: every task with its name, those that run with the registers of
/// their processors, sleeping ones where they went to sleep.
fn tasks_in(judge: &Judge, name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let server = serve(&guest)?;
    let lines = ["info threads", "thread find ^mt-waiter$", &source("gdb_tasks.py")];
    let said = ask_gdb(judge, &server, None, &lines)?;
    let shown = names(&said)?;
    ensure_all_tasks(name, &guest, &shown)?;
    let listed = said.lines().filter(|line| line.contains(" Thread 1.")).count();
    ensure!(listed == shown.len(), "{name}: info threads has {listed} lines\n{said}");
    ensure_contains(name, &said, "has target name 'mt-waiter'")?;
    let stacks = bt(&guest)?;
    let tops = said_of(&said, "top");
    let mut sleeping = 0;
    for of in stacks.iter().filter(|stack| stack["vcpu"].is_null()) {
        let tid = number(&of["task"])?;
        let first = of["frames"].get(0).context("no frame")?;
        let top = [stacks::address(&first["ip"])?, stacks::address(&first["sp"])?];
        let theirs = stack(tops.get(&tid).with_context(|| format!("{name}: no {tid}"))?)?;
        ensure!(theirs == top, "{name}, {tid}: {top:x?}, in gdb {theirs:x?}");
        sleeping += 1;
    }
    ensure!(sleeping > 40, "{name}: only {sleeping} tasks compared");
    running_tasks_in(judge, name, &guest, &server, &running(&stacks)?)
}

fn running_tasks_in(
    judge: &Judge,
    name: &str,
    guest: &Guest,
    server: &Server,
    running: &BTreeMap<u64, u64>,
) -> Result<()> {
    ensure!(running.len() == guest.cpus.len(), "{name}: {running:?}");
    let said = ask_gdb(judge, server, None, &[&source("gdb_registers.py")])?;
    for (vcpu, tid) in running {
        let cpu = &guest.cpus[usize::try_from(*vcpu)?];
        let what = format!("{name} vCPU {vcpu}");
        let tid = usize::try_from(*tid)?;
        ensure_registers(&what, &said, tid, &guests::registers(guest, cpu))?;
    }
    Ok(())
}

fn tasks(name: &str) -> Result<()> {
    tasks_in(&gdb()?, name)
}

fn tasks_in_gdb_16(name: &str) -> Result<()> {
    tasks_in(&gdb_trixie()?, name)
}

/// The task that panicked is where a debugger begins.
#[test]
fn the_task_that_panicked_comes_first() -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel("linux-6.1-panic")?;
    let server = serve(&guest)?;
    let said = ask_gdb(&gdb()?, &server, Some(&kernel), &["bt", "p $_thread", "thread"])?;
    ensure_contains("panic", &said, "in panic (")?;
    ensure_contains("panic", &said, "sysrq_handle_crash")?;
    ensure_contains("panic", &said, "$1 = 1")
}

/// With the kernel's symbols: stacks as drgn and crash have them, variables of the
/// kernel and of the processor.
fn stacks_in(judge: &Judge, name: &str) -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let server = serve(&guest)?;
    let lines =
        ["p init_task.comm", "p current_task->comm", "p linux_banner", &source("gdb_tasks.py")];
    let said = ask_gdb(judge, &server, Some(&kernel), &lines)?;
    ensure_contains(name, &said, "$1 = \"swapper/0")?;
    ensure_contains(name, &said, "<linux_banner> \"Linux version 6.1.")?;
    let theirs: BTreeMap<u64, Stack> = said_of(&said, "stack")
        .into_iter()
        .map(|(tid, words)| Ok((tid, stack(&words)?)))
        .collect::<Result<_>>()?;
    let running: Vec<u64> = running(&bt(&guest)?)?.into_values().collect();
    let first = names_in_order(&said).first().copied().context("no task")?;
    ensure!(running.contains(&first), "{name}: {first} comes first, {running:?} run");
    let current = names(&said)?.remove(&first).context("no name")?;
    ensure_contains(name, &said, &format!("$2 = \"{current}"))?;
    let has_ended = |tid: u64| theirs.get(&tid).is_none_or(Vec::is_empty);
    let in_drgn: BTreeMap<u64, Stack> =
        stacks::in_drgn(&guest, &kernel)?.into_iter().filter(|(tid, _)| *tid != 0).collect();
    let mut in_crash = stacks::in_crash(&guest, &kernel)?;
    in_crash.remove(&0);
    for (who, expected) in [("drgn", in_drgn), ("crash", in_crash)] {
        let mut compared = 0;
        for (tid, expected) in expected {
            if has_ended(tid) || running.contains(&tid) && who == "crash" {
                continue;
            }
            let ours: Stack = theirs[&tid].iter().copied().filter(|ip| ip >> 63 == 1).collect();
            ensure!(ours == expected, "{name}, {tid}:\n{ours:x?}\nin {who}\n{expected:x?}");
            compared += 1;
        }
        ensure!(compared > 40, "{name}: only {compared} stacks compared with {who}");
    }
    Ok(())
}

fn names_in_order(said: &str) -> Vec<u64> {
    let tid = |line: &str| line.strip_prefix("task ")?.split(' ').next()?.parse().ok();
    said.lines().filter_map(tid).collect()
}

fn stacks_in_gdb_13(name: &str) -> Result<()> {
    stacks_in(&gdb()?, name)
}

fn stacks_in_gdb_16(name: &str) -> Result<()> {
    stacks_in(&gdb_trixie()?, name)
}

/// lldb shows the same threads with their names, and where they sleep.
fn in_lldb(name: &str) -> Result<()> {
    let (guest, kernel): (Guest, Option<PathBuf>) = match name {
        "linux-6.1" => {
            guests::guest_with_kernel(name).map(|(guest, kernel)| (guest, Some(kernel)))?
        }
        _ => (guests::guest(name)?, None),
    };
    let server = serve(&guest)?;
    let select = "script lldb.process.SetSelectedThread(\
                  next(t for t in lldb.process if t.name == 'kthreadd'))";
    let list =
        "script for t in lldb.process: print('task', t.GetThreadID(), t.name.encode().hex())";
    let said = ask_lldb(&server, kernel.as_deref(), &[list, select, "bt", "thread info -j"])?;
    ensure_all_tasks(name, &guest, &names(&said)?)?;
    ensure_contains(name, &said, "kernel thread")?;
    if kernel.is_some() {
        for part in ["`__schedule", "`schedule", "`kthreadd"] {
            ensure_contains("lldb", &said, part)?;
        }
    }
    Ok(())
}

/// More tasks than any guest of the lab has, made by hand.
struct Crowd {
    memory: PhysicalMemory,
    description: Description,
    threads: Vec<Thread>,
}

const CROWD: u32 = 2500;

impl Crowd {
    fn new() -> Self {
        let thread = |tid: u32| Thread {
            tid,
            name: format!("task-{tid}"),
            extra: format!("tgid {tid}, S, CPU {}, /usr/bin/program --number={tid}", tid % 8),
            core: Some(tid % 8),
        };
        Self {
            memory: PhysicalMemory::new(),
            description: Description::new(x86::X86.table(Width::Bits64, Scope::Processors, &[])),
            threads: (1..=CROWD).map(thread).collect(),
        }
    }
}

impl Inferior for Crowd {
    fn pid(&self) -> u32 {
        1
    }

    fn threads(&self) -> &[Thread] {
        &self.threads
    }

    fn description(&self) -> &Description {
        &self.description
    }

    fn registers(&self, tid: u32) -> Option<Registers> {
        let rip = Some(0xffff_ffff_8100_0000 + u64::from(tid));
        let mut x86 = x86::Registers { rip, ..x86::Registers::default() };
        x86.set_gpr(x86::Gpr::Rsp, u64::from(tid) << 16);
        (1..=CROWD).contains(&tid).then(|| x86.into())
    }

    fn read(&self, _: u32, _: u64, _: &mut [u8]) -> usize {
        0
    }

    fn region(&self, _: u32, _: u64) -> Option<Region> {
        None
    }
}

/// Serves it while `ask` asks.
fn with_crowd(ask: impl FnOnce(&Path) -> Result<String>) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("socket");
    let crowd = Arc::new(Crowd::new());
    let target = KernelTarget::new(&crowd.memory, crowd.clone());
    let stop = Listening::bind(&Bind::Unix(socket.clone()))?;
    let monitor = vmss2core_gdb::fuzzing::Toy::default();
    let server = vmss2core_gdb::Server::new(Arc::new(target), Arc::new(monitor));
    std::thread::scope(|scope| {
        scope.spawn(|| server.run(&stop));
        let said = ask(&socket);
        stop.stop();
        said
    })
}

/// Every one is listed, once, by its name, with its own registers.
#[test]
fn thousands_of_tasks_are_listed() -> Result<()> {
    let all: Vec<String> = (1..=CROWD).map(|tid| format!("task-{tid}")).collect();
    for judge in [gdb()?, gdb_trixie()?] {
        let lines = ["info threads", "thread find ^task-1234$", &source("gdb_tasks.py")];
        let said = with_crowd(|socket| clients::ask_gdb_at(&judge, socket, None, &lines))?;
        let listed = said.lines().filter(|line| line.contains(" Thread 1.")).count();
        ensure!(listed == all.len(), "{listed} are listed");
        ensure!(names(&said)?.into_values().eq(all.iter().cloned()), "{said}");
        ensure_contains("crowd", &said, "Thread 1234 has target name 'task-1234'")?;
        let tops = said_of(&said, "top");
        for tid in 1..=u64::from(CROWD) {
            let expected = [0xffff_ffff_8100_0000 + tid, tid << 16];
            ensure!(stack(&tops[&tid])? == expected, "{tid}: {:?}", tops[&tid]);
        }
    }
    let list =
        "script for t in lldb.process: print('task', t.GetThreadID(), t.name.encode().hex())";
    let said = with_crowd(|socket| clients::ask_lldb_at(socket, None, &[list]))?;
    ensure!(names(&said)?.into_values().eq(all), "{said}");
    Ok(())
}

tests_of_all_guests!(tasks);

mod in_gdb_16 {
    guest_tests! {
        (tasks_in_gdb_16)
        five_level: "linux-6.1",
        newest: "linux-sid",
        two_level: "linux-6.1-i386",
    }

    use super::tasks_in_gdb_16;
}

mod lldb_too {
    guest_tests! {
        (in_lldb)
        five_level: "linux-6.1",
        newest: "linux-sid",
        two_level: "linux-6.1-i386",
    }

    use super::in_lldb;
}

mod with_vmlinux {
    guest_tests! {
        (stacks_in_gdb_13, stacks_in_gdb_16)
        five_level: "linux-6.1",
        isolated_four_level: "linux-6.1-4level",
        panicked: "linux-6.1-panic",
    }

    use super::{stacks_in_gdb_13, stacks_in_gdb_16};
}
