//! `convert`: one file under a name of the user's choice.

use std::path::Path;

use anyhow::Context;
use vmss2core_dump::{DumpError, Summary, WriteOptions};
use vmss2core_report::human_size;

use super::source::Guest;
use crate::cancel::Cancel;
use crate::exit::{Exit, Stopped};
use crate::output;
use crate::plan::{ConvertPlan, Format};
use crate::progress::Progress;

pub(super) fn run(plan: &ConvertPlan) -> anyhow::Result<Exit> {
    // The writer looks too; this is to say it before the work, not after it.
    if !plan.options.overwrite && plan.output.symlink_metadata().is_ok() {
        return Err(DumpError::Exists { path: plan.output.clone() }.into());
    }
    let cancel = Cancel::install().context("cannot handle signals")?;
    let guest = Guest::open_with_memory(&plan.source)?;
    output::problems(guest.serious_reader_problems());
    let progress = Progress::new(plan.progress, &plan.output.to_string_lossy(), &cancel);
    let summary = write(&guest, plan.format, &plan.options, &plan.output, progress, &cancel)?;
    let (path, memory) = (summary.path.display(), human_size(summary.memory_bytes));
    output::talk(&format!("wrote {path}: {memory} of guest memory"));
    output::problems(guest.serious_analysis_problems());
    output::problems(&summary.problems);
    output::hints(&summary.hints);
    Ok(guest.exit_with(&summary.problems))
}

/// Writes one file.
pub(super) fn write(
    guest: &Guest,
    format: Format,
    options: &WriteOptions,
    path: &Path,
    progress: Progress<'_>,
    cancel: &Cancel,
) -> anyhow::Result<Summary> {
    let written = cancel.deferred(|| format.0.write(guest.input(), options, path, &progress));
    progress.finish();
    match written {
        Ok(summary) => Ok(summary),
        Err(DumpError::Cancelled) => {
            let text = format!("stopped; {} was not written", path.display());
            Err(Stopped { signal: cancel.signal().unwrap_or(2), text }.into())
        }
        Err(error) => Err(error.into()),
    }
}
