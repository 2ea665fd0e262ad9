//! `modules`: what the kernel has loaded.

use std::io::Write;

use vmss2core_answers::{ModulesReport, write_json};
use vmss2core_guest::linux::Kernel;
use vmss2core_mem::Problem;

use super::kernel::with_any_kernel;
use super::{macos, windows};
use crate::exit::Exit;
use crate::output;
use crate::plan::{ModulesPlan, Style};

pub(super) fn run(plan: &ModulesPlan) -> anyhow::Result<Exit> {
    with_any_kernel(
        &plan.guest,
        |kernel| of_linux(plan, kernel),
        |kernel| windows::modules(plan, kernel),
        |guest| macos::modules(plan, guest),
    )
}

fn of_linux(plan: &ModulesPlan, kernel: &Kernel) -> anyhow::Result<Vec<Problem>> {
    let modules = kernel.modules();
    let report = ModulesReport::new(modules);
    let mut out = output::stdout();
    match plan.style {
        Style::Json => write_json(&report, &mut out)?,
        Style::Text => report.write_text(plan.list, kernel.word_len(), &mut out)?,
    }
    out.flush()?;
    if !modules.how.is_empty() {
        output::talk(&format!("vmss2core: {}", modules.how));
    }
    Ok(modules.problems.clone())
}
