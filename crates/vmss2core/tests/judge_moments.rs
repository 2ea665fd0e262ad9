//! Registers and memory of different moments: noticed, and the memory is understood as if it
//! had come alone. What belongs together is never doubted.

#![allow(clippy::indexing_slicing, reason = "a member that is missing in JSON is null")]

#[macro_use]
mod common;

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use common::cores::{self, PROGRAM, Wrap};
use common::guests;
use serde_json::Value;
use tempfile::TempDir;
use vmss2core_lab::vmware::{Machine, Shape, write_checkpoint};
use vmss2core_lab::windows::{fixture, make};

const NO_MATCH: &str = "the registers do not fit the memory";

fn run(dir: &Path, line: &str) -> Result<Output> {
    let mut command = Command::new(PROGRAM);
    Ok(command.args(line.split_whitespace()).current_dir(dir).output()?)
}

/// The registers of one guest with the memory of another, as `vm.vmss` and `vm.vmem`, and the
/// memory alone as `alone/x.vmem`.
fn mixed(registers: &str, memory: &str) -> Result<TempDir> {
    let machine = Machine {
        ram: Machine::of_guest(&guests::guest(memory)?)?.ram,
        ..Machine::of_guest(&guests::guest(registers)?)?
    };
    mixed_files(&machine)
}

fn mixed_files(machine: &Machine) -> Result<TempDir> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    write_checkpoint(machine, &Shape::default(), dir.path(), "vm")?;
    std::fs::create_dir(dir.path().join("alone"))?;
    std::fs::hard_link(dir.path().join("vm.vmem"), dir.path().join("alone/x.vmem"))?;
    Ok(dir)
}

/// What every command says and answers of such a pair.
fn is_noticed(dir: &Path, commands: &[&str]) -> Result<()> {
    for command in commands {
        let (name, options) = command.split_once(' ').unwrap_or((command, ""));
        let mixed = run(dir, &format!("{name} {options} vm.vmss"))?;
        let said = String::from_utf8_lossy(&mixed.stderr);
        ensure!(mixed.status.code() == Some(4), "{command}: {}\n{said}", mixed.status);
        ensure!(said.lines().next().is_some_and(|line| line.contains(NO_MATCH)), "{said}");
        ensure!(said.matches(NO_MATCH).count() == 1, "said twice: {said}");
        let alone = run(dir, &format!("{name} {options} alone/x.vmem"))?;
        ensure!(mixed.stdout == alone.stdout, "{command} answers other than of memory alone");
        ensure!(!mixed.stdout.is_empty(), "{command} answers nothing");
    }
    Ok(())
}

fn info(dir: &Path, file: &str) -> Result<(Option<i32>, Value)> {
    let output = run(dir, &format!("info --json {file}"))?;
    Ok((output.status.code(), serde_json::from_slice(&output.stdout)?))
}

fn is_noticed_of_linux(registers: &str, memory: &str) -> Result<()> {
    let dir = mixed(registers, memory)?;
    is_noticed(dir.path(), &["ps", "dmesg", "modules", "vmcoreinfo", "bt -a"])?;
    let (code, json) = info(dir.path(), "vm.vmss")?;
    let headline = json["headline"].as_str().context("no headline")?;
    ensure!(code == Some(4) && headline.starts_with(NO_MATCH), "{code:?} {headline}");
    ensure!(json["vcpus"] == Value::Array(Vec::new()), "vCPUs are shown");
    let truth = guests::guest(memory)?;
    let release = &json["guest"]["linux"]["release"]["value"];
    ensure!(truth.truth()?.text("version")?.contains(release.as_str().unwrap_or("?")), "{release}");
    let text = String::from_utf8(run(dir.path(), "info vm.vmss")?.stdout)?;
    ensure!(text.starts_with(&format!("incomplete: {NO_MATCH}")), "{text}");
    let core = run(dir.path(), "convert -o x.core vm.vmss")?;
    ensure!(core.status.code() == Some(4), "{core:?}");
    let original = run(dir.path(), "-N6 vm.vmss")?;
    ensure!(original.status.code() == Some(4), "{original:?}");
    Ok(())
}

/// Another start of the same kernel.
#[test]
fn memory_of_another_start_is_noticed() -> Result<()> {
    is_noticed_of_linux("linux-6.1", "linux-6.1-panic")
}

#[test]
fn memory_of_another_paging_mode_is_noticed() -> Result<()> {
    is_noticed_of_linux("linux-6.1", "linux-6.1-4level")?;
    is_noticed_of_linux("linux-6.1-4level", "linux-6.12")
}

#[test]
fn memory_of_another_32_bit_kernel_is_noticed() -> Result<()> {
    is_noticed_of_linux("linux-6.1-i386-pae", "linux-6.1")
}

#[test]
fn memory_of_another_system_is_noticed() -> Result<()> {
    let nt = make(&fixture("win10-19041-x64").context("no such fixture")?)?.machine;
    let linux = Machine::of_guest(&guests::guest("linux-6.1")?)?;
    let dir = mixed_files(&Machine { cpus: linux.cpus, ..nt })?;
    is_noticed(dir.path(), &["ps", "modules"])?;
    let (code, json) = info(dir.path(), "vm.vmss")?;
    ensure!(code == Some(4) && json["guest"]["os"]["value"] == "Windows", "{json}");
    Ok(())
}

/// A debugger is told before anything else, and served the memory's own view.
#[test]
fn debuggers_are_told() -> Result<()> {
    let dir = mixed("linux-6.1", "linux-6.1-panic")?;
    let output = run(dir.path(), "gdb --stdio vm.vmss")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.lines().next().is_some_and(|line| line.contains(NO_MATCH)), "{said}");
    ensure!(output.status.code() == Some(4), "{}", output.status);
    Ok(())
}

/// The first 120 MB of 512 MiB.
#[test]
fn memory_without_the_page_tables_is_called_cut_off() -> Result<()> {
    let dir = mixed("linux-6.1", "linux-6.1")?;
    let file = std::fs::File::options().write(true).open(dir.path().join("vm.vmem"))?;
    file.set_len(120_000_000)?;
    let output = run(dir.path(), "info vm.vmss")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(4), "{said}");
    let Some(first) = said.split("\n\n").next() else { bail!("{said}") };
    ensure!(first.starts_with(&format!("incomplete: {NO_MATCH}")), "{said}");
    Ok(())
}

/// The first `mib` MiB of a guest's memory as `alone/x.vmem`.
fn beginning(name: &str, mib: u64) -> Result<TempDir> {
    let dir = mixed(name, name)?;
    let file = std::fs::File::options().write(true).open(dir.path().join("alone/x.vmem"))?;
    file.set_len(mib << 20)?;
    Ok(dir)
}

/// Memory alone of which the end is missing, at the border of a page: the kernel's page
/// tables lead beyond it, or its VMCOREINFO does.
fn memory_without_its_end_is_called_cut_off(name: &str) -> Result<()> {
    for mib in [150, 200, 400] {
        let dir = beginning(name, mib)?;
        let (code, json) = info(dir.path(), "alone/x.vmem")?;
        let headline = json["headline"].as_str().unwrap_or("none");
        ensure!(code == Some(4) && headline.contains("memory is missing: "), "{code:?} {headline}");
        ensure!(json["problems"][0]["message"] == json["headline"], "{}", json["problems"]);
        let text = String::from_utf8(run(dir.path(), "info alone/x.vmem")?.stdout)?;
        ensure!(text.starts_with("incomplete: "), "{text}");
        let asked = run(dir.path(), "ps alone/x.vmem")?;
        let said = String::from_utf8_lossy(&asked.stderr);
        ensure!(said.contains("memory is missing: "), "{said}");
        let expected = if json["guest"]["os"].is_null() { 1 } else { 4 };
        ensure!(asked.status.code() == Some(expected), "{}\n{said}", asked.status);
    }
    Ok(())
}

mod cut_off {
    guest_tests! {
        (memory_without_its_end_is_called_cut_off)
        five_level: "linux-6.1",
        isolated_four_level: "linux-6.1-4level",
        panicked: "linux-6.1-panic",
        oldest: "linux-5.10",
        newest: "linux-sid",
        without_pae: "linux-6.1-i386",
        with_pae: "linux-5.10-i386-pae",
    }

    use super::memory_without_its_end_is_called_cut_off;
}

/// Whole memory alone has all that its tables lead to; where nothing is recognised, that
/// is said with what was looked for.
#[test]
fn whole_memory_is_not_called_cut_off() -> Result<()> {
    for name in ["linux-6.1", "linux-6.1-i386", "linux-6.1-i386-pae", "linux-sid"] {
        let dir = mixed(name, name)?;
        let (code, json) = info(dir.path(), "alone/x.vmem")?;
        ensure!(code == Some(0) && json.get("headline").is_none(), "{name}: {json}");
    }
    // All of the kernel lies above 4 GiB there.
    let dir = beginning("linux-6.1-6g", 400)?;
    let (_, json) = info(dir.path(), "alone/x.vmem")?;
    let problems = json["problems"].to_string();
    ensure!(problems.contains("no VMCOREINFO of Linux leads to page tables"), "{problems}");
    Ok(())
}

/// What was stopped at one moment fits, in every paging mode, isolated or not, in a panic.
fn what_belongs_together_is_not_doubted(name: &str) -> Result<()> {
    let state = cores::checkpoint(&guests::guest(name)?, &Wrap::split())?;
    let file = state.display().to_string();
    let (code, json) = info(Path::new("/"), &file)?;
    ensure!(json.get("headline").is_none(), "{}", json["headline"]);
    ensure!(code == Some(0), "{code:?}: {}", json["problems"]);
    Ok(())
}

tests_of_all_guests!(what_belongs_together_is_not_doubted);
