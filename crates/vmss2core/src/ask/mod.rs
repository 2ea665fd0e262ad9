//! Questions about a guest, and their answers.

mod info;
mod process;
mod symbols;

use vmss2core_answers::{
    BtReport, CrashArgsReport, DmesgReport, Listed, MapsReport, ModuleList, ModulesReport, PsReport,
};
use vmss2core_guest::Which;
use vmss2core_guest::model::StacksOf;
use vmss2core_mem::Problem;

pub(crate) use process::{number as process_number, threads_number};

use crate::{Error, Guest};

/// An answer, and what was in the way of a full one.
#[derive(Clone, Debug)]
pub struct Answered<A> {
    /// The answer.
    pub answer: A,
    /// Problems: missing, odd or broken data.
    pub problems: Vec<Problem>,
}

impl Guest {
    /// Its processes, or their threads.
    pub fn ps(&self, listed: Listed) -> Result<Answered<PsReport>, Error> {
        let tasks = self.now()?.tasks().ok_or_else(|| self.not_offered())??;
        Ok(Answered { answer: PsReport::new(&tasks, listed), problems: tasks.problems })
    }

    /// Stacks of its kernel.
    ///
    /// ```
    /// use vmss2core::StacksOf;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let fixture = vmss2core_lab::windows::fixture("crashed").unwrap();
    /// # let machine = vmss2core_lab::windows::make(&fixture)?.machine;
    /// # vmss2core_lab::vmware::write_checkpoint(&machine, &Default::default(), dir.path(), "vm")?;
    /// # let vm = dir.path().join("vm.vmss");
    /// let guest = vmss2core::Guest::open([vm])?;
    /// let stacks = guest.bt(&StacksOf::Processors)?.answer.stacks;
    /// assert_eq!(stacks[0].cpu, Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bt(&self, of: &StacksOf) -> Result<Answered<BtReport>, Error> {
        let found = self.now()?.stacks(of).ok_or_else(|| self.not_offered())??;
        Ok(Answered { answer: BtReport::new(&found), problems: found.problems })
    }

    /// Modules, images or extensions of its kernel.
    pub fn modules(&self, list: ModuleList) -> Result<Answered<ModulesReport>, Error> {
        let found = self.now()?.images().ok_or_else(|| self.not_offered())?;
        Ok(Answered { answer: ModulesReport::new(&found, list), problems: found.problems })
    }

    /// The messages in its kernel's log that have one of these levels.
    pub fn dmesg(&self, levels: &[u8]) -> Result<Answered<DmesgReport>, Error> {
        let now = self.now()?;
        let log = now.log().ok_or_else(|| self.not_offered())??;
        let clock = now.clock(Some(&log)).unwrap_or_default();
        let answer = DmesgReport::new(&log, &clock, levels, &log.problems);
        Ok(Answered { answer, problems: log.problems })
    }

    /// The mappings of a process.
    pub fn maps(&self, which: impl Into<Which>) -> Result<Answered<MapsReport>, Error> {
        let (process, mut problems) = self.process(which)?;
        problems.extend(process.problems().iter().cloned());
        Ok(Answered { answer: MapsReport::new(&process, &problems), problems })
    }

    /// The lines that open it in kernel debuggers.
    pub fn crash_args(&self) -> Result<CrashArgsReport, Error> {
        let vmlinux = self.given().vmlinux.as_deref();
        Ok(CrashArgsReport::new(self.linux()?.linux(), self.inputs(), vmlinux, self.command_line()))
    }
}
