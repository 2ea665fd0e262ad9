//! `vmcoreinfo`: the text that crash and drgn work from.

use std::io::Write;

use anyhow::anyhow;

use super::kernel::with_kernel;
use crate::exit::Exit;
use crate::output;
use crate::plan::GuestPlan;

pub(super) fn run(plan: &GuestPlan) -> anyhow::Result<Exit> {
    with_kernel(plan, |kernel| {
        let info = kernel.linux().vmcoreinfo.as_ref();
        let info = info.ok_or_else(|| anyhow!("no VMCOREINFO was found in the guest, nor enough to make one up: see vmss2core info"))?;
        let mut out = output::stdout();
        out.write_all(info.value.text.as_bytes())?;
        out.flush()?;
        output::talk(&format!("vmss2core: {}", info.how));
        Ok(Vec::new())
    })
}
