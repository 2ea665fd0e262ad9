//! A guest whose kernel has crashed, and in which a second one runs since then (kdump):
//! which is which, and the stack of the task that panicked as drgn and crash have it.

#![allow(clippy::indexing_slicing, reason = "a member that is missing in JSON is null")]

#[macro_use]
mod common;

use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::cores::{self, PROGRAM, Wrap};
use common::guests;
use common::stacks::{self, addresses};
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
        let chain = ["__crash_kexec", "panic", "sysrq_handle_crash", "__handle_sysrq.cold"];
        ensure!(names.starts_with(&chain), "{arguments:?}: {names:?}");
        ensure!(stack["end"] == "user", "{stack:#}");
        ensure!(stack["task"]["pid"] == 1 && stack["cpu"] == 1, "{stack:#}");
    }
    Ok(())
}

/// Frame by frame. drgn begins with the registers that the kernel saved, as ours does;
/// crash with what that function called afterwards, to start the second kernel.
#[test]
fn the_stack_of_the_task_that_panicked_is_that_of_drgn_and_crash() -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(GUEST)?;
    let ours = addresses(&answer(&guest, &["bt", "--pid", "1"])?["stacks"][0])?;
    let in_drgn = stacks::in_drgn(&guest, &kernel)?;
    let (_, in_drgn) = in_drgn.iter().find(|(tid, _)| *tid == 1).context("drgn has no task 1")?;
    ensure!(&ours == in_drgn && ours.len() > 8, "{ours:x?}\nin drgn\n{in_drgn:x?}");
    let in_crash = stacks::in_crash(&guest, &kernel)?;
    let in_crash = in_crash.get(&1).context("crash has no task 1")?;
    let callers = in_crash.iter().skip_while(|ip| Some(*ip) != ours.get(1));
    ensure!(ours.iter().skip(1).eq(callers), "{ours:x?}\nin crash\n{in_crash:x?}");
    Ok(())
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
