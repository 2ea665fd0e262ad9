//! The project's chores: `cargo xtask help`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a program for a terminal; JSON answers by name"
)]

mod bench;
mod ci;
mod demo;
mod lab;
mod layers;
mod mutate;
mod packets;
mod setup;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's chores")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check everything that must hold before a change lands
    Ci {
        /// Leave out the tests that boot guests and run debuggers
        #[arg(long)]
        fast: bool,
    },
    /// Show what the program says of a guest that has crashed
    Demo {
        /// Of a small Windows guest that is made up at once, instead of a real Linux that is
        /// downloaded and booted
        #[arg(long)]
        instant: bool,
    },
    /// Make and keep real guests
    Lab(lab::LabArgs),
    /// Check that the crates depend on each other only in the allowed direction
    Layers,
    /// Install the Debian packages that guests and judges need
    Setup {
        /// Only what the demo needs
        #[arg(long)]
        demo: bool,
    },
    /// Damage checkpoints where the program looks, or send it packets, and see that it
    /// never panics, hangs, takes much memory or changes its inputs
    Mutate(mutate::MutateArgs),
    /// Measure speed as ratios to cp and to peers
    Bench {
        /// Write the table to benches/RESULTS.md too; with --only, these rows of it
        #[arg(long)]
        record: bool,
        /// Measure only this group of rows; a wrong name lists them
        #[arg(long)]
        only: Option<String>,
    },
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Ci { fast } => ci::run(root()?, fast),
        Command::Lab(args) => lab::run(args),
        Command::Layers => layers::run(root()?),
        Command::Setup { demo } => setup::run(demo),
        Command::Demo { instant: false } => demo::run(root()?),
        Command::Demo { instant: true } => demo::instant(root()?),
        Command::Mutate(args) => mutate::run(root()?, &args),
        Command::Bench { record, only } => bench::run(root()?, record, only.as_deref()),
    }
}

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")
}

/// The user's release build of the tool.
fn release_binary(root: &Path) -> Result<PathBuf> {
    build_release(root, &["--package", "vmss2core"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    Ok(target.unwrap_or_else(|| root.join("target")).join("release/vmss2core"))
}

/// Builds what the arguments name.
fn build_release(root: &Path, what: &[&str]) -> Result<()> {
    let status = std::process::Command::new(env!("CARGO"))
        .args(["build", "--release"])
        .args(what)
        .current_dir(root)
        .status()?;
    anyhow::ensure!(status.success(), "{} does not build", what.join(" "));
    Ok(())
}
