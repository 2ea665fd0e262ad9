//! Running the program under limits, and what is wrong about how it ended.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result};

use super::forms::Form;

/// How much it may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Address space in KiB.
    pub address_space_kib: u64,
    /// Memory in use in KiB.
    pub rss_kib: u64,
    /// Processor time.
    pub cpu_seconds: u32,
    /// By the clock: that nothing waits for ever.
    pub wall_seconds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { address_space_kib: 4 << 20, rss_kib: 1 << 20, cpu_seconds: 20, wall_seconds: 900 }
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// As a shell reports it: more than 128 for a signal.
    pub code: i32,
    /// The most memory that it had.
    pub rss_kib: u64,
    /// Processor time in hundredths of a second.
    pub cpu_centiseconds: u64,
    /// The end of what it said on standard error.
    pub said: String,
    /// Temporary files that it left.
    left: Vec<String>,
}

/// Bytes of standard error that are kept.
const KEPT: i64 = 2000;

impl Ended {
    /// What is wrong about it.
    pub(super) fn fault(&self, limits: Limits) -> Option<String> {
        const XCPU: i32 = 128 + 24;
        const KILL: i32 = 128 + 9;
        match self.code {
            _ if self.said.contains("panicked at") => Some("panic".to_owned()),
            101 => Some("panic".to_owned()),
            XCPU | KILL => Some("it does not end".to_owned()),
            _ if self.rss_kib > limits.rss_kib => {
                Some(format!("it takes {} MiB of memory", self.rss_kib >> 10))
            }
            code if code > 128 => Some(format!("signal {}", code - 128)),
            0 | 1 | 3 | 4 | 5 if !self.left.is_empty() => {
                Some(format!("it left {}", self.left.join(", ")))
            }
            0 | 1 | 3 | 4 | 5 => None,
            code => Some(format!("exit code {code}")),
        }
    }
}

/// Runs a form of a command beside the checkpoint in `dir`.
pub(super) fn run(program: &Path, form: &Form, dir: &Path, limits: Limits) -> Result<Ended> {
    let out = fresh_out(dir)?;
    let (usage, said) = (dir.join("usage"), dir.join("said"));
    let Limits { address_space_kib, cpu_seconds, wall_seconds, .. } = limits;
    let line =
        format!("ulimit -v {address_space_kib}; ulimit -t {cpu_seconds}; exec \"$0\" \"$@\"");
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", &wall_seconds.to_string()]);
    command.args(["time", "-q", "-f", "%M %U %S", "-o"]).arg(&usage);
    command.args(["sh", "-c", &line]).arg(program).args(form.line.split_whitespace());
    command.current_dir(&out).env("TMPDIR", &out).env("RUST_BACKTRACE", "1");
    command.stdin(input(form, dir)?).stdout(Stdio::null()).stderr(File::create(&said)?);
    let status = command.status().context("running the program")?;
    let (rss_kib, cpu_centiseconds) = used(&usage);
    let left = names(&out)?.into_iter().filter(|name| name.starts_with(".vmss2core")).collect();
    Ok(Ended { code: code(status), rss_kib, cpu_centiseconds, said: end_of(&said)?, left })
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// An empty directory `out`.
pub(super) fn fresh_out(dir: &Path) -> Result<PathBuf> {
    let out = dir.join("out");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    fs::create_dir(&out)?;
    Ok(out)
}

/// What the program is told, as a file.
pub(super) fn input(form: &Form, dir: &Path) -> Result<Stdio> {
    if form.packets.is_empty() {
        return Ok(Stdio::null());
    }
    let path = dir.join("input");
    let mut file = File::create(&path)?;
    for packet in form.packets {
        file.write_all(&super::packets::frame(packet.as_bytes()))?;
    }
    Ok(File::open(path)?.into())
}

/// Memory and processor time from what `time` wrote.
fn used(usage: &Path) -> (u64, u64) {
    let text = fs::read_to_string(usage).unwrap_or_default();
    let words: Vec<&str> = text.lines().last().unwrap_or_default().split_whitespace().collect();
    let [rss, user, system] = *words else { return (0, 0) };
    let centiseconds = |text: &str| text.replace('.', "").parse().unwrap_or(0_u64);
    (rss.parse().unwrap_or(0), centiseconds(user) + centiseconds(system))
}

fn end_of(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let len = i64::try_from(file.metadata()?.len())?;
    file.seek(SeekFrom::End(-len.min(KEPT)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir)?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
