//! A checkpoint with what is known of its guest.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock};

use vmss2core_answers::{CommandLine, plain_line};
use vmss2core_checkpoint::{Inventory, OpenOptions, Opened};
use vmss2core_dump::process::{ProcessCore, ProcessOptions, ProcessSummary};
use vmss2core_dump::{Chosen, Existing, Job, Observer, Silent, Summary, Value};
use vmss2core_guest::linux::{BetterSources, GivenFiles, RegisterFinder};
use vmss2core_guest::{Facts, Now, Which, linux, windows};
use vmss2core_machine::Checkpoint;
use vmss2core_mem::{Problem, Severity};

use crate::{Answered, Error};

/// How a checkpoint is opened, and what is said of its guest.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where unnamed temporary files may be made, which compressed inputs need. Without it
    /// such inputs are refused.
    pub spill_dir: Option<PathBuf>,
    /// A state file is enough, without its memory: there is less to tell then.
    pub without_memory: bool,
    /// The pages that were read last are kept: for many small reads, as debuggers make.
    pub cached: bool,
    /// Files that know the guest's kernel better than the guest does.
    pub kernel: GivenFiles,
    /// Facts that the user knows about a Windows guest.
    pub windows: windows::Options,
    /// How this program's users type what an answer suggests to do next.
    pub command_line: CommandLine,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            spill_dir: None,
            without_memory: false,
            cached: false,
            kernel: GivenFiles::default(),
            windows: windows::Options::default(),
            command_line: plain_line,
        }
    }
}

/// A guest: its checkpoint, and what was found out about it. All of that is found out
/// when it is first asked for. A clone is the same guest.
#[derive(Clone)]
pub struct Guest(Arc<Inner>);

struct Inner {
    inputs: Vec<PathBuf>,
    given: GivenFiles,
    command_line: CommandLine,
    /// Without its registers if they do not fit the memory.
    opened: Opened,
    misfit: Option<Problem>,
    facts: LazyLock<Facts, Box<dyn FnOnce() -> Facts + Send>>,
    now: OnceLock<Arc<dyn Now>>,
}

impl Guest {
    /// Opens a checkpoint: any one of its files, several in any order, or its directory.
    pub fn open<P: Into<PathBuf>>(inputs: impl IntoIterator<Item = P>) -> Result<Self, Error> {
        let inputs = inputs.into_iter().map(Into::into).collect();
        Self::open_with(inputs, Options::default())
    }

    /// Opens a checkpoint with options.
    pub fn open_with(inputs: Vec<PathBuf>, options: Options) -> Result<Self, Error> {
        let Options { spill_dir, without_memory, cached, kernel: given, windows, command_line } =
            options;
        let options = OpenOptions { spill_dir, without_memory, ..OpenOptions::default() };
        let mut opened = vmss2core_checkpoint::open(&inputs, &options)?;
        let files = [&given.vmlinux, &given.btf, &given.system_map].into_iter().flatten();
        opened.checkpoint.about_mut().provenance.host_files.extend(files.cloned());
        let misfit = vmss2core_guest::leave_out_misfits(&mut opened.checkpoint);
        let checkpoint = opened.checkpoint.clone();
        let facts = Box::new(move || vmss2core_guest::analyse_with(&checkpoint, &windows));
        let facts = LazyLock::new(facts as Box<dyn FnOnce() -> Facts + Send>);
        if cached {
            opened.checkpoint.memory = opened.checkpoint.memory.cached();
        }
        let now = OnceLock::new();
        let inner = Inner { inputs, given, command_line, opened, misfit, facts, now };
        Ok(Self(Arc::new(inner)))
    }

    /// The files as they were named when it was opened.
    pub fn inputs(&self) -> &[PathBuf] {
        &self.0.inputs
    }

    /// How users type what answers suggest.
    pub(crate) fn command_line(&self) -> CommandLine {
        self.0.command_line
    }

    /// The files that were given, which know the kernel better than the guest does.
    pub fn given(&self) -> &GivenFiles {
        &self.0.given
    }

    /// Its memory and processors; without their registers if those do not fit the memory.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.0.opened.checkpoint
    }

    /// Everything that the state file holds, if its format has items.
    pub fn inventory(&self) -> Option<&Inventory> {
        self.0.opened.inventory.as_ref()
    }

    /// Facts about what runs in it.
    pub fn facts(&self) -> &Facts {
        &self.0.facts
    }

    /// Its system, to be asked about this moment.
    pub fn now(&self) -> Result<&dyn Now, Error> {
        if let Some(now) = self.0.now.get() {
            return Ok(now.as_ref());
        }
        let boot = self.0.facts.boot.as_ref().ok_or(Error::NoSystem)?;
        let now = boot.value.clone().now(self.checkpoint(), &self.0.facts, &self.0.given)?;
        Ok(self.0.now.get_or_init(|| now).as_ref())
    }

    /// Its system, to be asked and to be kept.
    pub(crate) fn shared_now(&self) -> Result<Arc<dyn Now>, Error> {
        self.now()?;
        self.0.now.get().cloned().ok_or(Error::NoSystem)
    }

    /// Its kernel, if the guest is Linux.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let mac = vmss2core_lab::macos::make(Default::default())?.machine;
    /// # vmss2core_lab::vmware::write_checkpoint(&mac, &Default::default(), dir.path(), "vm")?;
    /// # let vm = dir.path().join("vm.vmss");
    /// let guest = vmss2core::Guest::open([vm])?;
    /// assert_eq!(guest.facts().system().unwrap().name(), "macOS");
    /// assert_eq!(
    ///     guest.linux().err().unwrap().to_string(),
    ///     "this is a macOS guest, of which this cannot be asked"
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn linux(&self) -> Result<&linux::Kernel, Error> {
        self.now()?.as_kernel().ok_or_else(|| self.not_offered())
    }

    /// Its kernel, if the guest is Windows.
    pub fn windows(&self) -> Option<&windows::Kernel> {
        self.0.facts.windows()?;
        self.now().ok()?.as_kernel()
    }

    /// Error: its system has no answer to a question.
    pub(crate) fn not_offered(&self) -> Error {
        Error::OtherSystem(self.0.facts.system().map_or("strange", |system| system.name()))
    }

    /// The files that were given, read.
    pub(crate) fn better_sources(&self) -> Result<BetterSources, Error> {
        Ok(BetterSources::read(&self.0.given, self.checkpoint(), &self.0.facts)?)
    }

    /// Writes a file that a debugger opens, in a format of [`DUMP_FORMATS`], with what is
    /// chosen of what the format offers. A file that exists stays.
    ///
    /// [`DUMP_FORMATS`]: vmss2core_dump::DUMP_FORMATS
    ///
    /// ```
    /// use vmss2core::dump::Value;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let fixture = vmss2core_lab::windows::fixture("win7-x64").unwrap();
    /// # let machine = vmss2core_lab::windows::make(&fixture)?.machine;
    /// # vmss2core_lab::vmware::write_checkpoint(&machine, &Default::default(), dir.path(), "vm")?;
    /// # let (vm, memory_dmp) = (dir.path().join("vm.vmss"), dir.path().join("memory.dmp"));
    /// let guest = vmss2core::Guest::open([vm])?;
    /// let written = guest.write("windbg", [("bugcheck", Value::Number(0xe2))], &memory_dmp)?;
    /// assert_eq!(std::fs::metadata(&memory_dmp)?.len(), written.len_bytes);
    /// assert!(guest.write("windbg", [], &memory_dmp).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write(
        &self,
        format: &str,
        choices: impl IntoIterator<Item = (&'static str, Value)>,
        path: &Path,
    ) -> Result<Summary, Error> {
        let named = vmss2core_dump::format(format);
        let format = named.ok_or_else(|| Error::NoFormat(format.to_owned()))?;
        let chosen = Chosen::of(format, choices)?;
        Ok(format.write(&self.job(path, Existing::Stays, &chosen, &Silent))?)
    }

    /// Writes the core of a process of a Linux guest, as its kernel would have done.
    pub fn write_process(
        &self,
        which: impl Into<Which>,
        options: ProcessOptions,
        path: &Path,
    ) -> Result<Answered<ProcessSummary>, Error> {
        let kernel = self.linux()?;
        let tasks = kernel.tasks()?.tasks;
        let (process, problems) = self.process(which)?;
        let finder = RegisterFinder::new(kernel, &tasks);
        let core = ProcessCore::new(kernel, &process, &tasks, &finder);
        Ok(Answered { answer: core.write(options, path, &Silent)?, problems })
    }

    /// Input of a [`DumpFormat`](vmss2core_dump::DumpFormat), for those who want more
    /// of it than [`write`](Self::write) does. The guest is analysed when a writer first asks
    /// for it.
    pub fn job<'a>(
        &'a self,
        path: &'a Path,
        existing: Existing,
        chosen: &'a Chosen,
        observer: &'a dyn Observer,
    ) -> Job<'a> {
        Job {
            checkpoint: self.checkpoint(),
            facts: &self.0.facts,
            path,
            existing,
            chosen,
            observer,
        }
    }

    /// Problem: the registers do not fit the memory, and so are left out.
    pub fn misfit(&self) -> Option<&Problem> {
        self.0.misfit.as_ref()
    }

    /// Problems that the reader of the files had to work around.
    pub fn reader_problems(&self) -> &[Problem] {
        &self.0.opened.checkpoint.about.problems
    }

    /// Problems that the reader and the analysis had to work around.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.reader_problems().iter().chain(&self.0.facts.problems)
    }

    /// Problems: parts of the guest that are missing.
    pub fn incomplete(&self) -> impl Iterator<Item = &Problem> {
        self.problems().filter(|problem| problem.severity == Severity::Incomplete)
    }

    /// Problems with the files that were given, as far as they were asked.
    pub fn source_problems(&self) -> impl Iterator<Item = &Problem> {
        let linux = self.0.now.get().and_then(|now| now.as_kernel::<linux::Kernel>());
        linux.into_iter().flat_map(linux::Kernel::source_problems)
    }

    /// Problem: memory could not be read, if that came after the analysis.
    pub fn read_failure(&self) -> Option<Problem> {
        let failure = vmss2core_guest::unreadable(&self.0.opened.checkpoint)?;
        (!self.0.facts.problems.contains(&failure)).then_some(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_can_be_kept_and_shared() {
        fn assert_owned<T: Send + Sync + 'static>() {}
        fn assert_shared<T: Clone>() {}
        assert_owned::<Guest>();
        assert_shared::<Guest>();
        assert_owned::<Error>();
    }

    #[test]
    fn what_is_no_checkpoint_is_refused_by_its_reader() {
        let error = Guest::open(["/nonexistent.vmss"]).err().unwrap();
        assert!(matches!(error, Error::Open(_)), "{error}");
    }
}
