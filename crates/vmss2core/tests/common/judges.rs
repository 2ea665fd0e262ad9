//! The foreign tools, run in batch. Every one must be there: a test without its
//! judge has not passed.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::{NamedTempFile, TempDir};
use vmss2core_lab::judges::{self, Judge};

use super::walker::Sample;

/// Folder with our scripts for debuggers.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");

/// What a tool printed, on both streams. It must have ended well.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    Ok(text)
}

/// A file of `samples` for the scripts.
pub fn samples_file(samples: &[Sample]) -> Result<NamedTempFile> {
    let mut text = String::new();
    for sample in samples {
        write!(text, "{:x} {} ", sample.va, sample.len)?;
        for byte in &sample.bytes {
            write!(text, "{byte:02x}")?;
        }
        text.push_str(if sample.bytes.is_empty() { "-\n" } else { "\n" });
    }
    file_of(&text)
}

fn file_of(text: &str) -> Result<NamedTempFile> {
    let file = NamedTempFile::new()?;
    fs::write(file.path(), text)?;
    Ok(file)
}

/// A script made this many reads and found nothing wrong.
pub fn all_right(what: &str, said: &str, reads: usize) -> Result<()> {
    let verdict = format!("{reads} reads, 0 wrong");
    ensure!(said.lines().any(|line| line == verdict), "{what}: {said}");
    Ok(())
}

fn script(name: &str) -> PathBuf {
    Path::new(SCRIPTS).join(name)
}

/// A judge that will run one of our scripts on a core.
fn scripted(judge: &Judge, core: &Path) -> Command {
    let mut command = judge.command();
    command.env("SCRIPTS", SCRIPTS).env("CORE", core).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// gdb on a core, running one of our scripts.
pub fn gdb_script(core: &Path, name: &str) -> Result<Command> {
    let mut gdb = scripted(&judges::gdb()?, core);
    gdb.args(["-q", "-nx", "-batch", "-iex", "set debuginfod enabled off"]);
    gdb.arg("-ex").arg(format!("core-file {}", core.display())).arg("-x").arg(script(name));
    Ok(gdb)
}

/// lldb on a core, running one of our scripts.
pub fn lldb_script(core: &Path, name: &str) -> Result<Command> {
    let mut lldb = scripted(&judges::lldb()?, core);
    lldb.args(["--no-lldbinit", "--batch", "--core"]).arg(core);
    lldb.arg("-o").arg(format!("command script import {}", script(name).display()));
    Ok(lldb)
}

/// drgn on a core, running one of our scripts.
pub fn drgn_script(core: &Path, name: &str) -> Result<Command> {
    let mut python = scripted(&judges::python()?, core);
    python.arg(script(name));
    Ok(python)
}

/// libkdumpfile on a core, running one of our scripts.
pub fn kdumpfile_script(core: &Path, name: &str) -> Result<Command> {
    let mut python = scripted(&judges::libkdumpfile()?, core);
    python.arg(script(name));
    Ok(python)
}

/// makedumpfile with all that it can leave out left out.
pub fn makedumpfile(core: &Path, out: &Path) -> Result<Command> {
    let mut makedumpfile = judges::makedumpfile()?.command();
    makedumpfile.args(["-d", "31", "-l"]).arg(core).arg(out);
    Ok(makedumpfile)
}

/// A command line for gdb that we proposed, with more options after it.
pub fn gdb_line(dir: &Path, line: &str, commands: &[&str]) -> Result<Command> {
    let (line, commands) = (typed(line), options("-ex", commands)?);
    shell(&judges::gdb()?, dir, &format!("{line} -q -nx -batch{commands}"))
}

/// A command line for lldb that we proposed, with more options after it.
pub fn lldb_line(dir: &Path, line: &str, commands: &[&str]) -> Result<Command> {
    let commands = options("-o", commands)?;
    // Debian puts the version into the program's name.
    let line = typed(line).replacen("lldb ", "lldb-19 --no-lldbinit --batch ", 1);
    shell(&judges::lldb()?, dir, &format!("{line}{commands}"))
}

/// A line without the comment that it may end with.
fn typed(line: &str) -> &str {
    line.split_once("  #").map_or(line, |(typed, _)| typed)
}

fn options(option: &str, commands: &[&str]) -> Result<String> {
    let mut line = String::new();
    for command in commands {
        write!(line, " {option} '{command}'")?;
    }
    Ok(line)
}

/// `judge` is not run by its own path but as typed; asking for it made sure that
/// it is there.
fn shell(_judge: &Judge, dir: &Path, line: &str) -> Result<Command> {
    ensure!(dir.is_dir(), "no folder: {}", dir.display());
    let mut shell = Command::new("timeout");
    shell.args(["600", "sh", "-c", line]).current_dir(dir).stdin(std::process::Stdio::null());
    Ok(shell)
}

/// crash with these commands, one to a line; the rest of its command line may be
/// in front of the dump.
pub fn crash(judge: &Judge, arguments: &[&Path], commands: &str) -> Result<String> {
    // crash looks for its settings in the home directory.
    let home = TempDir::new()?;
    let script = file_of(commands)?;
    let mut crash = judge.command();
    crash.env("HOME", home.path()).arg("-s").arg("-i").arg(script.path()).args(arguments);
    output(&mut crash)
}
