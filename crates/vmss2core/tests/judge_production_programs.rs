//! Programs of an installed Debian under memory pressure: every page that it hashed,
//! what it swapped, to compressed memory and to a file, where its threads stand, and
//! their stacks in debuggers against those that gdb found in the guest.

#![allow(clippy::indexing_slicing, reason = "a member that is missing in JSON is null")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::cores::{self, PROGRAM, Run, Wrap};
use common::elf::Core;
use common::judges;
use common::production::{Frame, Frames, Production, frames_in};
use common::server::Server;
use serde_json::Value;
use vmss2core_lab::judges::{Judge, crash, gdb, gdb_trixie};
use vmss2core_lab::truth::page_hash;

const PAGE_BYTES: usize = 4096;
const NT_AUXV: u32 = 6;

fn core(production: &Production, pid: u32) -> Result<(Run, Core)> {
    let options = ["core", "--pid", &pid.to_string()];
    let run = cores::incomplete(&production.guest, &Wrap::split(), &options)?;
    let core = run.core(&format!("core.{pid}"))?;
    Ok((run, core))
}

/// Every page of every process that had the same bytes before and after.
#[test]
fn pages_are_those_that_it_hashed() -> Result<()> {
    let production = Production::get()?;
    let (mut pages, mut processes, mut others) = (0, 0, Vec::new());
    for pid in production.processes_with("mem") {
        let (_, core) = core(&production, pid)?;
        for (address, hash) in production.pages(pid)? {
            let bytes = core.read_virtual(address, PAGE_BYTES)?;
            // What was changed or dropped in between, and came back.
            if bytes.len() != PAGE_BYTES || page_hash(&bytes) != hash {
                others.push((pid, address));
            }
            pages += 1;
        }
        processes += 1;
    }
    ensure!(others.len() < 40, "{} pages differ: {others:x?}", others.len());
    ensure!(pages > 20_000 && processes > 40, "{pages} pages of {processes} processes");
    Ok(())
}

#[test]
fn auxiliary_vectors_are_those_that_it_listed() -> Result<()> {
    let production = Production::get()?;
    let mut compared = 0;
    for pid in production.processes_with("mem") {
        let (_, core) = core(&production, pid)?;
        let notes = core.notes_of("CORE");
        let note = notes.iter().find(|note| note.kind == NT_AUXV).context("no auxv")?;
        let theirs = production.before.bytes(&format!("auxv {pid}"))?;
        ensure!(theirs.starts_with(&note.desc) || note.desc == theirs, "{pid}: {:x?}", note.desc);
        compared += 1;
    }
    ensure!(compared > 40, "{compared} processes");
    Ok(())
}

/// What was swapped to compressed memory has the bytes that the program wrote, by
/// each of the algorithms; what was swapped to a file has none.
#[test]
fn swapped_pages_are_read_from_compressed_memory() -> Result<()> {
    let production = Production::get()?;
    let hashes = production.swapped_hashes()?;
    let pid = production.pid("swapped")?;
    let (run, core) = core(&production, pid)?;
    let file = production.swap_file()?;
    let mut of_device: BTreeMap<u32, usize> = BTreeMap::new();
    for (address, device, _) in production.swapped(pid)? {
        let Some(hash) = hashes.get(&address) else { continue };
        let bytes = core.read_virtual(address, PAGE_BYTES)?;
        let found = (bytes.len() == PAGE_BYTES).then(|| page_hash(&bytes));
        // What is being written to the file, or was read ahead, is in memory besides.
        let is_right = found == Some(*hash) || (found.is_none() && device == file);
        ensure!(is_right, "{address:#x} on device {device}: {found:x?}, written {hash:x}");
        *of_device.entry(device).or_default() += 1;
    }
    ensure!(of_device.len() == 5, "pages by device: {of_device:?}");
    ensure!(of_device.values().all(|count| *count > 100), "pages by device: {of_device:?}");
    ensure!(run.stderr.contains("/swapfile"), "not said where the others are: {}", run.stderr);
    Ok(())
}

/// Pages of all processes that are on the swap file: no debugger is shown zeroes
/// for them.
#[test]
fn pages_on_the_swap_file_have_no_bytes() -> Result<()> {
    let production = Production::get()?;
    let file = production.swap_file()?;
    let (mut absent, mut processes) = (0, 0);
    for pid in production.processes_with("swapped") {
        let swapped = production.swapped(pid)?;
        let on_file: Vec<u64> =
            swapped.iter().filter(|(_, device, _)| *device == file).map(|page| page.0).collect();
        if on_file.is_empty() {
            continue;
        }
        let (_, core) = core(&production, pid)?;
        for address in on_file {
            absent += usize::from(core.read_virtual(address, PAGE_BYTES)?.is_empty());
        }
        processes += 1;
    }
    ensure!(absent > 1000 && processes > 10, "{absent} pages of {processes} processes");
    Ok(())
}

/// Where each thread that sleeps in a system call left its program.
#[test]
fn threads_stand_where_it_said() -> Result<()> {
    let production = Production::get()?;
    let checkpoint = cores::checkpoint(&production.guest, &Wrap::split())?;
    let mut program = Command::new(PROGRAM);
    program.args(["bt", "--json", "--all"]).arg(&checkpoint);
    let report: Value = serde_json::from_str(&judges::output(&mut program)?)?;
    let stacks = report["stacks"].as_array().context("no stacks")?;
    let by_thread: BTreeMap<u64, &Value> =
        stacks.iter().filter_map(|stack| Some((stack["task"]["tid"].as_u64()?, stack))).collect();
    // It waited for the one that said all this, but not when it was stopped.
    let shells = production.pids_of("start")?;
    let (mut compared, mut moved) = (0, Vec::new());
    for (tid, (sp, pc)) in production.places()? {
        if shells.contains(&tid) {
            continue;
        }
        let stack = by_thread.get(&tid.into()).with_context(|| format!("no stack of {tid}"))?;
        let address = |member: &str| common::stacks::address(&stack[member]);
        if (address("user_sp")?, address("user_ip")?) == (sp, pc) {
            compared += 1;
        } else {
            moved.push(format!("{tid}: {sp:x} {pc:x} {stack:#}"));
        }
    }
    // One may wake between what it said before and after, and sleep there again.
    ensure!(moved.len() <= 2, "{} moved: {}", moved.len(), moved.join("\n"));
    ensure!(compared > 100, "{compared} threads");
    Ok(())
}

/// Whether a thread is where a debugger in the guest found it.
fn has_stayed(places: &BTreeMap<u32, (u64, u64)>, tid: u32, frames: &[Frame]) -> bool {
    let place = places.get(&tid).copied();
    place.is_some() && place == frames.first().map(|frame| (frame.sp, frame.pc))
}

/// The frames that a gdb finds in a process of the served checkpoint.
fn frames(
    judge: &Judge,
    production: &Production,
    server: &Server,
    pid: u32,
    options: &[&str],
) -> Result<Frames> {
    let mut gdb = judge.command();
    gdb.args(["-q", "-nx", "-batch", "-iex", "set debuginfod enabled off"]);
    gdb.args(["-iex", "set auto-load off", "-iex", "set debug-file-directory /nowhere"]);
    for option in options {
        gdb.args(["-iex", option]);
    }
    gdb.args(["-ex", &format!("target extended-remote {}", server.socket().display())]);
    gdb.args(["-ex", &format!("attach {pid}"), "-x"]).arg(production.file("lab/frames.py"));
    Ok(frames_in(&judges::output(&mut gdb)?))
}

/// With the files of the guest at hand, gdb finds in each thread of each program
/// what gdb in the guest found before anything was swapped, frame by frame.
fn stacks_with_the_files_of_the_guest(judge: &Judge) -> Result<()> {
    let production = Production::get()?;
    let server = Server::of(&production.guest)?;
    let sysroot = format!("set sysroot {}", production.guest.root().display());
    let mut languages = BTreeSet::new();
    let (mut compared, mut wrong) = (0, Vec::new());
    let places = production.places()?;
    for (name, pid, theirs) in production.frames()? {
        let ours = frames(judge, &production, &server, pid, &[&sysroot])?;
        for (tid, theirs) in theirs {
            if !has_stayed(&places, tid, &theirs) {
                continue;
            }
            let found = ours.get(&tid).with_context(|| format!("{name}: no thread {tid}"))?;
            let len = production.sure_frames(pid, &theirs)?;
            if found.get(..len) != theirs.get(..len) {
                wrong.push(format!("{name} {tid}:\n{found:#x?}\nin the guest:\n{theirs:#x?}"));
            }
            compared += 1;
            languages.insert(name.clone());
        }
    }
    ensure!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
    ensure!(compared > 45 && languages.len() == 9, "{compared} threads of {languages:?}");
    Ok(())
}

#[test]
fn stacks_in_gdb_13() -> Result<()> {
    stacks_with_the_files_of_the_guest(&gdb()?)
}

#[test]
fn stacks_in_gdb_16() -> Result<()> {
    stacks_with_the_files_of_the_guest(&gdb_trixie()?)
}

/// Program counters of the frames of each thread that lldb shows. What a function that
/// was inlined returns to is no frame.
fn frames_in_lldb(said: &str) -> BTreeMap<u32, Vec<u64>> {
    let mut numbers = BTreeMap::new();
    let mut frames: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let (mut current, mut was_inlined) = (None, false);
    for line in said.lines() {
        let line = line.trim_start_matches(['*', ' ']);
        if let Some((index, rest)) = line.strip_prefix("thread #").and_then(split_digits) {
            if let Some((tid, _)) = rest.strip_prefix(": tid = ").and_then(split_digits) {
                numbers.insert(index, tid);
            }
            current = numbers.get(&index).copied();
        } else if let Some((_, rest)) = line.strip_prefix("frame #").and_then(split_digits) {
            let Some(pc) = rest.strip_prefix(": 0x").and_then(|rest| rest.split(' ').next()) else {
                continue;
            };
            let (Some(tid), Ok(pc)) = (current, u64::from_str_radix(pc, 16)) else { continue };
            if !was_inlined {
                frames.entry(tid).or_default().push(pc);
            }
            was_inlined = line.contains("[inlined]");
        }
    }
    frames
}

fn split_digits(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit())?);
    Some((digits.parse().ok()?, rest))
}

/// What lldb shows of a process when it gets the program's files from a folder.
fn in_lldb(production: &Production, pid: u32, files: &Path) -> Result<String> {
    let checkpoint = cores::checkpoint(&production.guest, &Wrap::split())?;
    let files = files.display().to_string();
    let options = ["--pid", &pid.to_string(), "--port", "0", "--sysroot", &files];
    let server = Server::start(&checkpoint, &options)?;
    let line = server.said.lines().map(str::trim).find(|line| line.starts_with("lldb "));
    let line = line.context("no line for lldb")?;
    let commands = ["thread list", "bt all"];
    let said = judges::output(&mut judges::lldb_line(server.dir(), line, &commands)?)?;
    // The first frame is shown before the list of threads.
    Ok(said.split_once("(lldb) thread list").context("no threads")?.1.to_owned())
}

/// Compares the innermost frames with those that gdb found in the guest.
fn ensure_same_in_lldb(
    production: &Production,
    said: &str,
    (name, pid, theirs): (&str, u32, Frames),
    depth: usize,
) -> Result<usize> {
    let (ours, places) = (frames_in_lldb(said), production.places()?);
    let mut compared = 0;
    for (tid, theirs) in theirs {
        if !has_stayed(&places, tid, &theirs) {
            continue;
        }
        let len = production.sure_frames(pid, &theirs)?;
        let sure = places_of(theirs.get(..len).unwrap_or_default());
        let mut theirs: Vec<u64> = sure.into_iter().map(|(_, pc)| pc).collect();
        let found = ours.get(&tid).with_context(|| format!("{name}: no thread {tid}: {said}"))?;
        theirs.truncate(depth);
        let what = || format!("{name} {tid}:\n{found:x?}\nin the guest:\n{theirs:x?}\n{said}");
        ensure!(found.starts_with(&theirs), "{}", what());
        compared += 1;
    }
    Ok(compared)
}

#[test]
fn stacks_in_lldb() -> Result<()> {
    let production = Production::get()?;
    let mut compared = 0;
    for (name, pid, theirs) in production.frames()? {
        let said = in_lldb(&production, pid, &production.guest.root())?;
        compared += ensure_same_in_lldb(&production, &said, (&name, pid, theirs), usize::MAX)?;
    }
    ensure!(compared > 45, "{compared} threads");
    Ok(())
}

/// With what `extract` makes of the programs' files: libraries are found though the
/// program's own file has lost what leads to them. Where what describes a frame is lost,
/// lldb goes on by the frame pointer nevertheless, so that only where a thread stands is
/// compared.
#[test]
fn stacks_without_files_in_lldb() -> Result<()> {
    let production = Production::get()?;
    let checkpoint = cores::checkpoint(&production.guest, &Wrap::split())?;
    let (mut compared, mut in_libraries) = (0, 0);
    // Of the static program of 32 bits not even the header is left.
    for (name, pid, theirs) in production.frames()?.into_iter().filter(|found| found.0 != "t32") {
        let files = tempfile::tempdir()?;
        let mut extract = Command::new(PROGRAM);
        extract.args(["extract", "--maps", "--pid", &pid.to_string(), "--force", "-o"]);
        let ended = extract.arg(files.path()).arg(&checkpoint).output()?;
        ensure!([Some(0), Some(4)].contains(&ended.status.code()), "{ended:?}");
        let said = in_lldb(&production, pid, files.path())?;
        in_libraries += said.matches(" libc.so.6`").count();
        compared += ensure_same_in_lldb(&production, &said, (&name, pid, theirs), 1)?;
    }
    ensure!(compared > 45, "{compared} threads");
    ensure!(in_libraries > 30, "{in_libraries} frames in libc");
    Ok(())
}

/// With nothing at hand but the checkpoint, in which much of the programs' files is
/// lost, gdb finds every thread where the guest said, and no caller that is none: where
/// what describes a function's frame is lost, it stops.
fn stacks_without_the_files_of_the_guest(judge: &Judge) -> Result<()> {
    let production = Production::get()?;
    let server = Server::of(&production.guest)?;
    let (mut compared, mut wrong) = (0, Vec::new());
    let places = production.places()?;
    for (name, pid, theirs) in production.frames()? {
        let ours = frames(judge, &production, &server, pid, &[])?;
        for (tid, theirs) in theirs {
            if !has_stayed(&places, tid, &theirs) {
                continue;
            }
            let found = ours.get(&tid).with_context(|| format!("{name}: no thread {tid}"))?;
            let sure = production.sure_frames(pid, &theirs)?;
            let mut theirs = places_of(theirs.get(..sure).unwrap_or_default());
            let ours = places_of(found);
            theirs.truncate(ours.len());
            if ours.is_empty() || !ours.starts_with(&theirs) {
                wrong.push(format!("{name} {tid}:\n{found:x?}\nin the guest:\n{theirs:x?}"));
            }
            compared += 1;
        }
    }
    ensure!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
    ensure!(compared > 45, "{compared} threads");
    Ok(())
}

/// Stack pointers and program counters, each once: inlined functions share them.
fn places_of(frames: &[Frame]) -> Vec<(u64, u64)> {
    let mut places: Vec<_> = frames.iter().map(|frame| (frame.sp, frame.pc)).collect();
    places.dedup();
    places
}

#[test]
fn stacks_without_files_in_gdb_13() -> Result<()> {
    stacks_without_the_files_of_the_guest(&gdb()?)
}

#[test]
fn stacks_without_files_in_gdb_16() -> Result<()> {
    stacks_without_the_files_of_the_guest(&gdb_trixie()?)
}

/// crash unpacks pages itself, of devices that use the algorithm it knows: the same
/// bytes as in our core.
#[test]
fn crash_reads_the_same_swapped_pages() -> Result<()> {
    // It unpacks the page for each word anew: a part in the middle must do.
    const PART: u64 = 0x800;
    const WORDS: usize = 32;
    let production = Production::get()?;
    let kernel = Production::kernel()?;
    let (file, pid) = (production.swap_file()?, production.pid("swapped")?);
    let mut asked: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (address, device, _) in production.swapped(pid)? {
        let pages = asked.entry(device).or_default();
        if device != file && pages.len() < 15 {
            pages.push(address + PART);
        }
    }
    let modules = Production::debug_modules()?.join("kernel");
    let module = |name, file| format!("mod -s {name} {}", modules.join(file).display());
    let mut commands = vec![
        module("zsmalloc", "mm/zsmalloc.ko"),
        module("zram", "drivers/block/zram/zram.ko"),
        format!("set {pid}"),
    ];
    let read = |address| format!("rd -u -64 {address:x} {WORDS}");
    commands.extend(asked.values().flatten().map(read));
    commands.push("quit\n".to_owned());
    let checkpoint = cores::checkpoint(&production.guest, &Wrap::split())?;
    let said = judges::crash(&crash()?, &[&kernel, &checkpoint], &commands.join("\n"))?;
    let words = words_of(&said);
    let (_, core) = core(&production, pid)?;
    let mut compared = 0;
    for address in asked.values().flatten().filter(|address| words.contains_key(*address)) {
        let bytes = core.read_virtual(*address, WORDS * 8)?;
        // Of a page that repeats one word crash fills the first eighth only.
        if bytes.chunks_exact(8).all(|word| bytes.starts_with(word)) {
            continue;
        }
        for (at, word) in (*address..).step_by(8).zip(bytes.chunks_exact(8)) {
            let word = word.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
            ensure!(
                words.get(&at) == Some(&word),
                "{at:#x}: {word:x}, in crash {:x?}",
                words.get(&at)
            );
        }
        compared += 1;
    }
    ensure!(compared >= 6, "crash read {compared} pages: {said}");
    Ok(())
}

/// Lines of crash's `rd`: `7f1f6d8f4000:  3f5cfe33e96f412d cdebcc88d49674ef   -Ao...`.
fn words_of(said: &str) -> BTreeMap<u64, u64> {
    let mut words = BTreeMap::new();
    for line in said.lines() {
        let Some((address, rest)) = line.trim().split_once(":  ") else { continue };
        let Ok(address) = u64::from_str_radix(address, 16) else { continue };
        let values = rest.split(' ').take(2).filter_map(|word| u64::from_str_radix(word, 16).ok());
        words.extend((address..).step_by(8).zip(values));
    }
    words
}
