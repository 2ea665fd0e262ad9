use clap::Args;

use super::GuestArgs;

/// List the modules that the guest's kernel has loaded
///
/// As lsmod lists them, with the address of each. How they were found is said
/// on stderr. Of a Windows guest: images with the path of the PDB in a symbol
/// store, and those that were unloaded. Of macOS: the kernel and its extensions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core modules vm.vmss
  vmss2core modules --proc vm.vmss       as /proc/modules has them
  vmss2core modules --json vm.vmss | jq -r '.modules[] | .name + \" \" + .text'")]
pub(crate) struct ModulesArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    /// Print lines as in /proc/modules
    #[arg(long, conflicts_with = "json")]
    pub(crate) proc: bool,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}
