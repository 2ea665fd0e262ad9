//! Where a command looks: its system calls, as `strace` shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::damage::Which;
use super::forms::Form;
use super::run;

/// A part of a file that a command reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Read {
    pub(super) file: Which,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// Runs the command on the sound checkpoint in `dir` and takes down what it reads, in
/// order of place, each part once.
pub(super) fn learn(program: &Path, form: &Form, dir: &Path) -> Result<Vec<Read>> {
    let log = dir.join("strace");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-y", "-s", "0", "--seccomp-bpf", "-e", "trace=pread64", "-o"])
        .arg(&log)
        .arg(program);
    strace.args(form.line.split_whitespace());
    let out = run::fresh_out(dir)?;
    strace.current_dir(out).stdin(run::input(form, dir)?);
    strace.stdout(Stdio::null()).stderr(Stdio::null());
    strace.status().context("running strace")?;
    let text = std::fs::read(&log)?;
    let reads = parse(&String::from_utf8_lossy(&text));
    ensure!(!reads.is_empty(), "{} reads nothing", form.line);
    Ok(reads.into_iter().collect())
}

/// Lines like `7 pread64(3</x/vm.vmem>, ""..., 4096, 8192) = 4096`; one that another
/// thread interrupts comes in two.
fn parse(log: &str) -> BTreeSet<Read> {
    let mut begun = BTreeMap::new();
    let mut reads = BTreeSet::new();
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let file = if call.starts_with("<... pread64 resumed>") {
            begun.remove(thread)
        } else {
            which(call)
        };
        if call.ends_with("<unfinished ...>") {
            begun.extend(file.map(|file| (thread, file)));
        } else if let (Some(file), Some((len, offset))) = (file, place(call)) {
            reads.insert(Read { file, offset, len });
        }
    }
    reads
}

fn which(call: &str) -> Option<Which> {
    let (path, _) = call.strip_prefix("pread64(")?.split_once('<')?.1.split_once('>')?;
    Which::of(Path::new(path))
}

/// Length and offset: the last two arguments.
fn place(call: &str) -> Option<(u64, u64)> {
    let (arguments, result) = call.rsplit_once(") = ")?;
    let got: u64 = result.split_whitespace().next()?.parse().ok()?;
    let (_, offset) = arguments.rsplit_once(", ")?;
    (got > 0).then_some((got, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_several_threads_are_told_apart() {
        let log = "\
            7 pread64(3</x/vm.vmem>, \"\"..., 4096, 8192) = 4096\n\
            7 pread64(4</x/vm.vmss>,  <unfinished ...>\n\
            8 pread64(3</x/vm.vmem>, \"\"..., 4096, 0) = 100\n\
            7 <... pread64 resumed>\"\"..., 64, 12) = 64\n\
            8 pread64(3</x/vm.vmem>, 0x7f, 4096, 0) = -1 EIO (Input/output error)\n\
            8 pread64(5</etc/passwd>, \"\"..., 4096, 0) = 4096\n\
            7 +++ exited with 0 +++\n";
        let read = |file, offset, len| Read { file, offset, len };
        let want = [
            read(Which::State, 12, 64),
            read(Which::Memory, 0, 100),
            read(Which::Memory, 8192, 4096),
        ];
        assert_eq!(parse(log).into_iter().collect::<Vec<_>>(), want);
    }
}
