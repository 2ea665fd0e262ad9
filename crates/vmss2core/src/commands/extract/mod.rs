//! `extract`: files of a process, rebuilt from the guest's page cache.

mod args;
mod destination;
mod wanted;

use std::ops::Range;

use anyhow::Context;
use vmss2core_answers::{ExtractReport, ExtractedFile, Hex, human_size};
use vmss2core_dump::files::{self, FileSummary, OfNothing};
use vmss2core_guest::linux::{Process, debuggers};
use vmss2core_mem::Problem;
use vmss2core_mem::text::shell_word;

use super::Plan;
use super::open::ask;
use crate::args::{ProgressWhen, Style};
use crate::cancel::Cancel;
use crate::exit::{Exit, Stopped};
use crate::output;
use crate::progress::Progress;
pub(super) use args::ExtractArgs;
use args::{ExtractPlan, WantedFiles};
use destination::Destination;
use wanted::Wanted;

/// How many missing ranges are listed on stderr.
const SHOWN: usize = 4;

impl Plan for ExtractPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        let cancel = Cancel::install().context("cannot handle signals")?;
        ask(&self.guest, |guest| {
            let inputs = &guest.checkpoint().about.provenance;
            let (process, mut problems) = guest.process(self.pid.clone())?;
            problems.extend(process.problems().iter().cloned());
            let wanted = wanted::files(&process, &self.files, &mut problems)?;
            let destination = Destination::new(self, inputs)?;
            let mut written = Vec::new();
            for file in &wanted {
                let one = Extraction { plan: self, process: &process, destination: &destination };
                match one.write(file, &cancel, &mut problems) {
                    Ok(found) => written.push(found),
                    // One of many does not keep the others from being written.
                    Err(error) if wanted.len() > 1 && !error.is::<Stopped>() => {
                        let message = format!("{} was not written: {error:#}", file.file.path);
                        problems.push(Problem::incomplete(message));
                    }
                    Err(error) => return Err(error),
                }
            }
            report(self, process.task().pid, written, &problems)?;
            Ok(problems)
        })
    }
}

struct Extraction<'e> {
    plan: &'e ExtractPlan,
    process: &'e Process,
    destination: &'e Destination,
}

impl Extraction<'_> {
    fn write(
        &self,
        wanted: &Wanted,
        cancel: &Cancel,
        problems: &mut Vec<Problem>,
    ) -> anyhow::Result<ExtractedFile> {
        let file = &wanted.file;
        let path = self.destination.path_of(file.path_when_it_existed())?;
        let name = path.to_string_lossy();
        let progress = Progress::new(ProgressWhen::Never, &name, cancel);
        let overwrite = self.plan.overwrite;
        let existing = self.destination.existing(overwrite);
        let of_nothing = match self.plan.files {
            WantedFiles::Programs => OfNothing::IsAHole,
            _ => OfNothing::Fails,
        };
        let written = cancel.deferred(|| {
            files::write(self.process, file, &path, (existing, of_nothing), &progress)
        });
        let written = written.map_err(|error| match cancel.signal() {
            Some(signal) => {
                let text = format!("stopped; {name} was not written");
                anyhow::Error::from(Stopped { signal, text })
            }
            None => error.into(),
        })?;
        problems.extend(missing(&file.path, &written));
        let mut also = Vec::new();
        for other in &wanted.also {
            let inputs = &self.process.kernel().checkpoint().about.provenance;
            match cancel.deferred(|| self.destination.link(&path, other, overwrite, inputs)) {
                Ok(link) => also.extend(link.map(|link| link.to_string_lossy().into_owned())),
                Err(error) => problems.push(Problem::warning(format!(
                    "{} is not there under its other name {other}: {error:#}",
                    file.path
                ))),
            }
        }
        Ok(ExtractedFile {
            guest_path: file.path.clone(),
            path: name.into_owned(),
            also,
            bytes: written.len_bytes,
            missing_bytes: written.counts.unavailable(),
            missing: written.missing.iter().map(|one| (Hex(one.start), Hex(one.end))).collect(),
        })
    }
}

/// Problem: parts that a file lacks.
fn missing(guest_path: &str, written: &FileSummary) -> Option<Problem> {
    let bytes = written.counts.unavailable();
    if bytes == 0 {
        return None;
    }
    let shown = written.missing.iter().take(SHOWN);
    let shown: Vec<String> =
        shown.map(|Range { start, end }| format!("{start:#x}-{end:#x}")).collect();
    let more = if written.missing.len() > SHOWN { " and more" } else { "" };
    Some(Problem::incomplete(format!(
        "the guest does not have all of {guest_path} in memory: {} of {} are holes, at {}{more}",
        human_size(bytes),
        human_size(written.len_bytes),
        shown.join(", ")
    )))
}

fn report(
    plan: &ExtractPlan,
    pid: u32,
    written: Vec<ExtractedFile>,
    problems: &[Problem],
) -> anyhow::Result<()> {
    let report = ExtractReport::new(written, problems);
    if plan.style == Style::Json {
        return output::answer(&report, Style::Json);
    }
    output::tell(&report);
    let written = &report.files;
    if plan.files == WantedFiles::Programs
        && let Some(root) = destination::root_of(written)
        && let Some(executable) = written.first()
    {
        let core = format!("core.{pid}");
        let words = [&root, &executable.path, &core].map(|word| shell_word(word));
        let [root, executable, core] = words;
        output::hints(&[format!("gdb -iex '{}' {executable} {core}", debuggers::sysroot(&root))]);
    }
    Ok(())
}
