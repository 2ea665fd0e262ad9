//! `crash-args`.

use clap::Args;

use super::GuestArgs;

/// Print the lines that open this guest in crash, drgn and gdb
///
/// With the numbers that they need filled in, the package that has the symbols
/// of the guest's kernel, and the file that it puts them in, or the one given
/// with --vmlinux.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core crash-args vm.vmss
  vmss2core crash-args --json vm.vmss | jq -r .kaslr")]
pub(crate) struct CrashArgsArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}
