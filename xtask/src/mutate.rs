//! `cargo xtask mutate`: attacks on the program, for as long as one likes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail, ensure};
use vmss2core_lab::mutate::{Attack, Finding, GUESTS, Limits, Run, Target, packets};
use vmss2core_lab::vmware::{Machine, Shape, write_checkpoint};

/// How much to attack, and what.
#[derive(clap::Args)]
pub(crate) struct MutateArgs {
    /// Runs in all, shared among the guests
    #[arg(long, default_value_t = 2000)]
    runs: u64,
    /// Stop after this time, shared among the guests
    #[arg(long, value_name = "M")]
    minutes: Option<u64>,
    /// Seed of the first run; the next has the next number [default: the time]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Guests of the lab and Windows fixtures; several times for several
    #[arg(long, value_name = "NAME")]
    guest: Vec<String>,
    /// Runs side by side
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Attack the server with packets instead, one connection a run
    #[arg(long)]
    packets: bool,
}

/// What was seen.
#[derive(Default)]
struct Tally {
    codes: BTreeMap<i32, u64>,
    most_kib: (u64, String),
    longest: (u64, String),
    findings: Vec<Finding>,
}

impl Tally {
    fn add(&mut self, guest: &str, run: Run) {
        *self.codes.entry(run.ended.code).or_default() += 1;
        let what = format!("{}, guest {guest}, seed {}", run.line, run.seed);
        if run.ended.rss_kib > self.most_kib.0 {
            self.most_kib = (run.ended.rss_kib, what.clone());
        }
        if run.ended.cpu_centiseconds > self.longest.0 {
            self.longest = (run.ended.cpu_centiseconds, what);
        }
        if let Some(finding) = run.finding {
            println!("{finding}");
            self.findings.push(finding);
        }
    }

    fn print(&self) {
        println!("{} runs; exit codes: {:?}", self.codes.values().sum::<u64>(), self.codes);
        println!("most memory: {} MiB: {}", self.most_kib.0 >> 10, self.most_kib.1);
        let seconds = self.longest.0 / 100;
        println!(
            "most processor time: {seconds}.{:02} s: {}",
            self.longest.0 % 100,
            self.longest.1
        );
        println!("{} findings", self.findings.len());
    }
}

/// Does it; fails if anything was found.
pub(crate) fn run(root: &Path, args: &MutateArgs) -> Result<()> {
    let program = crate::release_binary(root)?;
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let seed = args.seed.unwrap_or(since_1970.as_secs() * 1_000_000);
    let named: Vec<&str> = args.guest.iter().map(String::as_str).collect();
    let guests = if named.is_empty() { GUESTS.to_vec() } else { named };
    println!("seed {seed}");
    if args.packets {
        return attack_server(&program, guests[0], args, seed);
    }
    let mut tally = Tally::default();
    let share = guests.len() as u64;
    let time = args.minutes.map(|minutes| Duration::from_secs(minutes * 60 / share));
    for (name, first) in guests.iter().zip(0..) {
        let runs = args.runs / share + u64::from(first < args.runs % share);
        let seeds = seed + first * (args.runs / share + 1);
        attack_guest(&program, name, seeds..seeds + runs, time, args.jobs, &mut tally)?;
    }
    tally.print();
    ensure!(tally.findings.is_empty(), "{} findings", tally.findings.len());
    Ok(())
}

fn attack_guest(
    program: &Path,
    name: &str,
    seeds: std::ops::Range<u64>,
    time: Option<Duration>,
    jobs: u64,
    tally: &mut Tally,
) -> Result<()> {
    let (start, target) = (Instant::now(), Target::of(name)?);
    println!("{name}: seeds {} to {}", seeds.start, seeds.end);
    let next = AtomicU64::new(seeds.start);
    let tally = Mutex::new(tally);
    let work = || -> Result<()> {
        let mut attack = Attack::new(&target, program, Limits::default())?;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || time.is_some_and(|time| start.elapsed() > time) {
                return Ok(());
            }
            let run = attack.run(seed).with_context(|| format!("{name}, seed {seed}"))?;
            tally.lock().map_err(|_| anyhow!("another job panicked"))?.add(name, run);
        }
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        all.into_iter().try_for_each(|job| job.join().map_err(|_| anyhow!("a job panicked"))?)
    })
}

/// A server that is attacked; ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// The most memory that it had, in MiB.
    fn peak_mib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 = peak.context("no peak")?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib >> 10)
    }
}

fn attack_server(program: &Path, guest: &str, args: &MutateArgs, seed: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let machine = Machine::of_guest(&vmss2core_lab::guest(guest)?)?;
    let state = write_checkpoint(&machine, &Shape::default(), dir.path(), "vm")?.state;
    let socket = dir.path().join("socket");
    let log = std::fs::File::create(dir.path().join("log"))?;
    let mut command = Command::new(program);
    command.arg("gdb").arg(state).arg("--unix").arg(&socket);
    let mut server = Server(command.stdin(Stdio::null()).stderr(log).spawn()?);
    while packets::probe(&socket).is_err() {
        ensure!(server.0.try_wait()?.is_none(), "the server does not start");
        thread::sleep(Duration::from_millis(200));
    }
    let (start, before) = (Instant::now(), server.peak_mib()?);
    let (mut sent, mut connections) = (0, 0);
    let is_time = |start: Instant| match args.minutes {
        Some(minutes) => start.elapsed() < Duration::from_mins(minutes),
        None => true,
    };
    while is_time(start) && (args.minutes.is_some() || connections < args.runs) {
        let seed = seed + connections;
        sent += packets::attack(&socket, seed).with_context(|| {
            format!("again: cargo xtask mutate --packets --guest {guest} --seed {seed} --runs 1")
        })?;
        connections += 1;
        if connections % 500 == 0 {
            packets::fill(&socket).with_context(|| format!("lost places at seed {seed}"))?;
        }
    }
    packets::fill(&socket).context("lost places at the end")?;
    let said = std::fs::read_to_string(dir.path().join("log"))?;
    println!(
        "{connections} connections, {sent} packets; memory at most {} MiB, {before} before",
        server.peak_mib()?
    );
    if let Some(at) = said.find("panicked at") {
        bail!("a panic: {}", said.get(at..).unwrap_or_default());
    }
    let stopped = Command::new("kill").args(["-INT", &server.0.id().to_string()]).status()?;
    ensure!(stopped.success() && server.0.wait()?.success(), "Ctrl-C does not end it well");
    Ok(())
}
