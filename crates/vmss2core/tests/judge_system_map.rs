//! `--system-map`: the symbols of a build, moved to where the guest has them.

#[macro_use]
mod common;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use common::cores::{Wrap, checkpoint};
use common::guests::{guest, guest_with_kernel};
use common::judges::output;
use common::text::ensure_contains;
use tempfile::TempDir;

/// The map as a build makes it of its kernel (`scripts/mksysmap`).
fn system_map(vmlinux: &Path) -> Result<(TempDir, PathBuf)> {
    let text = output(Command::new("nm").arg("-n").arg(vmlinux))?;
    let is_kept = |line: &&str| !line.split(' ').nth(1).is_some_and(|kind| "aNUw".contains(kind));
    let lines: Vec<&str> = text.lines().filter(is_kept).collect();
    ensure!(lines.len() > 100_000, "{} symbols", lines.len());
    let dir = TempDir::new()?;
    let path = dir.path().join("System.map");
    fs::write(&path, lines.join("\n"))?;
    Ok((dir, path))
}

fn symbols(state: &Path, map: &Path) -> Result<Output> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_vmss2core"));
    Ok(program.arg("symbols").arg("--system-map").arg(map).arg(state).output()?)
}

/// Every symbol of the kernel itself that the guest lists has the same address in
/// the map's list, by as much as this guest's kernel was moved.
fn addresses_are_those_of_proc_kallsyms(name: &str) -> Result<()> {
    let (guest, vmlinux) = guest_with_kernel(name)?;
    let (_dir, map) = system_map(&vmlinux)?;
    let said = symbols(&checkpoint(&guest, &Wrap::split())?, &map)?;
    let talk = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.success(), "{name}: {talk}");
    let text = String::from_utf8(said.stdout)?;
    let pair = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        Some((address, words.nth(1)?.to_owned()))
    };
    let ours: HashSet<(u64, String)> = text.lines().filter_map(pair).collect();
    let theirs = guest.truth()?.symbols()?;
    let theirs = theirs.iter().filter(|symbol| symbol.module.is_none());
    let mut compared = 0;
    for symbol in theirs {
        let wanted = (symbol.address, symbol.name.clone());
        ensure!(ours.contains(&wanted), "{name}: not listed: {:x} {}", wanted.0, wanted.1);
        compared += 1;
    }
    ensure!(compared > 80_000, "{name}: {compared} symbols");
    // It was moved: the map alone says otherwise.
    let linked = fs::read_to_string(&map)?;
    let linked =
        linked.lines().find_map(|line| line.strip_suffix(" T _text")).context("no _text")?;
    let linked = u64::from_str_radix(linked, 16)?;
    ensure!(guest.truth()?.symbol("_text")? != linked, "{name}: the kernel was not moved");
    Ok(())
}

guest_tests! {
    (addresses_are_those_of_proc_kallsyms)
    five_level: "linux-6.1",
    isolated_four_level: "linux-6.1-4level",
    panicked: "linux-6.1-panic",
}

fn refused(state: &Path, map: &Path, parts: &[&str]) -> Result<()> {
    let said = symbols(state, map)?;
    let talk = String::from_utf8_lossy(&said.stderr);
    ensure!(!said.status.success() && said.stdout.is_empty(), "{talk}");
    for part in parts {
        ensure_contains("refusal", &talk, part)?;
    }
    Ok(())
}

/// Another kernel's map, and what is none.
#[test]
fn the_wrong_map_is_refused_with_a_reason() -> Result<()> {
    let (own, vmlinux) = guest_with_kernel("linux-6.1")?;
    let (dir, map) = system_map(&vmlinux)?;
    let other = checkpoint(&guest("linux-6.12")?, &Wrap::split())?;
    let parts = ["System.map is of another kernel", " functions of", "linux-image-6.12", "-dbg"];
    refused(&other, &map, &parts)?;

    let state = checkpoint(&own, &Wrap::split())?;
    let text = fs::read_to_string(&map)?;
    // What Debian's package of the kernel itself has under this name.
    let stub = dir.path().join("stub");
    fs::write(&stub, "ffffffffffffffff B The real System.map is in linux-image-6.1-dbg\n")?;
    refused(&state, &stub, &["stub is of another kernel", "no function that this file names"])?;
    let broken = dir.path().join("broken");
    fs::write(&broken, format!("{text}\nno line\n"))?;
    refused(&state, &broken, &["broken is not ADDRESS LETTER NAME"])
}
