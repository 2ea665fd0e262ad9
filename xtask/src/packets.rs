//! `cargo xtask mutate --packets`: many clients at once, few of them debuggers.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use vmss2core_lab::mutate::Target;
use vmss2core_lab::mutate::packets::{self, Crowd};
use vmss2core_lab::mutate::recorded::{self, Session};

use crate::mutate::side_by_side;

/// Servers that are attacked if no guest is named: a guest, and what is served of it.
const SERVERS: [(&str, &[&str]); 7] = [
    ("linux-6.1-production", &[]),
    ("linux-6.1-production", &["--pid", "1"]),
    ("linux-6.1-production:2016", &["--tasks"]),
    ("win10-19041-x64", &[]),
    ("linux-sid", &["--pid", "1"]),
    ("win7-pae:2012", &[]),
    ("macos", &[]),
];

/// How often all clients leave, and everything is checked.
const ROUND: Duration = Duration::from_mins(1);

/// Most connections of a round.
const RUNS_OF_ROUND: u64 = 500;

/// Most memory of a server.
const MOST_MIB: u64 = 1024;

/// How much to attack.
pub(crate) struct Campaign {
    /// The program.
    pub(crate) program: PathBuf,
    /// Attackers at the same time.
    pub(crate) jobs: u64,
    /// Connections in all, shared among the servers, if there is no time.
    pub(crate) runs: u64,
    /// The time, shared among the servers.
    pub(crate) time: Option<Duration>,
    /// Seed of the first connection.
    pub(crate) seed: u64,
}

/// A server that is attacked; ends with this.
struct Server {
    child: Child,
    dir: TempDir,
    /// What debuggers said to it.
    sessions: Vec<Session>,
    /// What it answered before.
    answers: Vec<u8>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Campaign {
    /// Attacks servers of these guests, or of all kinds.
    pub(crate) fn run(&self, guests: &[&str]) -> Result<()> {
        let named: Vec<(&str, &[&str])> = guests.iter().map(|guest| (*guest, &[][..])).collect();
        let servers = if named.is_empty() { SERVERS.to_vec() } else { named };
        let share = u32::try_from(servers.len())?;
        let (runs, time) = (self.runs / u64::from(share), self.time.map(|time| time / share));
        let mut faults = 0;
        for ((guest, options), number) in servers.into_iter().zip(0..) {
            let seed = self.seed + number * 1_000_000;
            if let Err(error) = self.attack(guest, options, seed, runs.max(1), time) {
                println!("{guest} {}: {error:#}", options.join(" "));
                faults += 1;
            }
        }
        ensure!(faults == 0, "faults in {faults} servers");
        Ok(())
    }

    fn attack(
        &self,
        guest: &str,
        options: &[&str],
        seed: u64,
        runs: u64,
        time: Option<Duration>,
    ) -> Result<()> {
        let server = Server::start(&self.program, guest, options)?;
        let (start, before) = (Instant::now(), server.peak_mib()?);
        let (mut done, mut sent) = (0, 0);
        while time.map_or(done < runs, |time| start.elapsed() < time) {
            let most = if time.is_some() { RUNS_OF_ROUND } else { RUNS_OF_ROUND.min(runs - done) };
            let (connections, packets) = server.round(self.jobs, seed + done, most)?;
            (done, sent) = (done + connections, sent + packets);
            server.check().with_context(|| format!("after seed {}", seed + done))?;
        }
        println!(
            "{guest} {}: {done} connections, {sent} packets in {} s, seeds from {seed}; \
             memory at most {} MiB, {before} before",
            options.join(" "),
            start.elapsed().as_secs(),
            server.peak_mib()?,
        );
        server.end()
    }
}

impl Server {
    fn start(program: &Path, guest: &str, options: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let state = Target::of(guest)?.write(dir.path())?;
        let mut command = Command::new(program);
        command.arg("gdb").arg(state).args(options).arg("--unix").arg(dir.path().join("socket"));
        let log = File::create(dir.path().join("log"))?;
        let child = command.env("RUST_BACKTRACE", "1").stdin(Stdio::null()).stderr(log).spawn()?;
        let mut server = Self { child, dir, sessions: Vec::new(), answers: Vec::new() };
        while packets::probe(&server.socket()).is_err() {
            ensure!(server.child.try_wait()?.is_none(), "it does not start: {}", server.said()?);
            thread::sleep(Duration::from_millis(200));
        }
        server.sessions = recorded::sessions(&server.socket())?;
        server.answers = packets::answers(&server.socket())?;
        Ok(server)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    fn said(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir.path().join("log"))?)
    }

    /// Attackers and a crowd; returns how many connections and packets that were.
    fn round(&self, jobs: u64, seed: u64, most: u64) -> Result<(u64, u64)> {
        let (start, is_over) = (Instant::now(), AtomicBool::new(false));
        let (next, sent) = (AtomicU64::new(0), AtomicU64::new(0));
        let attack = || -> Result<()> {
            while start.elapsed() < ROUND {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= most {
                    break;
                }
                let packets = packets::attack(&self.socket(), &self.sessions, seed + number)?;
                sent.fetch_add(packets as u64, Ordering::Relaxed);
            }
            Ok(())
        };
        let result = thread::scope(|scope| {
            let crowd = scope.spawn(|| self.crowd(seed, &is_over));
            let result = side_by_side(jobs, attack);
            is_over.store(true, Ordering::Relaxed);
            result.and(crowd.join().unwrap_or_else(|_| bail!("the crowd panicked")))
        });
        result?;
        Ok((next.into_inner().min(most), sent.into_inner()))
    }

    fn crowd(&self, seed: u64, is_over: &AtomicBool) -> Result<()> {
        let mut crowd = Crowd::default();
        for seed in seed.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            crowd.grow(&self.socket(), seed)?;
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Every place is free, the answers are those of before, and nothing panicked.
    fn check(&self) -> Result<()> {
        packets::fill(&self.socket()).context("lost places")?;
        let answers = packets::answers(&self.socket())?;
        ensure!(answers == self.answers, "it answers something else than before");
        let (said, peak) = (self.said()?, self.peak_mib()?);
        ensure!(peak <= MOST_MIB, "it takes {peak} MiB of memory");
        match said.find("panicked at") {
            Some(at) => bail!("a panic: {}", said.get(at..).unwrap_or_default()),
            None => Ok(()),
        }
    }

    /// The most memory that it had, in MiB.
    fn peak_mib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 = peak.context("no peak")?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib >> 10)
    }

    /// Ends it as a service manager does: whoever started us may have had SIGINT ignored.
    fn end(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        ensure!(Command::new("kill").args(["-TERM", &pid]).status()?.success(), "kill failed");
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "it ends with {status}: {}", self.said()?);
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
        bail!("SIGTERM does not end it")
    }
}
