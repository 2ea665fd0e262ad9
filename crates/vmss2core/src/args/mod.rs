//! The command line with subcommands, and what several of them take.
//!
//! `--help`, completions and man pages all come from these definitions.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, ValueEnum, ValueHint};

use crate::commands::Command;
use crate::{exit, legacy};

mod guest;
mod mistakes;
mod process;
mod style;

pub(crate) use guest::{GuestArgs, GuestPlan, KernelArgs, Source};
pub(crate) use mistakes::{elsewhere, no_command, said};
pub(crate) use process::{OneProcessArgs, ProcessArgs, Wanted};
pub(crate) use style::Style;

const EXAMPLES: &str = "\
Examples:
  vmss2core info vm.vmss         what is in it, and what to type next
  vmss2core -N6 vm.vmss          vmss.core for crash and drgn
  vmss2core vm.vmss              vmss.core0, vmss.core1, ...: the virtual
                                 memory of each vCPU, for gdb and lldb
  vmss2core -M vm.vmss vm.vmem   vmss.core: physical memory, for gdb
  vmss2core -W8 vm.vmss          memory.dmp of a Windows guest, for WinDbg
  vmss2core convert vm.vmsn -o vm.elf --format elf

A checkpoint may be given by any one of its files, by several in any order, or
by its directory; what kind of file each is shows in its content, not its name.";

/// From a virtual machine checkpoint to any debugger.
#[derive(Debug, Parser)]
#[command(
    name = "vmss2core",
    version,
    max_term_width = 80,
    about = "From a virtual machine checkpoint to any debugger",
    long_about = "Turns a virtual machine checkpoint (a suspended VM or a snapshot: .vmss, .vmsn, \
                  .vmem) into files that gdb, lldb, crash, drgn and WinDbg open. Nothing needs to be \
                  installed in the guest.",
    override_usage = "vmss2core <COMMAND> ...\n       vmss2core [ORIGINAL OPTIONS] <VMSS> [<VMEM>]",
    subcommand_required = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Options that go with every command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Global {
    /// Show progress on stderr
    ///
    /// "auto" shows a bar if stderr is a terminal and the operation takes more
    /// than a second; "always" without a terminal prints a line a second.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        help = "Show progress on stderr: auto, always, never",
        help_heading = "Global options"
    )]
    pub(crate) progress: ProgressWhen,
    /// Where temporary files go that some inputs need
    ///
    /// Compressed memory and packed support bundles are unpacked into an unnamed
    /// temporary file. It goes to this directory; if none is given, to that of
    /// the output, or to the system's for commands that write no file.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        help_heading = "Global options"
    )]
    pub(crate) tmpdir: Option<PathBuf>,
    /// Say on stderr how things were found
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) verbose: bool,
    /// Print no progress, no advice and no notes
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub(crate) quiet: bool,
}

impl Global {
    /// Where temporary files go if the output is in no directory.
    pub(crate) fn spill_dir(&self) -> PathBuf {
        self.tmpdir.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// When to show progress.
    pub(crate) fn progress(&self) -> ProgressWhen {
        if self.quiet { ProgressWhen::Never } else { self.progress }
    }

    /// How much is said besides the answer.
    pub(crate) fn talk(&self) -> Talk {
        match (self.quiet, self.verbose) {
            (true, _) => Talk::Little,
            (_, true) => Talk::Much,
            _ => Talk::Normal,
        }
    }
}

/// How much is said besides the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Talk {
    /// No progress, no advice, no notes: what went wrong.
    Little,
    #[default]
    Normal,
    /// How things were found, too.
    Much,
}

/// When to show progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressWhen {
    /// On a terminal, if it takes more than a second
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The definition of the command line, complete with the parts of its help.
pub(crate) fn command() -> clap::Command {
    let details = format!("{EXAMPLES}\n\n{}\n\n{}", legacy::HELP, exit::HELP);
    Cli::command().after_help(EXAMPLES).after_long_help(details)
}

/// Parses a command line with subcommands.
pub(crate) fn parse(argv: &[OsString]) -> Result<Cli, clap::Error> {
    use clap::FromArgMatches;

    let program = std::iter::once(OsString::from("vmss2core"));
    // clap's own command has no help of its own.
    let is_help = |word: &OsString| word == "help" || word == "--help" || word == "-h";
    let argv = if argv.iter().all(is_help) { argv.get(..1).unwrap_or_default() } else { argv };
    let matches = command().try_get_matches_from(program.chain(argv.iter().cloned()))?;
    Cli::from_arg_matches(&matches)
}
