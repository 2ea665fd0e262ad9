//! The original tool's outputs: its names, its lines on stdout.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use vmss2core::Guest;
use vmss2core_dump::{DumpError, Summary};
use vmss2core_guest::linux::{KernelVersion, LinuxOffsets};
use vmss2core_mem::{Problem, Severity};

use super::plan::{Cores, OriginalPlan, StatedKernel};
use super::{KernelFamily, outputs};
use crate::cancel::Cancel;
use crate::commands::convert::Request;
use crate::commands::convert::{self, File};
use crate::commands::{Plan, open};
use crate::exit::{self, Exit};
use crate::output;
use crate::progress::Progress;

/// One file to write.
struct Core {
    what: Request,
    path: PathBuf,
}

impl Plan for OriginalPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        let cancel = Cancel::install().context("cannot handle signals")?;
        say(self, &format!("vmss2core version {}", env!("CARGO_PKG_VERSION")));
        let guest = open::to_work(&self.source, self.windows)?;
        output::serious_problems(guest.reader_problems());
        warn(&self.notes);
        let cores = cores(self, &guest)?;
        let (written, failed) = write_all(self, &guest, &cores, &cancel)?;
        output::serious_problems(&guest.facts().problems);
        warn(&contradictions(&self.stated, &guest));
        if !self.quiet {
            advise(&written);
        }
        let problems: Vec<Problem> =
            written.into_iter().flat_map(|summary| summary.problems).chain(failed).collect();
        Ok(Exit::of_guest(&guest, &problems))
    }
}

fn warn(notes: &[String]) {
    for note in notes {
        output::talk(&format!("vmss2core: warning: {note}"));
    }
}

/// Writes the files. A vCPU whose page tables are broken, or that never ran,
/// does not keep the others from getting theirs.
fn write_all(
    plan: &OriginalPlan,
    guest: &Guest,
    cores: &[Core],
    cancel: &Cancel,
) -> anyhow::Result<(Vec<Summary>, Vec<Problem>)> {
    let (mut written, mut failed) = (Vec::new(), Vec::new());
    for core in cores {
        match write(plan, guest, core, cancel) {
            Err(error) if cores.len() > 1 && concerns_one_vcpu(&error) => {
                let (path, why) = (core.path.display(), exit::advised(&error));
                let problem = format!("{path} was not written: {why}");
                failed.push(Problem::incomplete(problem));
                output::problems(failed.last());
            }
            summary => {
                let summary = summary?;
                if let Cores::Windows(_, build) = plan.cores {
                    say_windows(plan, guest, build);
                }
                say(plan, "Finished writing core.");
                report_new(plan, &summary.problems, &written);
                written.push(summary);
            }
        }
    }
    if written.is_empty() {
        bail!("no vCPU has an address space to write; -M writes the memory as it is");
    }
    Ok((written, failed))
}

/// How to open the files, by the example of the first.
fn advise(written: &[Summary]) {
    let [first, others @ ..] = written else { return };
    output::hints(&first.hints);
    let names: Vec<String> = others.iter().map(|other| other.path.display().to_string()).collect();
    match names.as_slice() {
        [] => {}
        [other] => output::talk(&format!("and likewise {other}")),
        [second, .., last] => output::talk(&format!("and likewise {second} to {last}")),
    }
}

fn concerns_one_vcpu(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(
            DumpError::NoAddressSpace { .. }
                | DumpError::UnknownPageTables { .. }
                | DumpError::NothingMapped { .. }
                | DumpError::NoMemory { .. }
        )
    )
}

/// The files to write, named as the original named them.
fn cores(plan: &OriginalPlan, guest: &Guest) -> anyhow::Result<Vec<Core>> {
    let vcpus: Vec<u32> = guest.checkpoint().vcpus.iter().map(|vcpu| vcpu.index).collect();
    let wanted = match &plan.cores {
        Cores::Whole(what) => {
            return Ok(vec![Core { what: what.clone(), path: "vmss.core".into() }]);
        }
        Cores::Windows(what, _) => {
            return Ok(vec![Core { what: what.clone(), path: "memory.dmp".into() }]);
        }
        Cores::EachVcpu if vcpus.is_empty() => {
            bail!(
                "no vCPU has registers to go by, and so no virtual addresses; -M writes the memory"
            )
        }
        Cores::EachVcpu => vcpus,
        Cores::OneVcpu(vcpu) if vcpus.contains(vcpu) => vec![*vcpu],
        Cores::OneVcpu(vcpu) => {
            bail!("no vCPU {vcpu}: {} have registers to go by", vcpus.len())
        }
    };
    let core = |vcpu| {
        let what = outputs::linear(vcpu).map_err(anyhow::Error::msg)?;
        Ok(Core { what, path: format!("vmss.core{vcpu}").into() })
    };
    wanted.into_iter().map(core).collect()
}

fn write(
    plan: &OriginalPlan,
    guest: &Guest,
    core: &Core,
    cancel: &Cancel,
) -> anyhow::Result<Summary> {
    let progress = progress(plan, &core.path, cancel);
    let to = File { path: &core.path, existing: output::existing(true, false) };
    convert::write(guest, &core.what, to, progress, cancel)
}

/// Says what went wrong with a core, unless an earlier one had the same.
fn report_new(plan: &OriginalPlan, problems: &[Problem], earlier: &[Summary]) {
    let is_known = |problem| earlier.iter().any(|summary| summary.problems.contains(problem));
    let is_worth_it = |problem: &Problem| !plan.quiet || problem.severity > Severity::Note;
    output::problems(problems.iter().filter(|problem| is_worth_it(problem) && !is_known(problem)));
}

fn progress<'a>(plan: &OriginalPlan, path: &Path, cancel: &'a Cancel) -> Progress<'a> {
    let progress = Progress::new(plan.progress, &path.to_string_lossy(), cancel);
    if plan.quiet { progress.silent() } else { progress.with_megabytes() }
}

/// The original's lines on stdout. That nobody reads them is no reason to stop.
fn say(plan: &OriginalPlan, line: &str) {
    if !plan.quiet {
        let mut out = output::stdout();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

/// The lines of the original about Windows, for scripts that read them.
fn say_windows(plan: &OriginalPlan, guest: &Guest, stated: Option<u32>) {
    if io::stdout().is_terminal() {
        return;
    }
    let Some(windows) = guest.facts().windows() else { return };
    if let Some(lab) = &windows.lab {
        say(plan, &format!("Win: ntBuildLab={}", vmss2core_answers::printable(&lab.value)));
    }
    if let Some(build) = stated.or(windows.build.as_ref().map(|build| build.value)) {
        say(plan, &format!("CoreDumpScanWin32: MinorVersion set to {build}"));
    }
}

/// Where the guest's kernel is not the one that the user states.
fn contradictions(stated: &StatedKernel, guest: &Guest) -> Vec<String> {
    let linux = guest.facts().linux();
    let Some(release) = linux.and_then(|linux| linux.release.as_ref()) else {
        return Vec::new();
    };
    let Some(actual) = KernelVersion::of_release(&release.value) else { return Vec::new() };
    let is_24 = actual.0 == 2 && actual.1 == 4;
    let mut found = Vec::new();
    match stated.family {
        Some(KernelFamily::Two4) if !is_24 => {
            found.push(format!("-N4 is for kernels 2.4; this guest runs {}", release.value));
        }
        Some(KernelFamily::Two6) if is_24 => {
            found.push(format!(
                "-N6 is for kernels 2.6 and later; this guest runs {}",
                release.value
            ));
        }
        _ => {}
    }
    let version = stated.offsets.as_ref().and_then(LinuxOffsets::version);
    if let Some(version) = version.filter(|version| *version != actual) {
        found.push(format!("-l is for kernel {version}; this guest runs {}", release.value));
    }
    found
}
