//! Opening a checkpoint and finding out about its guest.

use std::sync::LazyLock;

use vmss2core_checkpoint::{OpenOptions, Opened};
use vmss2core_guest::linux::GivenFiles;
use vmss2core_guest::{Facts, windows};
use vmss2core_mem::{Problem, Severity};

use crate::args::{GuestPlan, Source};
use crate::exit::Exit;
use crate::output;

/// A checkpoint with what is known of its guest.
pub(crate) struct Guest {
    /// Without its registers if they do not fit the memory.
    pub(crate) opened: Opened,
    /// What is to be said of that.
    pub(crate) misfit: Option<Problem>,
    /// Worked out when somebody looks.
    pub(crate) facts: LazyLock<Facts, Box<dyn FnOnce() -> Facts + Send>>,
}

/// Opens a checkpoint to tell about it: a state file alone has something to say.
pub(crate) fn open(source: &Source) -> anyhow::Result<Opened> {
    let options = OpenOptions { without_memory: true, ..options(source) };
    Ok(vmss2core_checkpoint::open(&source.inputs, &options)?)
}

fn options(source: &Source) -> OpenOptions {
    OpenOptions { spill_dir: Some(source.spill_dir.clone()), ..OpenOptions::default() }
}

impl Guest {
    /// A guest to tell about.
    pub(crate) fn open(source: &Source) -> anyhow::Result<Self> {
        Ok(Self::with(open(source)?, windows::Options::default()))
    }

    /// A guest whose kernel will be asked, with the help of files that the user gives.
    pub(crate) fn open_to_ask(plan: &GuestPlan) -> anyhow::Result<Self> {
        let mut opened = vmss2core_checkpoint::open(&plan.source.inputs, &options(&plan.source))?;
        let GivenFiles { vmlinux, btf, system_map, .. } = &plan.files;
        let given = [vmlinux, btf, system_map].into_iter().flatten().cloned();
        opened.checkpoint.about_mut().provenance.host_files.extend(given);
        Ok(Self::told(opened, windows::Options::default()))
    }

    /// A guest whose memory will be worked with.
    pub(crate) fn open_with_memory(source: &Source) -> anyhow::Result<Self> {
        Self::open_windows(source, windows::Options::default())
    }

    /// The same with what the user says of a Windows guest.
    pub(crate) fn open_windows(source: &Source, said: windows::Options) -> anyhow::Result<Self> {
        Ok(Self::told(vmss2core_checkpoint::open(&source.inputs, &options(source))?, said))
    }

    /// Says before anything else what all that follows depends on.
    fn told(opened: Opened, said: windows::Options) -> Self {
        let guest = Self::with(opened, said);
        output::problems(&guest.misfit);
        guest
    }

    fn with(mut opened: Opened, said: windows::Options) -> Self {
        let misfit = vmss2core_guest::leave_out_misfits(&mut opened.checkpoint);
        let checkpoint = opened.checkpoint.clone();
        let facts = Box::new(move || vmss2core_guest::analyse_with(&checkpoint, &said));
        Self { opened, misfit, facts: LazyLock::new(facts) }
    }

    /// What the reader and the analysis had to work around.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.opened.checkpoint.about.problems.iter().chain(&self.facts.problems)
    }

    /// That parts of the guest are missing.
    pub(crate) fn incomplete(&self) -> impl Iterator<Item = &Problem> {
        self.problems().filter(|problem| problem.severity == Severity::Incomplete)
    }

    /// Those that someone who works with the guest should hear of.
    pub(crate) fn serious_problems(&self) -> impl Iterator<Item = &Problem> {
        self.serious_reader_problems().chain(self.serious_analysis_problems())
    }

    /// What someone who converts should hear from the reader before.
    pub(crate) fn serious_reader_problems(&self) -> impl Iterator<Item = &Problem> {
        serious(&self.opened.checkpoint.about.problems)
    }

    /// What someone who converts should hear from the analysis; it may go on
    /// while a core is being written.
    pub(crate) fn serious_analysis_problems(&self) -> impl Iterator<Item = &Problem> {
        serious(&self.facts.problems)
    }

    /// That memory could not be read.
    pub(crate) fn unreadable(&self) -> Option<Problem> {
        vmss2core_guest::unreadable(&self.opened.checkpoint)
    }

    /// That memory could not be read, if that came after the analysis.
    pub(crate) fn read_failure(&self) -> Option<Problem> {
        let failure = self.unreadable()?;
        (!self.facts.problems.contains(&failure)).then_some(failure)
    }

    /// How a command ends that came across these problems as well.
    pub(crate) fn exit_with(&self, more: &[Problem]) -> Exit {
        Exit::with_problems(self.misfit.iter().chain(self.problems()).chain(more))
    }
}

fn serious(problems: &[Problem]) -> impl Iterator<Item = &Problem> {
    problems.iter().filter(|problem| problem.severity > Severity::Note)
}
