//! `vmcoreinfo`: the text that crash and drgn work from.

use std::io::Write;

use anyhow::anyhow;
use clap::Args;

use super::open::ask_linux;
use super::{Arguments, Plan};
use crate::args::{Global, GuestArgs, GuestPlan};
use crate::exit::Exit;
use crate::output;

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
    guest: GuestArgs,
}

impl Arguments for VmcoreinfoArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        Ok(Box::new(VmcoreinfoPlan { guest: self.guest.plan(global) }))
    }
}

/// Print the VMCOREINFO text.
#[derive(Debug)]
struct VmcoreinfoPlan {
    guest: GuestPlan,
}

impl Plan for VmcoreinfoPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        ask_linux(&self.guest, |kernel| {
            let info = kernel.linux().vmcoreinfo.as_ref();
            let info = info.ok_or_else(|| anyhow!("no VMCOREINFO was found in the guest, nor enough to make one up: see vmss2core info"))?;
            let mut out = output::stdout();
            out.write_all(info.value.text.as_bytes())?;
            out.flush()?;
            output::talk(&format!("vmss2core: {}", info.how));
            Ok(Vec::new())
        })
    }
}
