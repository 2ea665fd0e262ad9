//! Cores of processes against those that gdb's own `gcore` writes of the same
//! program, run here.

#[macro_use]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use common::cores::{self, Wrap};
use common::elf::{Core, Note, number};
use common::{guests, judges};

const NT_PRSTATUS: u32 = 1;
const NT_AUXV: u32 = 6;
const NT_FILE: u32 = 0x4649_4c45;
const NT_X86_XSTATE: u32 = 0x202;

/// A program of the lab that runs here, until it goes out of scope.
struct Here(Child);

impl Here {
    fn start(program: &Path) -> Result<Self> {
        let libraries = program.parent().context("a program without a folder")?;
        let mut child = Command::new(program)
            .arg("--lab-argument")
            .env("LD_LIBRARY_PATH", libraries)
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().context("no output")?;
        let here = Self(child);
        for line in BufReader::new(out).lines() {
            if line? == "up" {
                return Ok(here);
            }
        }
        anyhow::bail!("{} ended", program.display())
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What each thread's part of the notes consists of: owner, type and size. What
/// depends on the machine's vector registers has no size.
fn notes_of_threads(core: &Core) -> Vec<Vec<(String, u32, usize)>> {
    let describe = |note: &Note| {
        let len = if note.kind == NT_X86_XSTATE { 0 } else { note.desc.len() };
        (note.owner.clone(), note.kind, len)
    };
    let mut threads: Vec<Vec<_>> = Vec::new();
    for note in &core.notes {
        if note.kind == NT_PRSTATUS {
            threads.push(Vec::new());
        }
        if let Some(thread) = threads.last_mut() {
            thread.push(describe(note));
        }
    }
    for thread in &mut threads {
        thread.sort();
    }
    threads
}

/// Which of the notes there are at all.
fn kinds(core: &Core) -> Vec<(String, u32)> {
    // gdb adds one with its own description of the machine.
    let notes = core.notes.iter().filter(|note| note.owner != "GDB");
    let mut kinds: Vec<_> = notes.map(|note| (note.owner.clone(), note.kind)).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[test]
fn the_structure_is_that_of_gcore() -> Result<()> {
    let Pair { ours: core, theirs, .. } = Pair::make()?;
    ensure!(core.machine == theirs.machine, "machine {} {}", core.machine, theirs.machine);
    ensure!(kinds(&core) == kinds(&theirs), "{:?}\n{:?}", kinds(&core), kinds(&theirs));
    let sizes = |core: &Core, kind| {
        let notes = core.notes.iter().filter(|note| note.kind == kind);
        notes.map(|note| note.desc.len()).collect::<Vec<_>>()
    };
    for kind in [NT_PRSTATUS, 2, 3] {
        let (own, other) = (sizes(&core, kind), sizes(&theirs, kind));
        ensure!(own == other, "{kind}: {own:?} {other:?}");
    }
    // Threads are told apart by what follows their NT_PRSTATUS in both.
    ensure!(notes_of_threads(&core).len() == notes_of_threads(&theirs).len());
    let files = |core: &Core| core.notes.iter().filter(|note| note.kind == NT_FILE).count();
    ensure!(files(&core) == 1 && files(&theirs) == 1);
    Ok(())
}

/// A core of ours and one of gcore's, of the same program.
struct Pair {
    ours: Core,
    theirs: Core,
    /// Names of threads by number.
    names: BTreeMap<u64, String>,
    their_names: BTreeMap<u64, String>,
    /// Segments: address, length in memory, flags.
    segments: Vec<(u64, u64, String)>,
    their_segments: Vec<(u64, u64, String)>,
}

impl Pair {
    fn make() -> Result<Self> {
        let guest = guests::guest("linux-6.1")?;
        let truth = guest.truth()?;
        let pid = truth.programs()?.get("mt").context("no mt")?.to_string();
        let run = cores::converted(&guest, &Wrap::split(), &["core", "--pid", &pid])?;
        let own = run.path(&format!("core.{pid}"));

        let here = Here::start(&guest.program("mt"))?;
        let dir = tempfile::tempdir()?;
        let (prefix, id) = (dir.path().join("gcore"), here.0.id().to_string());
        let mut gcore = Command::new("timeout");
        gcore.args(["-s", "KILL", "120", "gcore", "-o"]).arg(&prefix).arg(&id);
        judges::output(&mut gcore)?;
        let their_names = names_of_threads(&id)?;
        drop(here);
        let other = prefix.with_extension(&id);
        let threads = truth.program_threads()?;
        Ok(Self {
            ours: Core::open(&own)?,
            theirs: Core::open(&other)?,
            names: threads.into_iter().map(|thread| (thread.tid.into(), thread.name)).collect(),
            their_names,
            segments: segments(&own)?,
            their_segments: segments(&other)?,
        })
    }
}

fn names_of_threads(pid: &str) -> Result<BTreeMap<u64, String>> {
    let mut names = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = entry?.path();
        let tid = path.file_name().and_then(|name| name.to_str()).context("no number")?;
        let name = std::fs::read_to_string(path.join("comm"))?.trim().to_owned();
        names.insert(tid.parse()?, name);
    }
    Ok(names)
}

/// `  LOAD  0x010000 0x45f000 0x0 0x001000 0x001000 R E 0x1000`.
fn segments(core: &Path) -> Result<Vec<(u64, u64, String)>> {
    let listed = judges::output(Command::new("readelf").args(["-W", "-l"]).arg(core))?;
    let segment = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["LOAD", _, address, _, _, len, ref flags @ .., _] = *words else { return None };
        let hex = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
        Some((hex(address)?, hex(len)?, flags.concat()))
    };
    Ok(listed.lines().filter_map(segment).collect())
}

/// The only note of this type.
fn note(core: &Core, kind: u32) -> Result<&[u8]> {
    let mut notes = core.notes.iter().filter(|note| note.kind == kind && note.owner == "CORE");
    let first = notes.next().with_context(|| format!("no note {kind:#x}"))?;
    ensure!(notes.next().is_none(), "two notes {kind:#x}");
    Ok(&first.desc)
}

/// Keys and values up to the end.
fn auxv(core: &Core) -> Result<BTreeMap<u64, u64>> {
    let raw = note(core, NT_AUXV)?;
    let entries = (0..raw.len() / 16)
        .map(|at| Ok::<_, anyhow::Error>((number(raw, at * 16, 8)?, number(raw, at * 16 + 8, 8)?)));
    let entries: Vec<(u64, u64)> = entries.collect::<Result<_>>()?;
    ensure!(entries.iter().position(|(key, _)| *key == 0) == Some(entries.len() - 1), "no end");
    Ok(entries.into_iter().collect())
}

/// What the program sees of itself: keys that every kernel of the last ten years
/// has, and what of their values does not depend on the machine.
#[test]
fn the_auxiliary_vector_is_that_of_gcore() -> Result<()> {
    let pair = Pair::make()?;
    let (ours, theirs) = (auxv(&pair.ours)?, auxv(&pair.theirs)?);
    // Newer kernels add: sizes of rseq (27, 28), more capabilities (29, 30), the
    // smallest signal stack (51).
    let of_all = |entries: &BTreeMap<u64, u64>| -> BTreeSet<u64> {
        entries.keys().copied().filter(|key| ![27, 28, 29, 30, 51].contains(key)).collect()
    };
    ensure!(of_all(&ours) == of_all(&theirs), "{ours:x?}\n{theirs:x?}");
    ensure!(ours.len() > 18, "{ours:x?}");
    // AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_FLAGS, AT_CLKTCK, AT_SECURE.
    for key in [4, 5, 6, 8, 17, 23] {
        ensure!(ours.get(&key) == theirs.get(&key), "{key}: {ours:x?}\n{theirs:x?}");
    }
    Ok(())
}

/// A mapping of a file, by the file's name and the offset in it: where it starts
/// and how long it is.
type Files = BTreeMap<(String, u64), (u64, u64)>;

/// The note of mapped files: page size, entries of start, end and offset in pages,
/// then the paths. gdb counts offsets in bytes, as if pages had one.
fn files(core: &Core) -> Result<Files> {
    let raw = note(core, NT_FILE)?;
    let (count, page) = (usize::try_from(number(raw, 0, 8)?)?, number(raw, 8, 8)?);
    ensure!(page == 4096 || page == 1, "pages of {page}");
    let paths = raw.get(16 + count * 24..).context("no paths")?;
    ensure!(paths.ends_with(&[0]), "paths do not end");
    let paths: Vec<&[u8]> = paths.split(|byte| *byte == 0).filter(|p| !p.is_empty()).collect();
    ensure!(paths.len() == count, "{} paths of {count} mappings", paths.len());
    let mut files = Files::new();
    for (index, path) in paths.iter().enumerate() {
        let field = |at: usize| number(raw, 16 + index * 24 + at * 8, 8);
        let path = String::from_utf8_lossy(path);
        ensure!(path.starts_with('/'), "{path}");
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        files.insert((name, field(2)? * page), (field(0)?, field(1)? - field(0)?));
    }
    Ok(files)
}

/// The same files, the same parts of them, and segments for these of the same
/// length with the same rights.
#[test]
fn mappings_of_files_are_those_of_gcore() -> Result<()> {
    let pair = Pair::make()?;
    let (ours, theirs) = (files(&pair.ours)?, files(&pair.theirs)?);
    let lengths = |files: &Files| -> Vec<((String, u64), u64)> {
        files.iter().map(|(file, (_, len))| (file.clone(), *len)).collect()
    };
    ensure!(lengths(&ours) == lengths(&theirs), "{ours:x?}\n{theirs:x?}");
    ensure!(ours.len() > 15, "{ours:x?}");
    let at = |segments: &[(u64, u64, String)], start: u64| {
        segments.iter().find(|(at, ..)| *at == start).map(|(_, len, flags)| (*len, flags.clone()))
    };
    let mut compared = 0;
    for (file, (start, _)) in &theirs {
        // gcore leaves out what nobody may access, and parts that it does not dump.
        let Some(segment) = at(&pair.their_segments, *start) else { continue };
        let (own, _) = ours.get(file).context("no such mapping")?;
        let found = at(&pair.segments, *own);
        ensure!(found.as_ref() == Some(&segment), "{file:?}: {found:?}, gcore {segment:?}");
        compared += 1;
    }
    ensure!(compared >= 8, "only {compared} segments: {:x?}", pair.their_segments);
    Ok(())
}

/// Memory of no file: each thread's stack, writable, as large as the C library
/// makes them. What lies beside one may have been joined to it.
#[test]
fn stacks_of_threads_are_those_of_gcore() -> Result<()> {
    let pair = Pair::make()?;
    let stacks = |core: &Core, segments: &[(u64, u64, String)], names: &BTreeMap<u64, String>| {
        let mut found = BTreeMap::new();
        for note in core.prstatus() {
            let (sp, tid) = (number(&note.desc, 112 + 19 * 8, 8)?, number(&note.desc, 32, 4)?);
            let name = names.get(&tid).context("an unknown thread")?.clone();
            let holds = |(at, len, _): &&(u64, u64, String)| sp.wrapping_sub(*at) < *len;
            let (_, len, flags) = segments.iter().find(holds).context("no stack")?;
            let is_large = *len >= 8 << 20;
            ensure!(is_large == (name != "mt"), "{name}: a stack of {len:#x}");
            found.insert(name, flags.clone());
        }
        Ok(found)
    };
    let ours = stacks(&pair.ours, &pair.segments, &pair.names)?;
    let theirs = stacks(&pair.theirs, &pair.their_segments, &pair.their_names)?;
    ensure!(ours == theirs && ours.len() == 4, "{ours:x?}\n{theirs:x?}");
    ensure!(ours.values().all(|flags| flags == "RW"), "{ours:x?}");
    Ok(())
}

/// Where each thread waits: the same instruction of the C library, in the same
/// system call, with the same selectors and flags.
#[test]
fn registers_of_waiting_threads_are_those_of_gcore() -> Result<()> {
    let pair = Pair::make()?;
    let waiting = |core: &Core, names: &BTreeMap<u64, String>| {
        let libc: Vec<(u64, u64)> = files(core)?
            .into_iter()
            .filter(|((name, _), _)| name == "libc.so.6")
            .map(|(_, place)| place)
            .collect();
        let base = libc.iter().map(|(start, _)| *start).min().context("no libc")?;
        let mut found = BTreeMap::new();
        for note in core.prstatus() {
            // Registers are from 112 on, 8 bytes each, in the order of user_regs_struct.
            let register = |index: usize| number(&note.desc, 112 + index * 8, 8);
            let name = names.get(&number(&note.desc, 32, 4)?).context("an unknown thread")?;
            if name != "mt-spinner" {
                let (rip, call) = (register(16)?.wrapping_sub(base), register(15)?);
                let (cs, ss) = (register(17)?, register(20)?);
                found.insert(name.clone(), (rip, call, cs, ss));
            }
        }
        Ok::<_, anyhow::Error>(found)
    };
    let ours = waiting(&pair.ours, &pair.names)?;
    let theirs = waiting(&pair.theirs, &pair.their_names)?;
    ensure!(ours == theirs && ours.len() == 3, "{ours:x?}\n{theirs:x?}");
    Ok(())
}
