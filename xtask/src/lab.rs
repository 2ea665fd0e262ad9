//! `cargo xtask lab`: make and keep real guests.

use anyhow::Result;

/// What to do with the lab.
#[derive(clap::Args)]
pub(crate) struct LabArgs {}

/// Does it.
pub(crate) fn run(_args: LabArgs) -> Result<()> {
    anyhow::bail!("not yet")
}
