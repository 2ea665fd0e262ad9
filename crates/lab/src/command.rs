//! Runs other programs: with an error that shows what they said, a limit on
//! their time, and retries where a network is involved.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::progress::say;

/// What a program wrote and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a program to its end, whatever that is; kills it after `limit`.
pub fn run(command: &mut Command, limit: Duration) -> Result<Output> {
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    let Some(status) = wait(&mut child, limit)? else {
        let said = format!("{}{}", text(&mut stdout)?, text(&mut stderr)?);
        bail!("still running after {limit:?}: {command:?}\n{said}");
    };
    Ok(Output { status, stdout: text(&mut stdout)?, stderr: text(&mut stderr)? })
}

/// Runs a program that must succeed, and returns its standard output.
pub fn succeed(command: &mut Command, limit: Duration) -> Result<String> {
    let output = run(command, limit)?;
    if !output.status.success() {
        bail!("{}: {command:?}\n{}{}", output.status, output.stdout, output.stderr);
    }
    Ok(output.stdout)
}

/// Tries something that a flaky mirror may spoil, up to `times` times.
pub fn retry<T>(what: &str, times: u32, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tried = 1;
    loop {
        match attempt() {
            Err(error) if tried < times => {
                say(&format!("{what}: try {tried} of {times} failed: {error:#}"));
                sleep(Duration::from_secs(u64::from(tried) * 2));
                tried += 1;
            }
            result => {
                return result.with_context(|| format!("{what}: gave up after {tried} tries"));
            }
        }
    }
}

/// Waits for a child; after `limit` kills it and returns `None`.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
