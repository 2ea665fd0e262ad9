//! Commands that write files of a real guest: none takes the place of an input, follows
//! a link that nobody typed, or lets others read it. Those that need no real guest are
//! in `cli`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use vmss2core_lab::vmware::{Machine, Shape, write_checkpoint};

use common::cores::PROGRAM;
use common::guests;
use common::outputs::{Lab, Writer};

/// A checkpoint of its own: a test that fails may destroy it.
fn place() -> Result<TempDir> {
    let dir = tempfile::tempdir()?;
    let machine = Machine::of_guest(&guests::guest("linux-6.1")?)?;
    write_checkpoint(&machine, &Shape::default(), dir.path(), "vm")?;
    Ok(dir)
}

fn run(dir: &Path, words: &[&str]) -> Output {
    Command::new(PROGRAM).current_dir(dir).args(words).output().unwrap()
}

fn check(writer: &Writer<'_>) -> Result<()> {
    let dir = place()?;
    let run = |words: &[&str]| run(dir.path(), words);
    Lab { dir: dir.path(), inputs: &["vm.vmss", "vm.vmem"], run: &run }.check(writer);
    Ok(())
}

fn typed(line: &str) -> Result<()> {
    check(&Writer { line, implied: None, force: "--force" })
}

#[test]
fn kdump() -> Result<()> {
    typed("convert vm.vmss -f kdump -d 31 -o OUT")
}

#[test]
fn type_information() -> Result<()> {
    typed("btf vm.vmss -o OUT")
}

#[test]
fn core_of_a_process() -> Result<()> {
    typed("core vm.vmss --pid 1 -o OUT")?;
    check(&Writer { line: "core vm.vmss --pid 1", implied: Some("core.1"), force: "--force" })?;
    check(&Writer { line: "-P1 vm.vmss", implied: Some("core.1"), force: "" })
}

#[test]
fn program_of_a_process() -> Result<()> {
    typed("extract vm.vmss --pid 1 --exe -o OUT")
}

/// Files that say more of the kernel are inputs, too.
#[test]
fn what_the_user_gives_is_not_replaced_by_what_comes_of_it() -> Result<()> {
    let dir = place()?;
    let made = run(dir.path(), &["btf", "vm.vmss", "-o", "types"]);
    ensure!(made.status.success(), "{made:?}");
    let before = fs::read(dir.path().join("types"))?;
    let line = ["btf", "vm.vmss", "--btf", "types", "-o", "types", "--force"];
    let refused = run(dir.path(), &line);
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(refused.status.code() == Some(1) && said.contains("part of the checkpoint"), "{said}");
    ensure!(fs::read(dir.path().join("types"))? == before, "the file has changed");
    Ok(())
}

/// The guest chooses the names of its files: where they may replace others, nothing of
/// the machine may lie.
#[test]
fn files_of_the_guest_do_not_replace_those_of_the_machine() -> Result<()> {
    let dir = place()?;
    fs::write(dir.path().join("vm.vmdk"), "disk")?;
    for line in [
        &["extract", "vm.vmss", "--pid", "1", "--maps", "-o", ".", "--force"][..],
        &["extract", "vm.vmss", "--pid", "1", "--exe", "--force"],
        &["extract", "vm.vmss", "--pid", "1", "--exe", "-o", ".", "--force"],
    ] {
        let refused = run(dir.path(), line);
        let said = String::from_utf8_lossy(&refused.stderr);
        ensure!(refused.status.code() == Some(1), "{line:?}: {said}");
        ensure!(said.contains("name another directory"), "{line:?}: {said}");
    }
    let line = ["extract", "vm.vmss", "--pid", "1", "--maps", "-o", "root", "--force"];
    let twice = [run(dir.path(), &line), run(dir.path(), &line)];
    for ended in twice {
        ensure!(matches!(ended.status.code(), Some(0 | 4)), "{ended:?}");
    }
    Ok(())
}

/// gdb would take each line of a script for a command.
#[test]
fn a_socket_whose_path_has_a_line_break_is_refused() -> Result<()> {
    let dir = place()?;
    let evil = dir.path().join("x\nshell touch PWNED");
    fs::create_dir(&evil)?;
    let socket = evil.join("s");
    let socket = socket.to_str().context("a path")?;
    let line = ["gdb", "vm.vmss", "--unix", socket, "--write-gdbinit", "script"];
    let refused = run(dir.path(), &line);
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(refused.status.code() == Some(1) && said.contains("control characters"), "{said}");
    ensure!(!dir.path().join("script").exists(), "a script was written");
    Ok(())
}

#[test]
fn a_script_for_gdb_replaces_nothing_else() -> Result<()> {
    let dir = place()?;
    fs::write(dir.path().join("theirs"), "theirs")?;
    std::os::unix::fs::symlink("nowhere", dir.path().join("dangling"))?;
    for name in ["theirs", "dangling", "vm.vmss"] {
        let line = ["gdb", "vm.vmss", "--unix", "s", "--write-gdbinit", name];
        let refused = run(dir.path(), &line);
        let said = String::from_utf8_lossy(&refused.stderr);
        ensure!(refused.status.code() == Some(1) && said.contains("not replaced"), "{said}");
    }
    ensure!(!dir.path().join("nowhere").exists(), "the link was followed");
    Ok(())
}
