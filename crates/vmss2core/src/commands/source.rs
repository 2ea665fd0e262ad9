//! Opening a checkpoint and finding out about its guest.

use std::sync::LazyLock;

use vmss2core_checkpoint::{OpenOptions, Opened};
use vmss2core_dump::Input;
use vmss2core_guest::linux::GivenFiles;
use vmss2core_guest::{Facts, windows};
use vmss2core_mem::{Problem, Severity};

use crate::exit::Exit;
use crate::plan::{GuestPlan, Source};

/// A checkpoint with what is known of its guest.
pub(super) struct Guest {
    pub(super) opened: Opened,
    /// Worked out when somebody looks.
    pub(super) facts: LazyLock<Facts, Box<dyn FnOnce() -> Facts + Send>>,
}

/// Opens a checkpoint to tell about it: a state file alone has something to say.
pub(super) fn open(source: &Source) -> anyhow::Result<Opened> {
    let options = OpenOptions { without_memory: true, ..options(source) };
    Ok(vmss2core_checkpoint::open(&source.inputs, &options)?)
}

fn options(source: &Source) -> OpenOptions {
    OpenOptions { spill_dir: Some(source.spill_dir.clone()), ..OpenOptions::default() }
}

impl Guest {
    /// A guest to tell about.
    pub(super) fn open(source: &Source) -> anyhow::Result<Self> {
        Ok(Self::of(open(source)?))
    }

    /// A guest whose kernel will be asked, with the help of files that the user gives.
    pub(super) fn open_to_ask(plan: &GuestPlan) -> anyhow::Result<Self> {
        let mut opened = vmss2core_checkpoint::open(&plan.source.inputs, &options(&plan.source))?;
        let GivenFiles { vmlinux, btf, system_map, .. } = &plan.files;
        let given = [vmlinux, btf, system_map].into_iter().flatten().cloned();
        opened.checkpoint.provenance.host_files.extend(given);
        Ok(Self::of(opened))
    }

    /// A guest whose memory will be written.
    pub(super) fn open_with_memory(source: &Source) -> anyhow::Result<Self> {
        Ok(Self::of(vmss2core_checkpoint::open(&source.inputs, &options(source))?))
    }

    /// The same with what the user says of a Windows guest.
    pub(super) fn open_windows(source: &Source, said: windows::Options) -> anyhow::Result<Self> {
        Ok(Self::with(vmss2core_checkpoint::open(&source.inputs, &options(source))?, said))
    }

    fn of(opened: Opened) -> Self {
        Self::with(opened, windows::Options::default())
    }

    fn with(opened: Opened, said: windows::Options) -> Self {
        let checkpoint = opened.checkpoint.clone();
        let facts = Box::new(move || vmss2core_guest::analyse_with(&checkpoint, &said));
        Self { opened, facts: LazyLock::new(facts) }
    }

    /// What a writer works from.
    pub(super) fn input(&self) -> Input<'_> {
        Input { checkpoint: &self.opened.checkpoint, facts: &self.facts }
    }

    /// What the reader and the analysis had to work around.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.opened.checkpoint.problems.iter().chain(&self.facts.problems)
    }

    /// Those that someone who works with the guest should hear of.
    pub(super) fn serious_problems(&self) -> impl Iterator<Item = &Problem> {
        self.serious_reader_problems().chain(self.serious_analysis_problems())
    }

    /// What someone who converts should hear from the reader before.
    pub(super) fn serious_reader_problems(&self) -> impl Iterator<Item = &Problem> {
        serious(&self.opened.checkpoint.problems)
    }

    /// What someone who converts should hear from the analysis; it may go on
    /// while a core is being written.
    pub(super) fn serious_analysis_problems(&self) -> impl Iterator<Item = &Problem> {
        serious(&self.facts.problems)
    }

    /// That memory could not be read, if that came after the analysis.
    pub(super) fn read_failure(&self) -> Option<Problem> {
        let failure = vmss2core_guest::unreadable(&self.opened.checkpoint)?;
        (!self.facts.problems.contains(&failure)).then_some(failure)
    }

    /// How a command ends that came across these problems as well.
    pub(super) fn exit_with(&self, more: &[Problem]) -> Exit {
        Exit::with_problems(self.problems().chain(more))
    }
}

fn serious(problems: &[Problem]) -> impl Iterator<Item = &Problem> {
    problems.iter().filter(|problem| problem.severity > Severity::Note)
}
