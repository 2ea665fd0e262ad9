//! `completions`: a completion script for a shell, to stdout.

use std::io::Write;

use clap_complete::Shell;

use crate::exit::Exit;
use crate::{args, output};

pub(super) fn run(shell: Shell) -> anyhow::Result<Exit> {
    // Through memory, because the generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "vmss2core", &mut script);
    let mut out = output::stdout();
    out.write_all(&script)?;
    out.flush()?;
    Ok(Exit::Done)
}
