//! Arguments of `core`, and the plan that they make.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::args::{Global, GuestArgs, GuestPlan, ProcessArgs, ProgressWhen, Wanted};
use crate::commands::{Arguments, Plan};

/// Write the core of a process of a Linux guest, for gdb and lldb
///
/// The core holds every thread with its registers, and all memory that the
/// checkpoint has, also what the process had not touched yet of its files. What
/// the checkpoint does not have (swapped out, or never read from the disk) is
/// marked as unavailable. No symbols or files of the guest are needed for that.
#[derive(Debug, Args)]
#[command(mut_group("processes", |group| group.required(true)), after_help = "\
Examples:
  vmss2core core vm.vmss --pid 1234             core.1234
  vmss2core core vm.vmss --pid 1234 -o web.core
  vmss2core core vm.vmss --name nginx -o cores  cores/core.PID, for each nginx
  vmss2core core vm.vmss --pid 1234 --json | jq .cores[0].memory

A thread whose number is given is the one that debuggers start with; the other
threads of its process follow.")]
pub(crate) struct CoreArgs {
    #[command(flatten)]
    guest: GuestArgs,
    #[command(flatten)]
    processes: ProcessArgs,
    /// File to write, or a directory for files core.PID [default: core.PID]
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    output: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
    /// Write zeroes for what the checkpoint does not have, as Linux would
    #[arg(
        long,
        long_help = "Write zeroes for what the checkpoint does not have, as Linux would\n\n\
                     Without this such ranges have no bytes in the file: lldb says that it cannot \
                     read them, gdb shows zeroes as it does for cores of Linux. They are counted \
                     on stderr. Some tools do not expect such ranges."
    )]
    zero_fill: bool,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

impl Arguments for CoreArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        Ok(Box::new(CorePlan {
            guest: self.guest.plan(global),
            wanted: self.processes.wanted(),
            output: self.output,
            overwrite: self.force,
            zero_fill: self.zero_fill,
            style: if self.json { CoreStyle::Json } else { CoreStyle::Text },
            progress: global.progress(),
        }))
    }
}

/// Write cores of processes.
#[derive(Debug)]
pub(crate) struct CorePlan {
    pub(crate) guest: GuestPlan,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) output: Option<PathBuf>,
    /// Existing files are replaced.
    pub(crate) overwrite: bool,
    /// Zeroes are written for what the checkpoint does not have.
    pub(crate) zero_fill: bool,
    pub(crate) style: CoreStyle,
    pub(crate) progress: ProgressWhen,
}

/// How it is said what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CoreStyle {
    Text,
    Json,
    /// With the original's lines on stdout, and nothing if it is to be quiet.
    Original {
        quiet: bool,
    },
}
