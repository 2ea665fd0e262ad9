//! What every command takes that asks the guest's kernel something.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// A checkpoint, and files that know its kernel better than the guest does.
#[derive(Clone, Debug, Args)]
pub(crate) struct GuestArgs {
    /// Files of the checkpoint, in any order, or its directory
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) inputs: Vec<PathBuf>,
}

/// Print the VMCOREINFO text of the guest's kernel
///
/// Crash, drgn and makedumpfile work from it. How it was found, or that it was
/// made up from other facts, is said on stderr.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core vmcoreinfo vm.vmss
  vmss2core vmcoreinfo vm.vmss | grep KERNELOFFSET")]
pub(crate) struct VmcoreinfoArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
}
