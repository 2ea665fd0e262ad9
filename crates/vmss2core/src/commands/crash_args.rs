//! `crash-args`: how to open the guest in kernel debuggers.

use std::io::Write;

use vmss2core_answers::{CrashArgsReport, write_json};

use super::kernel::with_kernel;
use crate::exit::Exit;
use crate::output;
use crate::plan::{CrashArgsPlan, Style};

pub(super) fn run(plan: &CrashArgsPlan) -> anyhow::Result<Exit> {
    with_kernel(&plan.guest, |kernel| {
        let vmlinux = plan.guest.files.vmlinux.as_deref();
        let report = CrashArgsReport::new(kernel.linux(), &plan.guest.source.inputs, vmlinux);
        let mut out = output::stdout();
        match plan.style {
            Style::Text => report.write_text(&mut out)?,
            Style::Json => write_json(&report, &mut out)?,
        }
        out.flush()?;
        Ok(Vec::new())
    })
}
