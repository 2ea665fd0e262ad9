//! Everything that must hold before a change lands, in order of speed.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::layers;

/// Tests that boot guests or run foreign programs, by the names of their files.
const SLOW_TESTS: &str = "binary(/^(judge_|foreign_|guests)/)";

/// What a run from nothing takes: 14 GiB of checkpoints and cores, 5 of programs.
const NEEDED_GIB: u64 = 19;

/// Runs all steps; with `fast`, without real guests and judges.
pub(crate) fn run(root: &Path, fast: bool) -> Result<()> {
    if !fast {
        warn_of_little_space(root)?;
    }
    let cargo = |args: &[&str]| step(root, args, &[]);
    cargo(&["fmt", "--all", "--check"])?;
    layers::run(root)?;
    cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    step(
        root,
        &["doc", "--quiet", "--workspace", "--no-deps"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )?;
    if !fast {
        cargo(&["xtask", "lab", "make", "all"])?;
    }
    tests(root, fast)?;
    cargo(&["test", "--quiet", "--workspace", "--doc"])
}

/// A full disk fails some test or other late, which then looks broken.
fn warn_of_little_space(root: &Path) -> Result<()> {
    let target = root.join("target");
    let (free, used) = (first_number("df", &["-k", "--output=avail"], root)?, used_kib(&target)?);
    if (free + used) >> 20 < NEEDED_GIB {
        println!(
            "warning: {} GiB are free and {} in use in {}; a run takes {NEEDED_GIB} in all",
            free >> 20,
            used >> 20,
            target.display()
        );
    }
    Ok(())
}

fn used_kib(target: &Path) -> Result<u64> {
    if target.exists() { first_number("du", &["-sk"], target) } else { Ok(0) }
}

/// The first number that a program prints of `path`.
fn first_number(program: &str, args: &[&str], path: &Path) -> Result<u64> {
    let output = Command::new(program).args(args).arg(path).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.split_whitespace().find_map(|word| word.parse().ok());
    number.with_context(|| format!("{program} {} printed no number: {text}", path.display()))
}

/// nextest where it is installed, because it runs tests of all crates side by side.
fn tests(root: &Path, fast: bool) -> Result<()> {
    let nextest = Command::new(env!("CARGO")).args(["nextest", "--version"]).output()?;
    if nextest.status.success() {
        let filter = if fast { format!("not {SLOW_TESTS}") } else { "all()".to_owned() };
        let run = ["nextest", "run", "--workspace", "--no-fail-fast", "-E", &filter];
        return step(root, &run, &[]);
    }
    let what = if fast { &["--lib", "--bins"][..] } else { &["--lib", "--bins", "--tests"] };
    step(root, &[&["test", "--workspace", "--no-fail-fast"], what].concat(), &[])
}

fn step(root: &Path, args: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let line = format!("cargo {}", args.join(" "));
    println!("== {line}");
    let start = Instant::now();
    let mut command = Command::new(env!("CARGO"));
    command.args(args).current_dir(root).envs(environment.iter().copied());
    let status = command.status().with_context(|| format!("running {line}"))?;
    ensure!(status.success(), "failed: {line}");
    println!("== {line}: {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
