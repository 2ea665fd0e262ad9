//! `core`: cores of processes.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::GuestArgs;

/// Write the core of a process of a Linux guest, for gdb and lldb
///
/// The core holds every thread with its registers, and all memory that the
/// checkpoint has, also what the process had not touched yet of its files. What
/// the checkpoint does not have (swapped out, or never read from the disk) is
/// marked as unavailable. No symbols or files of the guest are needed for that.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core core vm.vmss --pid 1234             core.1234
  vmss2core core vm.vmss --pid 1234 -o web.core
  vmss2core core vm.vmss --name nginx -o cores  cores/core.PID, for each nginx
  vmss2core core vm.vmss --pid 1234 --json | jq .cores[0].memory

The thread that has the number N is the one that debuggers start with; the
other threads of its process follow.")]
pub(crate) struct CoreArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    /// The process, or one of its threads; may be given several times
    #[arg(long, value_name = "N", required_unless_present = "name")]
    pub(crate) pid: Vec<u32>,
    /// All processes of this name; may be given several times
    #[arg(long, value_name = "COMM")]
    pub(crate) name: Vec<String>,
    /// File to write, or a directory for files core.PID [default: core.PID]
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) force: bool,
    /// Write zeroes for what the checkpoint does not have, as Linux would
    #[arg(
        long,
        long_help = "Write zeroes for what the checkpoint does not have, as Linux would\n\n\
                     Without this such ranges have no bytes in the file: lldb says that it cannot \
                     read them, gdb shows zeroes as it does for cores of Linux. They are counted \
                     on stderr. Some tools do not expect such ranges."
    )]
    pub(crate) zero_fill: bool,
    /// Print what was written as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
