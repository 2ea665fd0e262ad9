//! What few guests have: swapped pages, a page of 1 GiB, files of an overlay, and
//! libraries reached through a symbolic link.

#![allow(clippy::indexing_slicing, reason = "a member that is missing in JSON is null")]

#[macro_use]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use vmss2core_checkpoint::{OpenOptions, open};
use vmss2core_guest::linux::{BetterSources, Content, Kernel, Process};
use vmss2core_lab::Guest;
use vmss2core_lab::truth::page_hash;
use vmss2core_mem::Gva;

use common::cores::{self, PROGRAM, Wrap};
use common::elf::Core;
use common::text::ensure_contains;
use common::{guests, judges};

const GUEST: &str = "linux-6.1-rare";
const PAGE_LEN: usize = 4096;

struct Case {
    guest: Guest,
    checkpoint: PathBuf,
}

impl Case {
    fn open() -> Result<Self> {
        let guest = guests::guest(GUEST)?;
        let checkpoint = cores::checkpoint(&guest, &Wrap::split())?;
        Ok(Self { guest, checkpoint })
    }

    fn run(&self, command: &str, program: &str, more: &[&str]) -> Result<Output> {
        let pid = *self.guest.truth()?.programs()?.get(program).context("no such program")?;
        let mut ours = Command::new(PROGRAM);
        ours.arg(command).arg(&self.checkpoint).args(["--pid", &pid.to_string()]);
        Ok(ours.args(more).output()?)
    }

    /// Opens the program with every kind of rare mapping.
    fn with_process(&self, check: impl FnOnce(&Process) -> Result<()>) -> Result<()> {
        let opened = open(std::slice::from_ref(&self.checkpoint), &OpenOptions::default())?;
        let facts = vmss2core_guest::analyse(&opened.checkpoint);
        let kernel = Kernel::open(&opened.checkpoint, &facts, BetterSources::default())?;
        let pid = *self.guest.truth()?.programs()?.get("rare").context("no such program")?;
        let tasks = kernel.tasks()?;
        let task = tasks.tasks.iter().find(|task| task.tid == pid).context("no such task")?;
        let process = Process::of(&kernel, task)?;
        ensure!(process.problems().is_empty(), "{:?}", process.problems());
        check(&process)
    }

    /// Lines of the program that begin with this word: the other words.
    fn told(&self, word: &str) -> Result<Vec<Vec<String>>> {
        let truth = self.guest.truth()?;
        let lines = truth.text("out rare")?.lines();
        let lines = lines.filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        Ok(lines.map(|rest| rest.split(' ').map(str::to_owned).collect()).collect())
    }

    /// Where pages were moved out: name, and the pages, all of them by the kernel's
    /// own count.
    fn swapped(&self) -> Result<BTreeMap<String, BTreeSet<u64>>> {
        let range = |words: &Vec<String>| {
            let [name, start, end, count] = words.as_slice() else { bail!("{words:?}") };
            let pages: BTreeSet<u64> = (hex(start)?..hex(end)?).step_by(PAGE_LEN).collect();
            ensure!(count.parse() == Ok(pages.len()), "not all in swap: {words:?}");
            Ok((name.clone(), pages))
        };
        self.told("range")?.iter().map(range).collect()
    }
}

fn hex(word: &str) -> Result<u64> {
    Ok(u64::from_str_radix(word.trim_start_matches("0x"), 16)?)
}

#[test]
fn mappings_are_the_guests_own() -> Result<()> {
    let case = Case::open()?;
    let truth = case.guest.truth()?;
    for program in ["rare", "linked", "mt", "pages"] {
        let ours = case.run("maps", program, &["--proc"])?;
        let ours = String::from_utf8(ours.stdout)?;
        let theirs = truth.text(&format!("maps {program}"))?;
        ensure!(ours == theirs, "{program}: ours:\n{ours}\nthe guest's:\n{theirs}");
    }
    Ok(())
}

/// Pages that were moved out and that the swap cache still has: each begins with the number
/// that the program wrote.
#[test]
fn swapped_pages_are_read_from_the_swap_cache() -> Result<()> {
    let case = Case::open()?;
    let swapped = case.swapped()?;
    ensure!(swapped.keys().eq(["private", "shared"]), "{swapped:x?}");
    case.with_process(|process| {
        for (page, number) in numbers(&swapped) {
            let mut bytes = [0; 8];
            process.read(Gva(page), &mut bytes)?;
            ensure!(u64::from_le_bytes(bytes) == number, "{page:x}: {bytes:x?}");
        }
        Ok(())
    })
}

/// What the program wrote to each page.
fn numbers(swapped: &BTreeMap<String, BTreeSet<u64>>) -> Vec<(u64, u64)> {
    let first = |name: &str| if name == "private" { 0x5a9b_0000 } else { 0x5a9b_5000 };
    let of = |(name, pages): (&String, &BTreeSet<u64>)| {
        pages.iter().copied().zip(first(name)..).collect::<Vec<_>>()
    };
    swapped.iter().flat_map(of).collect()
}

/// In the page of 1 GiB, in mappings with swapped pages, in the overlay.
#[test]
fn values_are_the_programs_own() -> Result<()> {
    let case = Case::open()?;
    let values = case.guest.truth()?.values("rare")?;
    ensure!(values.len() >= 15, "{values:x?}");
    case.with_process(|process| {
        for (name, address, value) in &values {
            let mut bytes = [0; 8];
            process.read(Gva(*address), &mut bytes).with_context(|| name.clone())?;
            let found = u64::from_le_bytes(bytes);
            ensure!(found == *value, "{name}: {found:#x}, not {value:#x}");
        }
        // One page: its parts lie one after the other in physical memory.
        let first = values.iter().find(|(name, ..)| name == "gibibyte0").context("no value")?.1;
        let vma = process.vma_at(Gva(first)).context("not mapped")?;
        let runs = process.runs(vma);
        ensure!(runs.len() == 1 && runs[0].len_bytes == 1 << 30, "{runs:x?}");
        ensure!(
            matches!(runs[0].content, Content::Memory(at) if at.0 % (1 << 30) == 0),
            "{runs:x?}"
        );
        Ok(())
    })
}

#[test]
fn pages_are_the_guests_own() -> Result<()> {
    let case = Case::open()?;
    let pages = case.guest.truth()?.pages("rare")?;
    ensure!(pages.len() > 60, "{} pages", pages.len());
    case.with_process(|process| {
        for (address, hash) in &pages {
            let mut page = vec![0; PAGE_LEN];
            process.read(Gva(*address), &mut page)?;
            ensure!(page_hash(&page) == *hash, "{address:#x} differs");
        }
        Ok(())
    })
}

/// The whole file through the overlay, pages too that no process looked at.
#[test]
fn files_of_an_overlay_come_out() -> Result<()> {
    let case = Case::open()?;
    let dir = tempfile::tempdir()?;
    for (name, pages, value) in [("below", 6, 0x10e3_0000_u64), ("above", 4, 0xa_b00e_0000)] {
        let out = dir.path().join(name);
        let path = format!("/tmp/merged/{name}");
        let out_text = out.to_str().context("not UTF-8")?;
        let ran = case.run("extract", "rare", &["--file", &path, "-o", out_text])?;
        ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let bytes = fs::read(&out)?;
        ensure!(bytes.len() == pages * PAGE_LEN, "{name}: {} bytes", bytes.len());
        for (index, page) in (0..).zip(bytes.chunks(PAGE_LEN)) {
            let word = page.first_chunk().map(|word| u64::from_le_bytes(*word));
            let changed = name == "above" && index == 1;
            let expected = if changed { 0xa_b00e_1111 } else { value + index };
            ensure!(word == Some(expected), "{name} page {index}: {word:x?}");
        }
    }
    Ok(())
}

#[test]
fn the_core_has_what_the_swap_cache_has() -> Result<()> {
    let case = Case::open()?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("core");
    let out = path.to_str().context("not UTF-8")?;
    let ran = case.run("core", "rare", &["--json", "-o", out])?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let core = Core::open(&path)?;
    for (page, number) in numbers(&case.swapped()?) {
        ensure!(core.read_virtual(page, 8)? == number.to_le_bytes(), "{page:x}");
    }
    for (name, address, value) in case.guest.truth()?.values("rare")? {
        let bytes = core.read_virtual(address, 8)?;
        ensure!(bytes == value.to_le_bytes(), "{name}: {bytes:x?}");
    }
    Ok(())
}

/// gdb finds libraries in what `extract` made by the paths that the program loaded
/// them by, and needs no other file.
#[test]
fn extracted_files_are_all_that_gdb_needs() -> Result<()> {
    let case = Case::open()?;
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name);
    let text = |path: &Path| path.to_str().map(str::to_owned).context("not UTF-8");
    let (root, core) = (text(&file("root"))?, text(&file("core"))?);
    let ran = case.run("extract", "linked", &["--maps", "--json", "-o", &root])?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let report: Value = serde_json::from_slice(&ran.stdout)?;
    let ran = case.run("core", "linked", &["-o", &core])?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    for path in ["tmp/usr/lib/liblab.so", "tmp/lib/liblab.so", "tmp/lib/libc.so.6"] {
        ensure!(file("root").join(path).exists(), "no {path}: {report:#}");
    }
    let mut gdb = Command::new("timeout");
    gdb.args(["300", "gdb", "-q", "-nx", "-batch", "-iex", "set debuginfod enabled off"]);
    gdb.args(["-iex", &format!("set sysroot {root}"), "-iex", "set auto-solib-add on"]);
    gdb.args(["-ex", "info sharedlibrary", "-ex", "thread apply all bt"]);
    let said = judges::output(gdb.arg(file("root").join("programs/mt")).arg(&core))?;
    let shared = said.lines().filter(|line| line.starts_with("0x") && line.contains(".so"));
    let shared: Vec<&str> = shared.collect();
    ensure!(shared.len() == 3, "{said}");
    for line in &shared {
        ensure!(line.contains(&root) && line.contains(" Yes "), "{line}\n{said}");
    }
    for part in ["nanosleep", "lab_sleep_deep (depth=0, seed=", " in waiter (", "pthread_cond_wait"]
    {
        ensure_contains("gdb", &said, part)?;
    }
    Ok(())
}
