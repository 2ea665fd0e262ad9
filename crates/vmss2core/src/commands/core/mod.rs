//! `core`, and the original's `-P<pid>`: cores of processes.

mod args;
mod told;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use vmss2core_answers::{CoreInfo, CoreReport};
use vmss2core_dump::output::check_existing;
use vmss2core_dump::process::{ProcessCore, ProcessOptions, ProcessSummary};
use vmss2core_dump::{DumpError, Existing};
use vmss2core_guest::linux::{Kernel, Process, RegisterFinder, Task};
use vmss2core_mem::Problem;

use super::Plan;
use super::open::ask_linux;
use super::processes::{self, Chosen};
use crate::args::Style;
use crate::cancel::Cancel;
use crate::exit::{Exit, Stopped};
use crate::output;
use crate::output::existing;
use crate::progress::Progress;
pub(super) use args::CoreArgs;
pub(crate) use args::{CorePlan, CoreStyle};

impl Plan for CorePlan {
    fn run(&self) -> anyhow::Result<Exit> {
        let cancel = Cancel::install().context("cannot handle signals")?;
        say(self, &format!("vmss2core version {}", env!("CARGO_PKG_VERSION")))?;
        ask_linux(&self.guest, |kernel| {
            let tasks = kernel.tasks()?;
            let mut problems = tasks.problems;
            let chosen = processes::chosen(&tasks.tasks, &self.wanted, &mut problems)?;
            if !matches!(self.style, CoreStyle::Original { .. }) {
                problems.extend(chosen.iter().filter_map(Chosen::threads_number));
            }
            make_room(self.output.as_deref(), chosen.len())?;
            let finder = RegisterFinder::new(kernel, &tasks.tasks);
            let writer =
                Writer { plan: self, kernel, finder, tasks: &tasks.tasks, cancel: &cancel };
            let mut written = Vec::new();
            for one in &chosen {
                match writer.write(one) {
                    Ok((info, of_core)) => {
                        written.push(info);
                        problems.extend(of_core);
                    }
                    // One of many does not keep the others from being written.
                    Err(error) if chosen.len() > 1 && !error.is::<Stopped>() => {
                        let message = format!("no core of process {}: {error:#}", one.task.pid);
                        problems.push(Problem::incomplete(message));
                    }
                    Err(error) => return Err(error),
                }
            }
            if self.style == CoreStyle::Json {
                output::answer(&CoreReport::new(written, &problems), Style::Json)?;
            }
            Ok(problems)
        })
    }
}

/// Several cores need a directory.
fn make_room(output: Option<&Path>, count: usize) -> anyhow::Result<()> {
    let Some(output) = output.filter(|output| count > 1 && !output.is_dir()) else {
        return Ok(());
    };
    if output.exists() {
        bail!("{} is a file; {count} cores need a directory", output.display());
    }
    fs::create_dir_all(output).with_context(|| format!("cannot create {}", output.display()))
}

struct Writer<'a, 'k> {
    plan: &'a CorePlan,
    kernel: &'k Kernel,
    finder: RegisterFinder,
    tasks: &'a [Task],
    cancel: &'a Cancel,
}

impl Writer<'_, '_> {
    fn write(&self, chosen: &Chosen<'_>) -> anyhow::Result<(CoreInfo, Vec<Problem>)> {
        let (path, existing) = self.place(chosen.number);
        check_existing(&path, existing)?;
        let process = Process::of(self.kernel, chosen.task)?;
        let core = ProcessCore::new(self.kernel, &process, self.tasks, &self.finder);
        let written = self.write_file(&core, &path, existing)?;
        let told = told::Told {
            inputs: &self.plan.guest.source.inputs,
            process: &process,
            core: &core,
            written: &written,
        };
        let mut core = told.info();
        if self.plan.style == (CoreStyle::Original { quiet: false }) {
            say(self.plan, "Finished writing core.")?;
        }
        if matches!(self.plan.style, CoreStyle::Text | CoreStyle::Original { quiet: false }) {
            core.incomplete_files = told.incomplete_files();
            output::tell(&CoreReport::new(vec![core.clone()], &[]));
        }
        Ok((core, written.summary.problems))
    }

    fn write_file(
        &self,
        core: &ProcessCore<'_>,
        path: &Path,
        existing: Existing,
    ) -> anyhow::Result<ProcessSummary> {
        let progress = Progress::new(self.plan.progress, &path.to_string_lossy(), self.cancel);
        let progress = match self.plan.style {
            CoreStyle::Original { quiet: false } => progress.with_megabytes(),
            CoreStyle::Original { quiet: true } => progress.silent(),
            CoreStyle::Text | CoreStyle::Json => progress,
        };
        let options = ProcessOptions { existing, zero_fill: self.plan.zero_fill };
        let written = self.cancel.deferred(|| core.write(options, path, &progress));
        progress.finish();
        written.map_err(|error| match error {
            DumpError::Cancelled => {
                let text = format!("stopped; {} was not written", path.display());
                Stopped { signal: self.cancel.signal().unwrap_or(2), text }.into()
            }
            error => error.into(),
        })
    }

    /// The name that was given, unless that is a directory or there are several; and
    /// what happens to a file that has it.
    fn place(&self, number: u32) -> (PathBuf, Existing) {
        let name = format!("core.{number}");
        let (path, is_typed) = match &self.plan.output {
            None => (name.into(), false),
            Some(output) if output.is_dir() => (output.join(name), false),
            Some(output) => (output.clone(), true),
        };
        (path, existing(self.plan.overwrite, is_typed))
    }
}

/// The original's lines on stdout.
fn say(plan: &CorePlan, line: &str) -> anyhow::Result<()> {
    if plan.style == (CoreStyle::Original { quiet: false }) {
        let mut out = output::stdout();
        writeln!(out, "{line}")?;
        out.flush()?;
    }
    Ok(())
}
