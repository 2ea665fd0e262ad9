//! `dmesg`: the kernel's log.

use std::io::Write;

use vmss2core_answers::{DmesgReport, TimeStyle, write_json};

use super::kernel::with_kernel;
use crate::exit::Exit;
use crate::output;
use crate::plan::{DmesgPlan, Style};

pub(super) fn run(plan: &DmesgPlan) -> anyhow::Result<Exit> {
    with_kernel(&plan.guest, |kernel| {
        let log = kernel.log()?;
        let clock = kernel.clock(Some(&log));
        let report = DmesgReport::new(&log, &clock, &plan.levels, &log.problems);
        let mut out = output::stdout();
        match plan.style {
            Style::Json => write_json(&report, &mut out)?,
            Style::Text => report.write_text(plan.times, &mut out)?,
        }
        out.flush()?;
        output::talk(&format!("vmss2core: {}", log.how));
        if plan.times == TimeStyle::Date {
            let booted = report.booted.as_ref();
            output::talk(&booted.map_or_else(
                || "vmss2core: when the guest was started is not known: no dates".to_owned(),
                |booted| format!("vmss2core: started {}: {}", booted.value, booted.how),
            ));
        }
        Ok(log.problems)
    })
}
