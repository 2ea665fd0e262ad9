//! Everything that must hold before a change lands, in order of speed.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::layers;

/// Tests that boot guests or run foreign programs, by the names of their files.
const SLOW_TESTS: &str = "binary(/^(judge_|foreign_|guests)/)";

/// Runs all steps; with `fast`, without real guests and judges.
pub(crate) fn run(root: &Path, fast: bool) -> Result<()> {
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
