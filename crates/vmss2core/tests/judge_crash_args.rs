//! The command lines that `crash-args` prints, typed as they are.

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

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::cores::{self, PROGRAM, Wrap};
use common::guests;
use common::judges;
use common::text::ensure_contains;
use serde_json::Value;
use vmss2core_lab::Guest;
use vmss2core_lab::judges::crash;

fn crash_args(guest: &Guest, options: &[&Path]) -> Result<Value> {
    let checkpoint = cores::checkpoint(guest, &Wrap::split())?;
    let mut program = Command::new(PROGRAM);
    program.args(["crash-args", "--json"]).args(options).arg(&checkpoint);
    let report: Value = serde_json::from_str(&judges::output(&mut program)?)?;
    let violations = schema::violations(&schema::load("crash-args-2.json"), &report);
    ensure!(violations.is_empty(), "{violations:?}");
    Ok(report)
}

/// The line of a report that starts with this word.
fn line(report: &Value, program: &str) -> Result<String> {
    let steps = report["steps"].as_array().context("no steps")?;
    let lines = steps.iter().filter_map(|step| step["commands"].as_array()).flatten();
    let mut lines = lines.filter_map(Value::as_str);
    let found = lines.find(|line| line.split(' ').next() == Some(program));
    Ok(found.with_context(|| format!("no line for {program}: {report:#}"))?.to_owned())
}

fn lines_work(name: &str) -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let report = crash_args(&guest, &[Path::new("--vmlinux"), &kernel])?;
    let text = guest.truth()?;
    let release = text.text("version")?.split(' ').nth(2).context("no release")?;
    ensure!(report["release"] == release, "{report:#}");
    let checkpoint = cores::checkpoint(&guest, &Wrap::split())?;
    let mut info = Command::new(PROGRAM);
    let info: Value =
        serde_json::from_str(&judges::output(info.args(["info", "--json"]).arg(&checkpoint))?)?;
    let of_info = &info["guest"]["linux"]["phys_base"]["value"];
    ensure!(report["phys_base"] == *of_info, "{report:#} {of_info}");
    let dir = cores::linux(&guest)?.dir;
    let line_of_crash = line(&report, "crash")?;
    let typed = line_of_crash.split("  #").next().context("a line without a command")?;
    let paths: Vec<_> = typed.split(' ').skip(1).map(|word| dir.join(word)).collect();
    let paths: Vec<&Path> = paths.iter().map(std::path::PathBuf::as_path).collect();
    ensure_contains(name, &judges::crash(&crash()?, &paths, "sys\nquit\n")?, release)?;
    let mut gdb = judges::gdb_line(
        &cores::linear(&guest)?.dir,
        &line(&report, "gdb")?,
        &["p linux_banner", "p init_task.comm"],
    )?;
    let said = judges::output(&mut gdb)?;
    ensure_contains(name, &said, release)?;
    ensure_contains(name, &said, "swapper/0")
}

/// No line that cannot work: crash does not open a 32-bit kernel that slid.
fn nothing_that_fails(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let report = crash_args(&guest, &[])?;
    let slid = guest.truth()?.symbol("_text")? != 0xc100_0000;
    ensure!(line(&report, "crash").is_err() == slid, "{name}: {report:#}");
    ensure_contains(name, &line(&report, "gdb")?, "vmss.core0")
}

tests_of_32_bit_guests!(nothing_that_fails);

mod with_vmlinux {
    guest_tests! {
        (lines_work)
        five_level: "linux-6.1",
        panicked: "linux-6.1-panic",
    }

    use super::lines_work;
}
