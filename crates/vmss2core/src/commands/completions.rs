//! `completions`: a completion script for a shell, to stdout.

use std::io::Write;

use clap::Args;
use clap_complete::Shell;

use super::{Arguments, Plan};
use crate::args::Global;
use crate::exit::Exit;
use crate::{args, output};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core completions bash > ~/.local/share/bash-completion/completions/vmss2core
  vmss2core completions zsh > ~/.zfunc/_vmss2core
  vmss2core completions fish > ~/.config/fish/completions/vmss2core.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

impl Arguments for CompletionsArgs {
    fn plan(self, _global: &Global) -> Result<Box<dyn Plan>, String> {
        Ok(Box::new(self))
    }
}

impl Plan for CompletionsArgs {
    fn run(&self) -> anyhow::Result<Exit> {
        // Through memory, because the generator panics when it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut args::command(), "vmss2core", &mut script);
        let mut out = output::stdout();
        out.write_all(&script)?;
        out.flush()?;
        Ok(Exit::Done)
    }
}
