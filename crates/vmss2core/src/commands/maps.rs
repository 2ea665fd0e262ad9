//! `maps`: the mappings of a process.

use std::io::Write;

use vmss2core_answers::{MapsReport, write_json};

use super::kernel::with_kernel;
use super::process;
use crate::exit::Exit;
use crate::output;
use crate::plan::{MapsPlan, MapsStyle};

pub(super) fn run(plan: &MapsPlan) -> anyhow::Result<Exit> {
    with_kernel(&plan.guest, |kernel| {
        let (process, mut problems) = process::of(kernel, plan.pid)?;
        problems.extend(process.problems().iter().cloned());
        let report = MapsReport::new(&process, &problems);
        let mut out = output::stdout();
        match plan.style {
            MapsStyle::Text => report.write_text(&mut out)?,
            MapsStyle::Proc => report.write_proc(&mut out)?,
            MapsStyle::Json => write_json(&report, &mut out)?,
        }
        out.flush()?;
        Ok(problems)
    })
}
