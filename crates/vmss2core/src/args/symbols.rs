use clap::Args;

use super::GuestArgs;

/// List the symbols of the guest's kernel, or look some up
///
/// The kernel carries a table of its symbols for its own messages; no file from
/// the guest is needed. Symbols of loaded modules are listed too. How the table
/// was found is said on stderr.
#[derive(Debug, Args)]
#[command(
    override_usage = "vmss2core symbols [OPTIONS] <FILE>... [NAME|ADDRESS]...",
    after_help = "\
Of the words behind the first, those that name no existing file are symbols to
look up: a name, a pattern with * and ?, or an address (hexadecimal, with 0x).

Examples:
  vmss2core symbols vm.vmss                    all, as nm prints them
  vmss2core symbols vm.vmss init_task
  vmss2core symbols vm.vmss 'tcp_*' '*_lock'
  vmss2core symbols vm.vmss 0xffffffff81001234  the symbol there, and offset"
)]
pub(crate) struct SymbolsArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}
