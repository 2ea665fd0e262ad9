//! Disks that fail and files that may not be read: an error stays one and never becomes
//! something that the guest does not have. `strace` makes the calls fail.

#[macro_use]
mod common;

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

use common::cores::{self, PROGRAM, Wrap};
use common::guests;

/// Runs the program with calls on a file failing, as `inject` says.
fn with_fault(file: &Path, inject: &str, words: &[&str], input: &Path) -> Result<Output> {
    let call = inject.split(':').next().unwrap_or_default();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(file);
    strace.args(["-e", &format!("trace={call}"), "-e", &format!("inject={inject}")]);
    strace.arg(PROGRAM).args(words).arg(input);
    strace.output().context("running strace")
}

/// All that was said, as one line: reports are wrapped.
fn said(output: &Output) -> String {
    let parts = [&output.stdout, &output.stderr];
    let text = parts.map(|part| String::from_utf8_lossy(part).into_owned()).concat();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_state_file_that_may_not_be_read_is_not_one_that_is_not_there() -> Result<()> {
    let state = cores::checkpoint(&guests::guest("linux-6.1")?, &Wrap::split())?;
    let dir = state.parent().context("a folder")?;
    let denied = "openat:error=EACCES";
    let ended = with_fault(&state, denied, &["info"], dir)?;
    let text = said(&ended);
    ensure!(ended.status.code() == Some(1), "a directory: {text}");
    ensure!(text.contains("guest.vmss: cannot open: Permission denied"), "{text}");
    // The memory itself can still be looked at.
    let ended = with_fault(&state, denied, &["info"], &state.with_extension("vmem"))?;
    let text = said(&ended);
    ensure!(ended.status.code() == Some(4), "the memory: {text}");
    ensure!(text.contains("guest.vmss: cannot open: Permission denied"), "{text}");
    ensure!(text.contains("its registers are missing"), "{text}");
    Ok(())
}

#[test]
fn memory_that_cannot_be_read_is_not_memory_without_a_guest() -> Result<()> {
    let state = cores::checkpoint(&guests::guest("linux-6.1")?, &Wrap::split())?;
    let memory = state.with_extension("vmem");
    for command in ["info", "ps", "bt", "dmesg", "modules", "symbols"] {
        for first in [1, 10, 60] {
            let inject = format!("pread64:error=EIO:when={first}+");
            let ended = with_fault(&memory, &inject, &[command], &state)?;
            let text = said(&ended);
            let what = format!("{command}, from read {first} on");
            ensure!(matches!(ended.status.code(), Some(1 | 4)), "{what}: {text}");
            ensure!(text.contains("Input/output error"), "{what}: {text}");
        }
    }
    Ok(())
}
