//! `convert`: one file under a name of the user's choice.

use std::path::Path;

use anyhow::Context;
use vmss2core_answers::human_size;
use vmss2core_dump::output::check_existing;
use vmss2core_dump::{DumpError, Existing, Job, Summary};

use super::source::Guest;
use crate::cancel::Cancel;
use crate::exit::{Exit, Stopped};
use crate::output;
use crate::plan::{ConvertPlan, Request, Target};
use crate::progress::Progress;

/// Where a file goes.
#[derive(Clone, Copy)]
pub(crate) struct File<'a> {
    pub(crate) path: &'a Path,
    pub(crate) existing: Existing,
}

pub(crate) fn run(plan: &ConvertPlan) -> anyhow::Result<Exit> {
    let name = match &plan.output {
        Target::File(path) => {
            check_existing(path, plan.existing)?;
            path.to_string_lossy()
        }
        Target::Stdout => "standard output".into(),
    };
    let cancel = Cancel::install().context("cannot handle signals")?;
    let guest = Guest::open_with_memory(&plan.source)?;
    output::problems(guest.serious_reader_problems());
    let progress = Progress::new(plan.progress, &name, &cancel);
    let summary = match &plan.output {
        Target::File(path) => {
            let to = File { path, existing: plan.existing };
            write(&guest, &plan.what, to, progress, &cancel)?
        }
        Target::Stdout => stream(&guest, &plan.what, &name, progress, &cancel)?,
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
    what: &Request,
    to: File<'_>,
    progress: Progress<'_>,
    cancel: &Cancel,
) -> anyhow::Result<Summary> {
    let job = job(guest, what, to, &progress);
    let written = cancel.deferred(|| what.format.0.write(&job));
    progress.finish();
    written.map_err(|error| {
        stopped(error, cancel, || format!("stopped; {} was not written", to.path.display()))
    })
}

/// Writes to standard output.
fn stream(
    guest: &Guest,
    what: &Request,
    name: &str,
    progress: Progress<'_>,
    cancel: &Cancel,
) -> anyhow::Result<Summary> {
    let format = what.format.0.stream().context("the format cannot go to standard output")?;
    // Pieces are large, so they are not gathered first.
    let mut out = output::unbuffered_stdout()?;
    let to = File { path: Path::new(name), existing: Existing::Stays };
    let job = job(guest, what, to, &progress);
    let written = cancel.deferred(|| format.write(&job, &mut out));
    progress.finish();
    written.map_err(|error| {
        stopped(error, cancel, || "stopped; what was written is of no use".to_owned())
    })
}

fn job<'a>(
    guest: &'a Guest,
    what: &'a Request,
    to: File<'a>,
    monitor: &'a Progress<'_>,
) -> Job<'a> {
    Job {
        checkpoint: &guest.opened.checkpoint,
        facts: &guest.facts,
        path: to.path,
        existing: to.existing,
        chosen: &what.chosen,
        monitor,
    }
}

fn stopped(error: DumpError, cancel: &Cancel, text: impl FnOnce() -> String) -> anyhow::Error {
    match error {
        DumpError::Cancelled => {
            Stopped { signal: cancel.signal().unwrap_or(2), text: text() }.into()
        }
        error => error.into(),
    }
}
