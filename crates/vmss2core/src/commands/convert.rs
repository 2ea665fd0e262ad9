//! `convert`: one file under a name of the user's choice.

use std::path::Path;

use anyhow::Context;
use vmss2core_answers::human_size;
use vmss2core_dump::output::check_existing;
use vmss2core_dump::{DumpError, Summary, WriteOptions};

use super::source::Guest;
use crate::cancel::Cancel;
use crate::exit::{Exit, Stopped};
use crate::output;
use crate::plan::{ConvertPlan, Format, Target};
use crate::progress::Progress;

pub(crate) fn run(plan: &ConvertPlan) -> anyhow::Result<Exit> {
    let name = match &plan.output {
        Target::File(path) => {
            check_existing(path, plan.options.existing)?;
            path.to_string_lossy()
        }
        Target::Stdout => "standard output".into(),
    };
    let cancel = Cancel::install().context("cannot handle signals")?;
    let guest = Guest::open_with_memory(&plan.source)?;
    output::problems(guest.serious_reader_problems());
    let progress = Progress::new(plan.progress, &name, &cancel);
    let summary = match &plan.output {
        Target::File(path) => write(&guest, plan.format, &plan.options, path, progress, &cancel)?,
        Target::Stdout => stream(&guest, plan.format, &plan.options, progress, &cancel)?,
    };
    let memory = human_size(summary.memory_bytes);
    output::talk(&format!("wrote {name}: {memory} of guest memory"));
    output::problems(guest.serious_analysis_problems());
    output::problems(&summary.problems);
    output::hints(&summary.hints);
    Ok(guest.exit_with(&summary.problems))
}

/// Writes one file.
pub(crate) fn write(
    guest: &Guest,
    format: Format,
    options: &WriteOptions,
    path: &Path,
    progress: Progress<'_>,
    cancel: &Cancel,
) -> anyhow::Result<Summary> {
    let written = cancel.deferred(|| format.0.write(guest.input(), options, path, &progress));
    progress.finish();
    written.map_err(|error| {
        stopped(error, cancel, || format!("stopped; {} was not written", path.display()))
    })
}

/// Writes to standard output.
fn stream(
    guest: &Guest,
    format: Format,
    options: &WriteOptions,
    progress: Progress<'_>,
    cancel: &Cancel,
) -> anyhow::Result<Summary> {
    // Pieces are large, so they are not gathered first.
    let mut out = output::unbuffered_stdout()?;
    let written =
        cancel.deferred(|| format.0.write_stream(guest.input(), options, &mut out, &progress));
    progress.finish();
    written.map_err(|error| {
        stopped(error, cancel, || "stopped; what was written is of no use".to_owned())
    })
}

fn stopped(error: DumpError, cancel: &Cancel, text: impl FnOnce() -> String) -> anyhow::Error {
    match error {
        DumpError::Cancelled => {
            Stopped { signal: cancel.signal().unwrap_or(2), text: text() }.into()
        }
        error => error.into(),
    }
}
