//! `vmcoreinfo`: the text that crash and drgn work from.

use anyhow::anyhow;
use clap::Args;
use vmss2core_answers::VmcoreInfoReport;

use super::open::ask_linux;
use super::{Arguments, Plan};
use crate::args::{Global, GuestArgs, GuestPlan, Style};
use crate::exit::Exit;
use crate::output;

/// Print the VMCOREINFO text of the guest's kernel
///
/// crash, drgn and makedumpfile work from it. That it was made up from other facts,
/// because none was found in the guest, is said on stderr.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core vmcoreinfo vm.vmss
  vmss2core vmcoreinfo vm.vmss | grep KERNELOFFSET")]
pub(crate) struct VmcoreinfoArgs {
    #[command(flatten)]
    guest: GuestArgs,
    /// Print JSON instead of text (docs/schema/vmcoreinfo-1.json)
    #[arg(long)]
    json: bool,
}

impl Arguments for VmcoreinfoArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        let style = Style::of(self.json);
        Ok(Box::new(VmcoreinfoPlan { guest: self.guest.plan(global), style }))
    }
}

/// Print the VMCOREINFO text.
#[derive(Debug)]
struct VmcoreinfoPlan {
    guest: GuestPlan,
    style: Style,
}

impl Plan for VmcoreinfoPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        ask_linux(&self.guest, |kernel| {
            let info = kernel.linux().vmcoreinfo.as_ref();
            let info = info.ok_or_else(|| {
                anyhow!(
                    "no VMCOREINFO was found in the guest, nor enough to make one up: vmss2core \
                     info says what was found"
                )
            })?;
            output::answer(&VmcoreInfoReport::new(info), self.style)?;
            if info.value.synthesised {
                output::talk(&format!("vmss2core: warning: not found in the guest: {}", info.how));
            }
            self.guest.source.talk.how(&info.how);
            Ok(Vec::new())
        })
    }
}
