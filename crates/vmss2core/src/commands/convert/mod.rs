//! `convert`: one file under a name of the user's choice.

mod args;
mod chosen;
mod request;

use std::path::Path;

use anyhow::Context;
use vmss2core::{Guest, windows};
use vmss2core_answers::{ConvertReport, ProblemInfo};
use vmss2core_dump::output::check_existing;
use vmss2core_dump::{DumpError, Existing, Summary};
use vmss2core_mem::Problem;

use super::{Plan, open};
use crate::args::{Style, Talk};
use crate::cancel::Cancel;
use crate::exit::{Exit, Stopped};
use crate::output;
use crate::progress::Progress;
pub(super) use args::ConvertArgs;
use args::{ConvertPlan, Target};
pub(crate) use request::{Format, Request};

/// Where a file goes.
#[derive(Clone, Copy)]
pub(crate) struct File<'a> {
    pub(crate) path: &'a Path,
    pub(crate) existing: Existing,
}

impl Plan for ConvertPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        let name = match &self.output {
            Target::File(path) => {
                check_existing(path, self.existing)?;
                path.to_string_lossy()
            }
            Target::Stdout => "standard output".into(),
        };
        let cancel = Cancel::install().context("cannot handle signals")?;
        let guest = open::to_work(&self.source, windows::Options::default())?;
        output::serious_problems(guest.reader_problems());
        let what = self.what.of(&guest)?;
        let progress = Progress::new(self.progress, &name, &cancel);
        let summary = match &self.output {
            Target::File(path) => {
                let to = File { path, existing: self.existing };
                write(&guest, &what, to, progress, &cancel)?
            }
            Target::Stdout => stream(&guest, &what, &name, progress, &cancel)?,
        };
        self.tell(&guest, &what, &name, &summary)?;
        Ok(Exit::of_guest(&guest, &summary.problems))
    }
}

impl ConvertPlan {
    /// Says what was written, on stderr to people.
    fn tell(
        &self,
        guest: &Guest,
        what: &Request,
        name: &str,
        summary: &Summary,
    ) -> anyhow::Result<()> {
        let talk = self.source.talk;
        let problems: Vec<Problem> = guest
            .misfit()
            .into_iter()
            .chain(guest.problems())
            .chain(&summary.problems)
            .cloned()
            .collect();
        let report = ConvertReport {
            path: name.to_owned(),
            format: what.format.0.name(),
            bytes: summary.len_bytes,
            memory_bytes: summary.memory_bytes,
            problems: ProblemInfo::all(&problems),
            hints: summary.hints.clone(),
        };
        match self.style {
            Style::Json => output::answer(&report, Style::Json)?,
            Style::Text if talk != Talk::Little => output::tell(&report),
            Style::Text => {}
        }
        output::serious_problems(&guest.facts().problems);
        talk.problems(&summary.problems);
        if self.style == Style::Text {
            talk.hints(&summary.hints);
        }
        Ok(())
    }
}

/// Writes one file.
pub(crate) fn write(
    guest: &Guest,
    what: &Request,
    to: File<'_>,
    progress: Progress<'_>,
    cancel: &Cancel,
) -> anyhow::Result<Summary> {
    let job = guest.job(to.path, to.existing, &what.chosen, &progress);
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
    let job = guest.job(Path::new(name), Existing::Stays, &what.chosen, &progress);
    let written = cancel.deferred(|| format.write(&job, &mut out));
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
