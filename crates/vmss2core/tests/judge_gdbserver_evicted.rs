//! Programs and libraries whose ends the guest's page cache has lost, in gdb 13 and
//! gdb 16: stacks go through them, and what is missing is said. readelf looks at the
//! section tables that were made.

#[macro_use]
mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::cores::{self, Wrap};
use common::guests;
use common::judges;
use common::mt::{by_thread, ensure_stacks, tid_of};
use common::server::Server;
use common::text::ensure_contains;
use vmss2core_lab::Guest;
use vmss2core_lab::judges::{Judge, gdb, gdb_trixie};

/// What is asked of each.
const LINES: [&str; 3] = ["thread apply all bt", "info sharedlibrary", "monitor problems"];

/// What is said of a file whose section headers are missing.
const MADE: &str = "bytes are not in the guest's memory, section headers among them: a section \
                    table was made from the program headers, and the only symbols are those that \
                    the file exports; serve with --sysroot DIR";

struct Served {
    guest: Guest,
    server: Server,
}

impl Served {
    fn of(name: &str, wrap: &Wrap, options: &[&str]) -> Result<Self> {
        let guest = guests::guest(name)?;
        let server = Server::start(&cores::checkpoint(&guest, wrap)?, options)?;
        Ok(Self { guest, server })
    }

    fn pid(&self) -> Result<u32> {
        Ok(*self.guest.truth()?.programs()?.get("mt").context("no mt")?)
    }

    /// A gdb that attaches to `mt`. It gets no symbols from this machine.
    fn ask(&self, judge: &Judge, lines: &[&str]) -> Result<String> {
        let mut gdb = judge.command();
        gdb.args(["-q", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex"]);
        gdb.args(["set debug-file-directory /nowhere", "-iex", "set width 0", "-ex"]);
        gdb.arg(format!("target extended-remote {}", self.server.socket().display()));
        gdb.arg("-ex").arg(format!("attach {}", self.pid()?));
        for line in lines {
            gdb.args(["-ex", line]);
        }
        judges::output(&mut gdb)
    }
}

fn both_gdbs(check: impl Fn(&Judge) -> Result<()>) -> Result<()> {
    check(&gdb()?)?;
    check(&gdb_trixie()?).context("gdb 16")
}

/// These are in the stack of a thread, in this order.
fn ensure_frames(guest: &Guest, said: &str, thread: &str, frames: &[&str]) -> Result<()> {
    let stacks = by_thread(said);
    let stack = stacks.get(&tid_of(guest, thread)?).with_context(|| format!("{thread}: {said}"))?;
    let mut rest = stack.as_str();
    for frame in frames {
        let at = rest.find(frame).with_context(|| format!("{thread}: no {frame}: {said}"))?;
        rest = rest.get(at + frame.len()..).unwrap_or_default();
    }
    Ok(())
}

fn ensure_no_complaint(what: &str, said: &str) -> Result<()> {
    for word in ["corrupt string table", "BFD:", "arning:", "rror:", "Error"] {
        let is_ours = |line: &&str| line.contains(word) && !line.contains("File transfers");
        let line = said.lines().find(is_ours);
        ensure!(line.is_none(), "{what}: {}: {said}", line.unwrap_or_default());
    }
    Ok(())
}

/// Every library has addresses.
fn ensure_libraries(said: &str) -> Result<()> {
    for library in ["/lib/liblab.so", "/lib/libc.so.6"] {
        let has_address = |line: &str| line.starts_with("0x") && line.ends_with(library);
        ensure!(said.lines().any(has_address), "no addresses of {library}: {said}");
    }
    Ok(())
}

/// Once for each file, and for no other.
fn ensure_problems(said: &str, paths: &[&str]) -> Result<()> {
    ensure!(said.matches(MADE).count() == paths.len(), "not {paths:?}: {said}");
    for path in paths {
        let is_it = |line: &str| line.starts_with(&format!("{path}: ")) && line.contains(MADE);
        ensure!(said.lines().any(is_it), "nothing is said of {path}: {said}");
    }
    Ok(())
}

fn libraries(name: &str) -> Result<()> {
    let served = Served::of(name, &Wrap::without_ends_of_libraries(), &[])?;
    both_gdbs(|judge| {
        let said = served.ask(judge, &LINES)?;
        ensure_no_complaint(name, &said)?;
        let deep = " in lab_sleep_deep () from target:/lib/liblab.so";
        let sleeper = ["nanosleep", deep, deep, deep, deep, " in sleeper ("];
        ensure_frames(&served.guest, &said, "mt-sleeper", &sleeper)?;
        let library = "target:/lib/libc.so.6";
        ensure_frames(&served.guest, &said, "mt", &[library, " in main () at mt.c"])?;
        ensure_frames(&served.guest, &said, "mt-waiter", &[library, " in waiter ("])?;
        ensure_frames(&served.guest, &said, "mt-spinner", &["#0  0x", " in spinner ("])?;
        ensure!(!said.contains(" in ?? ()\n"), "{name}: {said}");
        ensure_libraries(&said)?;
        ensure_problems(&said, &["/lib/liblab.so", "/lib/libc.so.6"])
    })
}

/// The program is what gdb reads first. Its functions have no names, for it exports
/// none, but stacks go through them.
fn program_too(name: &str) -> Result<()> {
    let served = Served::of(name, &Wrap::without_ends_of_files(), &[])?;
    both_gdbs(|judge| {
        let said = served.ask(judge, &LINES)?;
        ensure_no_complaint(name, &said)?;
        let deep = " in lab_sleep_deep () from target:/lib/liblab.so";
        let library = "target:/lib/libc.so.6";
        let sleeper = ["nanosleep", deep, deep, deep, deep, " in ?? ()\n", library];
        ensure_frames(&served.guest, &said, "mt-sleeper", &sleeper)?;
        let main = [library, " in ?? ()\n", " in __libc_start_main"];
        ensure_frames(&served.guest, &said, "mt", &main)?;
        ensure_frames(&served.guest, &said, "mt-waiter", &[library, " in ?? ()\n", library])?;
        ensure_libraries(&said)?;
        ensure_problems(&said, &["/lib/liblab.so", "/lib/libc.so.6", "/programs/mt"])
    })
}

/// The program's ELF header is made from its mappings, and its own section headers are
/// found at its end: gdb gets all of its names.
fn header(name: &str) -> Result<()> {
    let served = Served::of(name, &Wrap::without_header(), &[])?;
    both_gdbs(|judge| {
        let said = served.ask(judge, &LINES)?;
        // The lost page has the linker's name, and gdb wants to stop in the linker.
        let hushed = said.replace("warning: Unable to find dynamic linker breakpoint", "");
        ensure_no_complaint(name, &hushed)?;
        ensure_libraries(&said)?;
        let deep = " in lab_sleep_deep (";
        let sleeper = ["nanosleep", deep, deep, deep, deep, " in sleeper ("];
        ensure_frames(&served.guest, &said, "mt-sleeper", &sleeper)?;
        let library = "target:/lib/libc.so.6";
        ensure_frames(&served.guest, &said, "mt", &[library, " in main () at mt.c"])?;
        ensure_frames(&served.guest, &said, "mt-waiter", &[library, " in waiter ("])?;
        ensure_frames(&served.guest, &said, "mt-spinner", &["#0  0x", " in spinner ("])?;
        let problem = "the ELF header among them: one was made from what the process has mapped";
        ensure_contains(name, &said, problem)?;
        ensure!(!said.contains(" in ?? ()\n"), "{name}: {said}");
        Ok(())
    })
}

/// What the problem says to do helps.
fn directory(name: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let guest = guests::guest(name)?;
    for (from, to) in
        [("liblab.so", "lib/liblab.so"), ("libc.so.6", "lib/libc.so.6"), ("mt", "programs/mt")]
    {
        let to = dir.path().join(to);
        fs::create_dir_all(to.parent().context("no folder")?)?;
        fs::copy(guest.program(from), to)?;
    }
    let path = dir.path().display().to_string();
    let served = Served::of(name, &Wrap::without_ends_of_files(), &["--sysroot", &path])?;
    both_gdbs(|judge| {
        let said = served.ask(judge, &LINES)?;
        ensure_stacks(&served.guest, &said, ["target:/lib/libc.so.6"; 2])?;
        ensure!(!said.contains("not in the guest's memory"), "{name}: {said}");
        Ok(())
    })
}

fn readelf(file: &Path, options: &[&str]) -> Result<String> {
    judges::output(Command::new("readelf").env("LC_ALL", "C").args(options).arg(file))
}

/// Symbols by name, without the section that they are in.
fn symbols(said: &str) -> Vec<Vec<&str>> {
    let rows = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|row| row.first().is_some_and(|first| first.ends_with(':')));
    rows.map(|row| without_section(&row)).collect()
}

fn without_section<'s>(row: &[&'s str]) -> Vec<&'s str> {
    let is_defined = row.get(6).is_some_and(|section| *section != "UND");
    // The table that was made has no versions.
    let name = row.get(7).and_then(|name| name.split('@').next());
    let front = row.iter().take(6).copied();
    front.chain(name).chain(is_defined.then_some("defined")).collect()
}

/// readelf finds nothing wrong, and the symbols of the real file.
fn tables(name: &str) -> Result<()> {
    let served = Served::of(name, &Wrap::without_ends_of_files(), &[])?;
    let mut client = served.server.connect()?;
    client.ask("qSupported:multiprocess+;swbreak+")?;
    client.ask("!")?;
    let attached = client.ask(&format!("vAttach;{:x}", served.pid()?))?;
    ensure!(attached.starts_with("T05"), "not attached: {attached}");
    let dir = tempfile::tempdir()?;
    for path in ["/lib/liblab.so", "/lib/libc.so.6", "/programs/mt"] {
        let (bytes, missing) = client.file(path)?;
        ensure!((1..=4096).contains(&missing), "{path}: {missing} bytes are missing");
        let file_name = path.rsplit('/').next().context("no name")?;
        let (made, real) = (dir.path().join(file_name), served.guest.program(file_name));
        fs::write(&made, &bytes)?;
        let said = readelf(&made, &["-hlSndWu"])?;
        ensure_no_complaint(path, &said)?;
        for section in [
            ".note.gnu.build-id",
            ".dynamic ",
            ".dynsym ",
            ".dynstr ",
            ".eh_frame_hdr ",
            ".eh_frame ",
            ".text ",
            ".rodata ",
            ".data ",
            ".bss ",
        ] {
            ensure_contains(path, &said, section)?;
        }
        let dynamic = ["-W", "--dyn-syms"];
        let (ours, theirs) = (readelf(&made, &dynamic)?, readelf(&real, &dynamic)?);
        ensure_no_complaint(path, &ours)?;
        ensure!(symbols(&ours).len() > 3, "{path}: {ours}");
        ensure!(symbols(&ours) == symbols(&theirs), "{path}:\n{ours}\n{theirs}");
        let frames = ["-W", "--debug-dump=frames,no-follow-links"];
        let (ours, theirs) = (readelf(&made, &frames)?, readelf(&real, &frames)?);
        ensure_no_complaint(path, &ours)?;
        let entries = |said: &str| said.matches(" FDE ").count();
        ensure!(
            entries(&ours) > 2 && ours.trim() == frames_of(&theirs).trim(),
            "{path}: {ours}\n{theirs}"
        );
    }
    Ok(())
}

/// `.eh_frame` alone: others may have `.debug_frame` too.
fn frames_of(said: &str) -> &str {
    said.split("Contents of the .debug_frame section").next().unwrap_or_default()
}

guest_tests! {
    (libraries, program_too, header, directory, tables)
    five_level: "linux-6.1",
    two_level: "linux-6.1-i386",
}
