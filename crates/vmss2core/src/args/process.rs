//! `vmss2core maps` and `vmss2core extract`: the memory and files of a process.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::GuestArgs;

/// List the mappings of a process of a Linux guest
///
/// As /proc/PID/maps in the guest, with how much of each mapping the checkpoint
/// has: in memory, never touched (zero), not touched by the process but in the
/// guest's page cache of the file, swapped out, or missing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core maps vm.vmss --pid 1234
  vmss2core maps vm.vmss --pid 1234 --proc | grep libc
  vmss2core maps vm.vmss --pid 1234 --json | jq '.mappings[] | select(.missing > 0)'

Numbers of memory are KiB.")]
pub(crate) struct MapsArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    /// The process, or one of its threads
    #[arg(long, value_name = "N")]
    pub(crate) pid: u32,
    /// Print the lines of /proc/PID/maps, and nothing else
    #[arg(long, conflicts_with = "json")]
    pub(crate) proc: bool,
    /// Print JSON instead of text (docs/schema/maps-1.json)
    #[arg(long)]
    pub(crate) json: bool,
}

/// Rebuild files of a process from the guest's page cache
///
/// Debuggers want the executable and the libraries for their symbols; of most the
/// guest has every page in memory. With --maps they go to a directory that gdb
/// takes as sysroot. What the guest does not have in memory is a hole in the file,
/// and is listed on stderr; the exit code is 4 then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core extract vm.vmss --pid 1234 --maps -o sysroot
  gdb -iex 'set sysroot sysroot' sysroot/usr/sbin/nginx core.1234
  vmss2core extract vm.vmss --pid 1234 --exe -o nginx
  vmss2core extract vm.vmss --pid 1234 --file /usr/lib/locale/locale-archive

Files get the mode 0600, directories 0700. Whatever the guest calls its files,
nothing is written outside of the output directory.")]
pub(crate) struct ExtractArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    /// The process, or one of its threads
    #[arg(long, value_name = "N")]
    pub(crate) pid: u32,
    #[command(flatten)]
    pub(crate) what: ExtractWhat,
    /// File to write, or directory (with --maps always one) [default: the
    /// file's own name, or sysroot]
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) force: bool,
    /// Print what was written as JSON (docs/schema/extract-1.json)
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which files.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ExtractWhat {
    /// The executable
    #[arg(long)]
    pub(crate) exe: bool,
    /// The executable and all libraries, below a directory
    #[arg(long)]
    pub(crate) maps: bool,
    /// A mapped file, by its path in the guest
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<String>,
}
