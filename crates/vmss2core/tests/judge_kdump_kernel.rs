//! A guest whose kernel has crashed, and in which a second one runs since then (kdump):
//! which is which, and the stack of the task that panicked as drgn and crash have it.

#![allow(clippy::indexing_slicing, reason = "a member that is missing in JSON is null")]

#[macro_use]
mod common;

use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::cores::{self, PROGRAM, Wrap};
use common::guests;
use common::stacks::{self, Stack, addresses};
use serde_json::Value;
use vmss2core_lab::Guest;

const GUEST: &str = "linux-6.1-kdump";

/// What a command answers in JSON.
fn answer(guest: &Guest, arguments: &[&str]) -> Result<Value> {
    let checkpoint = cores::checkpoint(guest, &Wrap::split())?;
    let mut program = Command::new(PROGRAM);
    program.args(arguments).arg("--json").arg(&checkpoint);
    let output = program.output()?;
    let talk = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?}: {}\n{talk}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The CPU that panicked, as the guest printed it: `CPU: 1 PID: 1 Comm: init ...`.
fn panicked(guest: &Guest) -> Result<u64> {
    let log = guest.serial_log()?;
    let (_, rest) = log.split_once("Kernel panic - not syncing: ").context("no panic")?;
    let (_, rest) = rest.split_once("CPU: ").context("no CPU")?;
    Ok(rest.split_whitespace().next().context("no number")?.parse()?)
}

/// The second kernel starts on the CPU that panicked, and only there.
#[test]
fn both_kernels_are_named_with_their_processors() -> Result<()> {
    let guest = guests::guest(GUEST)?;
    let cpu = panicked(&guest)?;
    ensure!(cpu == 1, "panicked on CPU {cpu}");
    let info = answer(&guest, &["info"])?;
    let linux = &info["guest"]["linux"];
    let second = &linux["crash_kernel"]["value"];
    ensure!(second["vcpus"] == serde_json::json!([cpu]), "{linux:#}");
    ensure!(second["release"] == linux["release"]["value"], "{linux:#}");
    let truth = guest.truth()?;
    let text = u64::from_str_radix(
        linux["image"]["value"]["start"].as_str().context("no image")?.trim_start_matches("0x"),
        16,
    )?;
    ensure!(text == truth.symbol("_text")?, "the image of the first kernel is not at {text:#x}");
    ensure!(second["image"]["start"] != linux["image"]["value"]["start"], "{linux:#}");
    ensure!(linux["state"]["panic_cpu"]["value"] == cpu, "{linux:#}");
    for (index, vcpu) in info["vcpus"].as_array().context("no vCPUs")?.iter().enumerate() {
        let left = index as u64 == cpu;
        ensure!(vcpu["logical_cpu"] == index, "{vcpu:#}");
        ensure!((vcpu["in_crash_kernel"] == true) == left, "{vcpu:#}");
        ensure!(vcpu["location"]["symbol"].is_null() == left, "{vcpu:#}");
    }
    ensure!(info["vcpus"][1]["task"]["pid"] == 1, "{:#}", info["vcpus"][1]);
    Ok(())
}

fn symbols(stack: &Value) -> Result<Vec<&str>> {
    let frames = stack["frames"].as_array().context("no frames")?;
    frames.iter().map(|frame| frame["symbol"].as_str().context("no symbol")).collect()
}

/// By CPU and by task.
#[test]
fn the_stack_of_the_task_that_panicked_is_told() -> Result<()> {
    let guest = guests::guest(GUEST)?;
    for arguments in [["bt", "--cpu", "1"], ["bt", "--pid", "1"]] {
        let report = answer(&guest, &arguments)?;
        let stack = &report["stacks"][0];
        let names = symbols(stack)?;
        let chain = ["panic", "sysrq_handle_crash", "__handle_sysrq.cold", "write_sysrq_trigger"];
        ensure!(has_in_order(&names, &chain), "{arguments:?}: {names:?}");
        ensure!(stack["task"]["pid"] == 1 && stack["cpu"] == 1, "{stack:#}");
    }
    Ok(())
}

/// Whether all of `wanted` are there in this order, whatever lies between them.
fn has_in_order<T, W: PartialEq<T>>(there: &[T], wanted: &[W]) -> bool {
    let mut rest = there.iter();
    wanted.iter().all(|wanted| rest.any(|there| wanted == there))
}

/// From the caller of what saved the registers on; what crash finds above that is in the
/// second kernel's start. The compiler describes no stack where the call that does not return stands, so
/// that ours has guesses, and among them what calls left that had ended.
fn same_frames(ours: &Stack, theirs: &Stack, judge: &str) -> Result<()> {
    let caller = theirs.iter().position(|ip| Some(ip) == ours.get(1)).unwrap_or(theirs.len());
    let callers = theirs.get(caller..).unwrap_or_default();
    ensure!(callers.len() > 5 && has_in_order(ours, callers), "{ours:x?}\nin {judge}\n{theirs:x?}");
    Ok(())
}

#[test]
fn the_stack_of_the_task_that_panicked_is_that_of_drgn_and_crash() -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(GUEST)?;
    let ours = addresses(&answer(&guest, &["bt", "--pid", "1"])?["stacks"][0])?;
    let in_crash = stacks::in_crash(&guest, &kernel)?;
    same_frames(&ours, in_crash.get(&1).context("crash has no task 1")?, "crash")?;
    let in_drgn = stacks::in_drgn(&guest, &kernel)?;
    let (_, theirs) = in_drgn.iter().find(|(tid, _)| *tid == 1).context("drgn has no task 1")?;
    same_frames(&ours, theirs, "drgn")
}

/// Code that the kernel made while it ran has the names that the guest lists.
#[test]
fn symbols_are_those_of_proc_kallsyms() -> Result<()> {
    let guest = guests::guest(GUEST)?;
    let said = guest.truth()?.text("kallsyms")?.to_owned();
    for module in ["[bpf]", "[__builtin__ftrace]"] {
        ensure!(said.contains(module), "the guest lists nothing of {module}");
    }
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let ours = cores::converted(&guest, &Wrap::split(), &["symbols"])?.stdout;
    common::text::same_lines(GUEST, &sorted(&ours), &sorted(&said))
}

/// As many names as there are tasks: those of the second kernel are no part of it.
#[test]
fn tasks_are_those_of_the_first_kernel() -> Result<()> {
    let guest = guests::guest(GUEST)?;
    let list = answer(&guest, &["ps", "--threads"])?;
    let listed = list["tasks"].as_array().context("no tasks")?;
    for task in guest.truth()?.tasks()?.iter().filter(|task| !guests::is_fleeting(&task.comm)) {
        let found = listed.iter().find(|listed| listed["tid"] == task.tid);
        let found = found.with_context(|| format!("not listed: {task:?}"))?;
        ensure!(found["name"] == task.comm, "{found}\nthe guest: {task:?}");
    }
    Ok(())
}
