//! The project's chores: `cargo xtask help`.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program for a terminal; JSON answers by name"
)]

mod ci;
mod lab;
mod layers;
mod setup;

use std::path::Path;

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
    /// Make and keep real guests
    Lab(lab::LabArgs),
    /// Check that the crates depend on each other only in the allowed direction
    Layers,
    /// Install the Debian packages that guests and judges need
    Setup,
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Ci { fast } => ci::run(root()?, fast),
        Command::Lab(args) => lab::run(args),
        Command::Layers => layers::run(root()?),
        Command::Setup => setup::run(),
    }
}

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")
}
