//! `cargo xtask mutate`: attacks on the program, for as long as one likes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, ensure};
use vmss2core_lab::mutate::{Attack, Finding, GUESTS, Limits, Run, Target};

use crate::packets;

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
    /// Attack the program that is there already, instead of building it
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Attack servers with packets instead, one connection a run
    #[arg(long)]
    packets: bool,
}

/// What was seen.
#[derive(Default)]
struct Tally {
    codes: BTreeMap<i32, u64>,
    commands: BTreeMap<String, u64>,
    most_kib: (u64, String),
    longest: (u64, String),
    findings: Vec<Finding>,
}

impl Tally {
    fn add(&mut self, guest: &str, run: Run) {
        *self.codes.entry(run.ended.code).or_default() += 1;
        let command = run.line.split_whitespace().nth(1).unwrap_or_default().to_owned();
        *self.commands.entry(command).or_default() += 1;
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
        println!("of each command: {:?}", self.commands);
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
    let program = args.program.clone().map_or_else(|| crate::release_binary(root), Ok)?;
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let seed = args.seed.unwrap_or(since_1970.as_secs() * 1_000_000);
    let named: Vec<&str> = args.guest.iter().map(String::as_str).collect();
    println!("seed {seed}");
    if args.packets {
        let time = args.minutes.map(Duration::from_mins);
        let attack = packets::Campaign { program, jobs: args.jobs, runs: args.runs, time, seed };
        return attack.run(&named);
    }
    let guests = if named.is_empty() { GUESTS.to_vec() } else { named };
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
    side_by_side(jobs, work)
}

/// Does `work` several times at once.
pub(crate) fn side_by_side(jobs: u64, work: impl Fn() -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let all: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(&work)).collect();
        all.into_iter().try_for_each(|job| job.join().map_err(|_| anyhow!("a job panicked"))?)
    })
}
