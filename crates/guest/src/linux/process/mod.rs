//! A process's memory: its mappings, and where the bytes of each are.
//!
//! Mappings come from the kernel's list of them (up to 6.0) or its maple tree
//! (since 6.1), and from the page tables alone if those are torn. Bytes come from
//! physical memory where a page is mapped, also if it is inaccessible at the
//! moment, and from the page cache of the file where the process has not
//! touched a page yet. What is swapped out or was never read is said to be so.

mod content;
mod vma;

use std::ops::ControlFlow;

use vmss2core_mem::{Gva, Problem};

pub use content::{Content, Counts, FileRun, Missing, Run};
pub use vma::{MappedFile, Vma, VmaFlags};

use super::{Kernel, LinuxError, Object, Task};
use crate::paging::{AddressSpace, Root};

/// A process with its memory.
#[derive(Debug)]
pub struct Process<'k> {
    kernel: &'k Kernel<'k>,
    task: Task,
    mm: Object<'k>,
    space: AddressSpace<'k>,
    vmas: Vec<Vma>,
    executable: Option<MappedFile>,
    problems: Vec<Problem>,
}

impl<'k> Process<'k> {
    /// The process that a task belongs to. Fails for what has no memory of its
    /// own (threads of the kernel, processes that have ended), and if the page
    /// tables cannot be found.
    pub fn of(kernel: &'k Kernel<'k>, task: &Task) -> Result<Self, LinuxError> {
        let no_memory = || LinuxError::NoMemory { pid: task.pid, comm: task.comm.clone() };
        let mm = kernel.object(task.mm.ok_or_else(no_memory)?, "mm_struct");
        let pgd = mm.pointer("pgd")?;
        let translated = kernel.space().translate(pgd);
        let root = translated
            .map_err(|source| LinuxError::Read { what: format!("page tables at {pgd}"), source })?;
        Ok(Self {
            kernel,
            task: task.clone(),
            mm,
            space: kernel.space().with_root(Root(root.gpa)),
            vmas: Vec::new(),
            executable: None,
            problems: Vec::new(),
        })
    }

    /// The kernel it runs on.
    pub fn kernel(&self) -> &'k Kernel<'k> {
        self.kernel
    }

    /// The task it was asked for by.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Its `struct mm_struct`.
    pub fn mm(&self) -> Object<'k> {
        self.mm
    }

    /// Its page tables.
    pub fn space(&self) -> &AddressSpace<'k> {
        &self.space
    }

    /// Whether it is a 32-bit program, also on a 64-bit kernel.
    pub fn is_32_bit(&self) -> bool {
        !self.kernel.linux().is_64_bit
    }

    /// Its mappings: sorted, not empty, not overlapping.
    pub fn vmas(&self) -> &[Vma] {
        &self.vmas
    }

    /// The mapping at an address.
    pub fn vma_at(&self, gva: Gva) -> Option<&Vma> {
        let behind = self.vmas.partition_point(|vma| vma.start <= gva);
        self.vmas.get(behind.checked_sub(1)?).filter(|vma| vma.contains(gva))
    }

    /// Where the bytes of a mapping are: runs that cover it exactly, in order,
    /// adjacent ones merged.
    pub fn runs(&self, vma: &Vma) -> Vec<Run> {
        let mut runs = Vec::new();
        let _ = self.visit_runs(vma, &mut |run| {
            runs.push(run);
            ControlFlow::Continue(())
        });
        runs
    }

    /// The same, one after the other, for processes of any size.
    pub fn visit_runs(
        &self,
        vma: &Vma,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let content = Content::Missing(Missing::Table);
        visit(Run { gva: vma.start, len_bytes: vma.len_bytes(), content })
    }

    /// Where the bytes of a whole file are, its page cache asked: runs that cover
    /// it exactly, in order. The executable and libraries can be rebuilt so.
    pub fn file_runs(&self, _file: &MappedFile) -> Vec<FileRun> {
        Vec::new()
    }

    /// How many bytes of a mapping are where.
    pub fn counts(&self, vma: &Vma) -> Counts {
        let mut counts = Counts::default();
        let _ = self.visit_runs(vma, &mut |run| {
            counts.count(run.content, run.len_bytes);
            ControlFlow::Continue(())
        });
        counts
    }

    /// Fills `buf` with the process's memory at `gva`. Fails at the first byte
    /// that cannot be had; what `buf` holds then is not defined.
    pub fn read(&self, gva: Gva, buf: &mut [u8]) -> Result<(), LinuxError> {
        self.space
            .read(gva, buf)
            .map_err(|source| LinuxError::Read { what: format!("process memory at {gva}"), source })
    }

    /// What the kernel told the program when it was started (`AT_PHDR`, ...), as
    /// pairs, `AT_NULL` included; empty if it cannot be found.
    pub fn auxv(&self) -> Vec<(u64, u64)> {
        Vec::new()
    }

    /// The program's file.
    pub fn executable(&self) -> Option<&MappedFile> {
        self.executable.as_ref()
    }

    /// Its arguments, each ended by a NUL; `None` if they cannot be read.
    pub fn command_line(&self) -> Option<Vec<u8>> {
        None
    }

    /// Its environment as it was at the start, each variable ended by a NUL;
    /// `None` if it cannot be read.
    pub fn environment(&self) -> Option<Vec<u8>> {
        None
    }

    /// What could not be followed.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}
