//! Mappings, memory and files of processes against what the guests said of them
//! themselves just before they were stopped, and against crash with the kernel's
//! symbols.

#[macro_use]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vmss2core_checkpoint::{OpenOptions, open};
use vmss2core_dump::process::ProcessOptions;
use vmss2core_guest::linux::{BetterSources, Content, Kernel, Process, Run};
use vmss2core_lab::judges::crash;
use vmss2core_lab::truth::page_hash;
use vmss2core_lab::{Guest, hidden};
use vmss2core_mem::Gva;

use common::cores::{self, PROGRAM, Wrap};
use common::guests;
use common::judges;

const PAGE: u64 = 4096;
const PAGE_LEN: usize = 4096;
/// The program of the lab that has every kind of mapping.
const PAGES: &str = "pages";

/// A guest of the lab and its checkpoint.
struct Case {
    guest: Guest,
    checkpoint: PathBuf,
}

impl Case {
    fn of(name: &str) -> Result<Self> {
        let guest = guests::guest(name)?;
        let checkpoint = cores::checkpoint(&guest, &Wrap::split())?;
        Ok(Self { guest, checkpoint })
    }

    /// The same without symbols and type information.
    fn hidden(name: &str) -> Result<Self> {
        let guest = hidden::guest(name)?;
        let checkpoint = cores::checkpoint(&guest, &Wrap::hidden())?;
        Ok(Self { guest, checkpoint })
    }

    fn pid_of(&self, program: &str) -> Result<u32> {
        self.guest.truth()?.programs()?.get(program).copied().context("no such program")
    }
}

fn run(case: &Case, command: &str, pid: u32, more: &[&str]) -> Result<Output> {
    let mut program = Command::new(PROGRAM);
    program.arg(command).arg(&case.checkpoint).arg("--pid").arg(pid.to_string());
    Ok(program.args(more).output()?)
}

fn succeed(case: &Case, command: &str, pid: u32, more: &[&str]) -> Result<String> {
    let output = run(case, command, pid, more)?;
    let talk = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command} {more:?}: {}\n{talk}", output.status);
    ensure!(!talk.contains("warning:"), "{command} {more:?}: {talk}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Every line of `/proc/PID/maps`, byte by byte, of every program.
fn the_guests_own_mappings(case: &Case) -> Result<()> {
    let guest = &case.guest;
    let truth = guest.truth()?;
    let programs = truth.programs()?;
    ensure!(programs.len() > 3, "programs are missing: {programs:?}");
    for (program, pid) in programs {
        let ours = succeed(case, "maps", pid, &["--proc"])?;
        let theirs = truth.text(&format!("maps {program}"))?;
        ensure!(ours == theirs, "{program}: ours:\n{ours}\nthe guest's:\n{theirs}");
    }
    Ok(())
}

/// Opens a guest's processes by the names of the lab's programs.
fn with_processes(case: &Case, mut check: impl FnMut(&str, &Process) -> Result<()>) -> Result<()> {
    let guest = &case.guest;
    let opened = open(std::slice::from_ref(&case.checkpoint), &OpenOptions::default())?;
    let facts = vmss2core_guest::analyse(&opened.checkpoint);
    let kernel = Kernel::open(&opened.checkpoint, &facts, BetterSources::default())?;
    let tasks = kernel.tasks()?;
    for (program, pid) in guest.truth()?.programs()? {
        let task = tasks.tasks.iter().find(|task| task.tid == pid).context("no such task")?;
        let process = Process::of(&kernel, task)?;
        ensure!(process.problems().is_empty(), "{program}: {:?}", process.problems());
        check(&program, &process).with_context(|| format!("{} {program}", guest.name))?;
    }
    Ok(())
}

fn page(process: &Process, address: u64) -> Result<Vec<u8>> {
    let mut page = vec![0; PAGE_LEN];
    process.read(Gva(address), &mut page)?;
    Ok(page)
}

/// Every page that a program had in memory has the hash that the guest gave it.
fn the_guests_own_pages(case: &Case) -> Result<()> {
    let guest = &case.guest;
    let truth = guest.truth()?;
    with_processes(case, |program, process| {
        let pages = truth.pages(program)?;
        ensure!(pages.len() > 10, "the guest hashed {} pages only", pages.len());
        let mut differ = Vec::new();
        for (address, hash) in &pages {
            if page_hash(&page(process, *address)?) != *hash {
                differ.push(format!("{address:#x}"));
            }
        }
        // Threads that were about to be stopped write to their stacks and `rseq` areas
        // yet; those of `mt` do, the others are all asleep.
        let allowed = if program == "mt" { 4 } else { 0 };
        ensure!(differ.len() <= allowed, "pages differ: {}", differ.join(", "));
        Ok(())
    })
}

/// The values that programs said they hold lie where they said.
fn the_programs_own_values(case: &Case) -> Result<()> {
    let guest = &case.guest;
    let truth = guest.truth()?;
    let mut checked = 0;
    with_processes(case, |program, process| {
        for (what, address, value) in truth.values(program)? {
            let len = if process.is_32_bit() { 4 } else { 8 };
            let mut bytes = [0; 8];
            process.read(Gva(address), bytes.split_at_mut(len).0)?;
            let expected = if len == 4 { value & 0xffff_ffff } else { value };
            let found = u64::from_le_bytes(bytes);
            // A 64-bit value of a 32-bit program is read by its lower half.
            ensure!(found == expected, "{what} is {found:#x}, not {expected:#x}");
            checked += 1;
        }
        Ok(())
    })?;
    ensure!(checked > 12, "only {checked} values");
    Ok(())
}

/// Runs cover each mapping exactly, in order, with nothing that could be joined; all of
/// it is there, since nothing of these guests is on a disk.
fn nothing_is_missing(case: &Case) -> Result<()> {
    with_processes(case, |_, process| {
        let mut zero = 0;
        for vma in process.vmas() {
            let runs = process.runs(vma);
            let mut at = vma.start.0;
            for run in &runs {
                ensure!(run.gva.0 == at && run.len_bytes > 0, "{vma:x?}: {run:x?} at {at:#x}");
                at += run.len_bytes;
            }
            ensure!(at == vma.end.0, "{vma:x?} ends at {at:#x}");
            ensure!(!runs.windows(2).any(joinable), "{vma:x?}: {runs:x?}");
            let counts = process.counts(vma);
            let is_kernels = vma.name.starts_with("[vvar");
            ensure!(is_kernels || counts.unavailable() == 0, "{vma:x?}: {runs:x?}");
            zero += counts.zero;
        }
        ensure!(zero > 0, "no page was never touched");
        Ok(())
    })
}

fn joinable(pair: &[Run]) -> bool {
    let [first, second] = pair else { return false };
    match (first.content, second.content) {
        (Content::Memory(a), Content::Memory(b))
        | (Content::PageCache(a), Content::PageCache(b)) => a.0 + first.len_bytes == b.0,
        (a, b) => a == b,
    }
}

/// A mapping of a program's own file that it never looked at has the file's bytes.
fn untouched_pages_of_a_file(case: &Case) -> Result<()> {
    let guest = &case.guest;
    let told = guest.truth()?;
    let told = told.text(&format!("out {PAGES}"))?.to_owned();
    let address = told.lines().find_map(|line| line.strip_prefix("untouched 0x"));
    let address = u64::from_str_radix(address.context("no untouched pages")?, 16)?;
    let file = fs::read(guest.program(PAGES))?;
    with_processes(case, |program, process| {
        if program != PAGES {
            return Ok(());
        }
        let vma = process.vma_at(Gva(address)).context("not mapped")?;
        let runs = process.runs(vma);
        let is_cached = |run: &Run| matches!(run.content, Content::PageCache(_));
        ensure!(runs.iter().any(is_cached), "no page comes from the page cache: {runs:x?}");
        for (index, expected) in file.chunks(PAGE_LEN).take(64).enumerate() {
            let found = page(process, address + index as u64 * PAGE)?;
            ensure!(found.starts_with(expected), "page {index} is not the file's");
        }
        Ok(())
    })
}

/// The executable and libraries of `mt` come out as they went in.
fn files_are_rebuilt(case: &Case) -> Result<()> {
    let guest = &case.guest;
    let pid = case.pid_of("mt")?;
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("sysroot");
    let out = out.to_str().context("not UTF-8")?;
    let json = succeed(case, "extract", pid, &["--maps", "--json", "-o", out])?;
    let report: Value = serde_json::from_str(&json)?;
    let files = report.get("files").and_then(Value::as_array).context("no files")?;
    let mut found = BTreeSet::new();
    for file in files {
        let text = |member: &str| file.get(member).and_then(Value::as_str).context("no such text");
        let path = Path::new(text("path")?);
        ensure!(path.starts_with(out), "{} is outside", path.display());
        ensure!(path == Path::new(&format!("{out}{}", text("guest_path")?)), "{file}");
        ensure!(file.get("missing_bytes") == Some(&Value::from(0)), "{file}");
        let name = path.file_name().context("no name")?.to_string_lossy().into_owned();
        let original = fs::read(guest.program(&name))?;
        ensure!(fs::read(path)? == original, "{name} is not what it was");
        found.insert(name);
    }
    let names: Vec<&str> = found.iter().map(String::as_str).collect();
    let linker = if guest.is_64_bit { "ld-linux-x86-64.so.2" } else { "ld-linux.so.2" };
    ensure!(names == [linker, "libc.so.6", "liblab.so", "mt"], "{names:?}");
    only_the_user_reads(Path::new(out))
}

fn only_the_user_reads(dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let metadata = path.symlink_metadata()?;
        let mode = metadata.permissions().mode() & 0o777;
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        ensure!(mode == expected, "{} has mode {mode:o}", path.display());
        if metadata.is_dir() {
            only_the_user_reads(&path)?;
        }
    }
    Ok(())
}

/// All checks of one guest.
fn everything(name: &str, check: fn(&Case) -> Result<()>) -> Result<()> {
    check(&Case::of(name)?).with_context(|| name.to_owned())
}

macro_rules! of_every_guest {
    ($($test:ident: $check:ident,)*) => {
        $(fn $test(name: &str) -> Result<()> {
            everything(name, $check)
        })*
        tests_of_all_guests!($($test),*);
        guest_tests! {
            ($($test),*)
            bare: "linux-6.1-bare",
            no_kallsyms: "linux-6.1-no-kallsyms",
            writable_code: "linux-6.1-i386-writable",
        }

        /// The same answers from a guest that has neither symbols nor type information.
        mod without_symbols {
            use super::Case;

            $(#[test]
            fn $test() -> anyhow::Result<()> {
                super::$check(&Case::hidden("linux-6.1")?)
            })*
        }
    };
}

of_every_guest! {
    mappings_are_the_guests_own: the_guests_own_mappings,
    pages_are_the_guests_own: the_guests_own_pages,
    values_are_the_programs_own: the_programs_own_values,
    runs_cover_all_and_nothing_is_missing: nothing_is_missing,
    untouched_pages_are_the_files: untouched_pages_of_a_file,
    files_come_out_as_they_went_in: files_are_rebuilt,
}

guest_tests! {
    (mappings_are_the_guests_own, pages_are_the_guests_own, values_are_the_programs_own)
    frame_pointers: "linux-6.1-frame-pointers",
}

/// A single file goes where it is wanted, and nothing that exists is replaced.
#[test]
fn one_file_is_rebuilt_and_nothing_is_replaced_unasked() -> Result<()> {
    let case = Case::of("linux-6.1")?;
    let (guest, pid) = (&case.guest, case.pid_of("mt")?);
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("exe");
    let out = out.to_str().context("not UTF-8")?;
    succeed(&case, "extract", pid, &["--exe", "-o", out])?;
    ensure!(fs::read(out)? == fs::read(guest.program("mt"))?, "not what it was");
    let refused = run(&case, "extract", pid, &["--exe", "-o", out])?;
    ensure!(refused.status.code() == Some(1), "{}", refused.status);
    succeed(&case, "extract", pid, &["--exe", "--force", "-o", out])?;
    let dir_name = dir.path().to_str().context("not UTF-8")?;
    succeed(&case, "extract", pid, &["--file", "/lib/libc.so.6", "-o", dir_name])?;
    let libc = fs::read(dir.path().join("libc.so.6"))?;
    ensure!(libc == fs::read(guest.program("libc.so.6"))?, "not what it was");
    let unknown = run(&case, "extract", pid, &["--file", "/etc/libc.so", "-o", out])?;
    let talk = String::from_utf8_lossy(&unknown.stderr);
    ensure!(unknown.status.code() == Some(1) && talk.contains("/lib/libc.so.6"), "{talk}");
    Ok(())
}

/// What has no memory of its own has no mappings.
#[test]
fn threads_of_the_kernel_have_no_mappings() -> Result<()> {
    let case = Case::of("linux-6.1")?;
    for pid in [2, 4_000_000] {
        let output = run(&case, "maps", pid, &[])?;
        ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    }
    Ok(())
}

/// The guest's own mappings of a process are printed whichever of its threads is asked for, or
/// its name; the answer says that a number is a thread's.
#[test]
fn a_threads_number_and_a_name_mean_the_process() -> Result<()> {
    let case = Case::of("linux-6.1")?;
    let leader = case.pid_of("mt")?;
    let truth = case.guest.truth()?;
    let theirs = truth.text("maps mt")?;
    let mut ps = Command::new(PROGRAM);
    let listed = ps.args(["ps", "--json", "--threads"]).arg(&case.checkpoint).output()?;
    let listed: Value = serde_json::from_slice(&listed.stdout)?;
    let tasks = listed["tasks"].as_array().context("ps lists tasks")?;
    let tids = tasks.iter().filter(|task| task["pid"] == leader).filter_map(|t| t["tid"].as_u64());
    let tids: Vec<u64> = tids.collect();
    ensure!(tids.len() > 2, "threads are missing: {tids:?}");
    for which in tids.iter().map(u64::to_string).chain(["mt".to_owned()]) {
        let mut maps = Command::new(PROGRAM);
        maps.args(["maps", "--proc", "--pid", &which]).arg(&case.checkpoint);
        let output = maps.output()?;
        let (ours, talk) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        ensure!(ours == theirs, "{which}: {talk}\nours:\n{ours}\nthe guest's:\n{theirs}");
        let is_thread = which != "mt" && which != leader.to_string();
        let said = format!("is a thread of process {leader}");
        ensure!(talk.contains(&said) == is_thread, "{which}: {talk}");
    }
    Ok(())
}

/// The library writes the core that the program writes, which debuggers judge.
#[test]
fn the_library_writes_the_same_core() -> Result<()> {
    let case = Case::of("linux-6.1")?;
    let dir = tempfile::tempdir()?;
    let (theirs, ours) = (dir.path().join("program.core"), dir.path().join("library.core"));
    let mut core = Command::new(PROGRAM);
    let said =
        core.args(["core", "--pid", "mt", "-o"]).arg(&theirs).arg(&case.checkpoint).output()?;
    ensure!(said.status.success(), "{said:?}");
    let guest = vmss2core::Guest::open([&case.checkpoint])?;
    let which = vmss2core::Which::Name("mt".to_owned());
    let written = guest.write_process(which, ProcessOptions::default(), &ours)?;
    ensure!(written.answer.counts.unavailable() > 0, "{written:?}");
    ensure!(std::fs::read(&theirs)? == std::fs::read(&ours)?, "the cores differ");
    let symbols = guest.symbols(&["init_task".to_owned()])?.answer.symbols;
    ensure!(symbols.len() == 1 && symbols[0].name == "init_task", "{symbols:?}");
    Ok(())
}

/// crash lists the same mappings and the same physical pages (`vm -p`).
#[test]
fn crash_finds_the_same_pages() -> Result<()> {
    let (guest, vmlinux) = guests::guest_with_kernel("linux-6.1")?;
    let core = cores::linux(&guest)?.path("vmss.core");
    let case = Case::of("linux-6.1")?;
    let commands = format!("vm -p {}\nquit\n", case.pid_of("mt")?);
    let said = judges::crash(&crash()?, &[&vmlinux, &core], &commands)?;
    let theirs = crash_pages(&said);
    ensure!(theirs.len() > 100, "crash lists {} pages:\n{said}", theirs.len());
    with_processes(&case, |program, process| {
        if program != "mt" {
            return Ok(());
        }
        let mut ours = BTreeMap::new();
        for vma in process.vmas() {
            for run in process.runs(vma) {
                if let Content::Memory(gpa) = run.content {
                    let pages = (0..run.len_bytes).step_by(PAGE_LEN);
                    ours.extend(pages.map(|at| (run.gva.0 + at, gpa.0 + at)));
                }
            }
        }
        for (gva, gpa) in &theirs {
            ensure!(ours.get(gva) == Some(gpa), "{gva:#x} is at {gpa:#x} for crash");
        }
        let count = (ours.len(), theirs.len());
        ensure!(count.0 == count.1, "{} pages here, {} in crash", count.0, count.1);
        Ok(())
    })
}

/// Lines of a virtual and a physical address; what is not mapped has words instead.
fn crash_pages(said: &str) -> BTreeMap<u64, u64> {
    let hex = |word: &str| u64::from_str_radix(word, 16).ok();
    let pair = |line: &str| {
        let mut words = line.split_whitespace();
        let (gva, gpa) = (words.next()?, words.next()?);
        words.next().is_none().then_some(())?;
        Some((hex(gva)?, hex(gpa)?))
    };
    said.lines().filter_map(pair).filter(|(gva, _)| gva.is_multiple_of(PAGE)).collect()
}
