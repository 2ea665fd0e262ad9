//! A process's memory: its mappings, and where the bytes of each are.
//!
//! Mappings come from the kernel's list of them (up to 6.0) or its maple tree
//! (since 6.1), and from the page tables alone if those are torn. Bytes come from
//! physical memory where a page is mapped, also if it is inaccessible at the
//! moment, and from the page cache of the file where the process has not
//! touched a page yet. What is swapped out or was never read is said to be so.

mod areas;
mod content;
mod fields;
mod file;
mod frames;
mod fuzz;
pub(super) mod gate;
mod libraries;
pub(super) mod maple;
mod names;
mod page_cache;
pub(super) mod page_lists;
mod path;
mod restored;
mod runs;
mod start;
pub(super) mod swap;
#[cfg(test)]
mod tests;
mod vma;
pub(super) mod xarray;

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use vmss2core_mem::{Gva, PAGE_SIZE, Problem, little_endian, up_to_page};

pub use content::{Content, Counts, FileRun, Missing, Run};
pub(crate) use fuzz::trees as fuzz_process_trees;
pub use libraries::{Libraries, Library};
pub(in crate::linux) use restored::FrameMachine;
pub use restored::{Patch, PatchBytes, RestoredFile, SectionTable};
pub use vma::{Backing, MappedFile, Vma, VmaFlags};

use super::learn::{STACK_END_MAGIC, THREAD_INFO};
use super::{Kernel, Learned, LinuxError, Object, Task};
use areas::Area;
use file::Files;
use names::{Names, Style};
use page_cache::PageCache;
use runs::Sources;
use start::Auxv;
use vmss2core_machine::paging::{self, AddressSpace, Root, Visits};

/// How many page tables and tree nodes are read for one process: enough to go over
/// 1 TiB of single pages thirty times.
const MAX_READS: u64 = 1 << 24;
/// Page tables and nodes of a page cache on the way to one page: fewer.
const READS_OF_A_PAGE: u64 = 64;
/// Longest list of arguments that is read; Linux allows 6 MiB.
const MAX_ARGUMENTS: u64 = 6 << 20;
const AT_SYSINFO_EHDR: u64 = 33;

/// A process with its memory.
#[derive(Debug)]
pub struct Process {
    kernel: Kernel,
    task: Task,
    /// Its `struct mm_struct`.
    mm: Gva,
    space: AddressSpace,
    auxv: Auxv,
    vmas: Vec<Vma>,
    executable: Option<Arc<MappedFile>>,
    problems: Vec<Problem>,
    cache: OnceLock<Option<PageCache>>,
    reads_left: AtomicU64,
}

impl Process {
    /// The process that a task belongs to. Fails for what has no memory of its
    /// own (threads of the kernel, processes that have ended), and if the page
    /// tables cannot be found.
    pub fn of(kernel: &Kernel, task: &Task) -> Result<Self, LinuxError> {
        let no_memory = || LinuxError::NoMemory { pid: task.pid, comm: task.comm.clone() };
        let mm = kernel.object(task.mm.ok_or_else(no_memory)?, "mm_struct");
        let pgd = mm.pointer("pgd")?;
        let translated = kernel.space().translate(pgd);
        let root = translated
            .map_err(|source| LinuxError::Read { what: format!("page tables at {pgd}"), source })?;
        let mut process = Self {
            kernel: kernel.clone(),
            task: task.clone(),
            mm: mm.gva(),
            space: kernel.space().with_root(Root(root.gpa)),
            auxv: Auxv::of(kernel, mm),
            vmas: Vec::new(),
            executable: None,
            problems: Vec::new(),
            cache: OnceLock::new(),
            reads_left: AtomicU64::new(MAX_READS),
        };
        process.find_mappings();
        Ok(process)
    }

    fn find_mappings(&mut self) {
        let kernel = self.kernel.clone();
        let (kernel, mm) = (&kernel, kernel.object(self.mm, "mm_struct"));
        let mut found = areas::read_areas(kernel, mm, &self.space);
        self.problems.extend(found.problems);
        if kernel.learned_already().is_some_and(Learned::has_guard_pages) {
            areas::leave_out_guard_pages(&mut found.areas);
        }
        let mut files = Files::new(kernel);
        let code = found.areas.iter().find(|area| {
            let start = mm.pointer("start_code").map_or(0, |code| code.0);
            start != 0 && (area.start..area.end).contains(&start)
        });
        let executable = match mm.pointer("exe_file") {
            Ok(gva) => Some(gva.0),
            // Before 2.6.26 it is the file of the code.
            Err(_) => code.map(|area| area.file),
        };
        self.executable = executable.filter(|gva| *gva != 0).map(|gva| files.at(Gva(gva)));
        let told = self.auxv.value(AT_SYSINFO_EHDR);
        let gate = gate::area(kernel, &self.space, told, &found.areas);
        found.areas.extend(gate);
        let marks = self.task.stack.is_none_or(|stack| marks_end(kernel, stack) != Some(false));
        let names = Names::of(kernel, Style::of(kernel, marks), mm, told, &found.areas);
        let image = self.vdso_image();
        self.vmas = found.areas.iter().map(|area| vma(area, &mut files, &names, image)).collect();
        if let Some(error) = files.first_error.take() {
            let count = files.without_path;
            let message = format!("{count} files have no path that can be read: {error}");
            self.problems.push(Problem::warning(message));
        }
    }

    /// Where the kernel has the vDSO of this process.
    fn vdso_image(&self) -> Option<Gva> {
        let image = self.mm().follow("context.vdso_image", "vdso_image").ok()??;
        image.pointer("data").ok()
    }

    /// The kernel it runs on.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The task it was asked for by.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Its `struct mm_struct`.
    pub fn mm(&self) -> Object<'_> {
        self.kernel.object(self.mm, "mm_struct")
    }

    /// Its page tables.
    pub fn space(&self) -> &AddressSpace {
        &self.space
    }

    /// Whether it is a 32-bit program, also on a 64-bit kernel.
    pub fn is_32_bit(&self) -> bool {
        if !self.kernel.linux().is_64_bit {
            return true;
        }
        let by_size = || self.mm().pointer("task_size").is_ok_and(|end| end.0 <= 1 << 32);
        self.auxv.word_len.map_or_else(by_size, |word_len| word_len == 4)
    }

    /// Its mappings: sorted, not empty, not overlapping.
    pub fn vmas(&self) -> &[Vma] {
        &self.vmas
    }

    /// The mapping that `/proc/PID/maps` shows after its own, if it shows one: the page of the
    /// kernel's that old programs call it through (`[vsyscall]`).
    pub fn gate(&self) -> Option<Vma> {
        let gate = self.kernel.gate().filter(|_| !self.is_32_bit())?;
        Some(Vma {
            start: gate.start,
            end: gate.end,
            flags: gate.flags,
            offset_bytes: 0,
            file: None,
            backing: Backing::Kernel,
            image: None,
            name: "[vsyscall]".to_owned(),
        })
    }

    /// The mapping at an address.
    pub fn vma_at(&self, gva: Gva) -> Option<&Vma> {
        let behind = self.vmas.partition_point(|vma| vma.start <= gva);
        self.vmas.get(behind.checked_sub(1)?).filter(|vma| vma.contains(gva))
    }

    /// Where the bytes of a mapping are: runs that cover it exactly, in order,
    /// adjacent ones joined. Memory in single pages that lie anywhere takes 40 bytes
    /// for each; [`visit_runs`](Self::visit_runs) keeps none.
    pub fn runs(&self, vma: &Vma) -> Vec<Run> {
        let mut runs = Vec::new();
        let _ = self.visit_runs(vma, &mut |run| {
            runs.push(run);
            ControlFlow::Continue(())
        });
        runs
    }

    /// Runs one after the other, for processes of any size.
    pub fn visit_runs(
        &self,
        vma: &Vma,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.visit_range(vma, vma.start.0..vma.end.0, visit)
    }

    fn visit_range(
        &self,
        vma: &Vma,
        range: Range<u64>,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.with_sources(|sources| sources.of_mapping(vma, range, visit))
    }

    /// Where the bytes of a whole file are, its page cache asked: runs that cover
    /// it exactly, in order. The executable and libraries can be rebuilt so.
    /// Fails if it is not known how long the file is.
    pub fn file_runs(&self, file: &MappedFile) -> Result<Vec<FileRun>, LinuxError> {
        let len_bytes = file.len_bytes.ok_or_else(|| self.unknown_length(file))?;
        let mut runs = Vec::new();
        let _ = self.with_sources(|sources| {
            sources.of_file(file, len_bytes, &mut |run| {
                runs.push(run);
                ControlFlow::Continue(())
            })
        });
        Ok(runs)
    }

    /// A whole file as far as it can be restored, for debuggers to read. Fails if it is
    /// not known how long the file is.
    pub fn restored_file(&self, file: &MappedFile) -> Result<RestoredFile, LinuxError> {
        let mapped = || restored::Mapped::of(self, file);
        Ok(RestoredFile::of(&self.kernel, self.file_runs(file)?, &mapped))
    }

    fn unknown_length(&self, file: &MappedFile) -> LinuxError {
        let (structure, member) = ("inode".to_owned(), "i_size".to_owned());
        if self.kernel.layout().place(&structure, &member).is_none() {
            return LinuxError::UnknownMember { structure, member };
        }
        let why = "how long it is cannot be read".to_owned();
        LinuxError::Corrupt { what: format!("file {}", file.path), at: file.gva, why }
    }

    fn with_sources(
        &self,
        ask: impl FnOnce(&mut Sources<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let left = self.reads_left.load(Ordering::Relaxed);
        let mut sources = Sources {
            kernel: &self.kernel,
            space: &self.space,
            cache: self.cache.get_or_init(|| PageCache::of(&self.kernel)).as_ref(),
            visits: Visits::new(left),
            nodes_left: left,
        };
        let flow = ask(&mut sources);
        let left = sources.visits.left().min(sources.nodes_left);
        self.reads_left.fetch_min(left, Ordering::Relaxed);
        flow
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
    /// that is not available; what `buf` holds then is not defined.
    pub fn read(&self, gva: Gva, buf: &mut [u8]) -> Result<(), LinuxError> {
        let mut at = gva;
        let mut rest = buf;
        while !rest.is_empty() {
            let unmapped = || LinuxError::Unavailable { at, why: "not mapped".into() };
            let vma = self.vma_at(at).ok_or_else(unmapped)?;
            let in_vma = vma.end.0.saturating_sub(at.0);
            let len = rest.len().min(usize::try_from(in_vma).unwrap_or(usize::MAX));
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(len);
            self.read_in(vma, at, head)?;
            (at, rest) = (vma.end, tail);
        }
        Ok(())
    }

    /// Fills `buf` from `gva` on, as far as it goes; returns how many bytes there are
    /// before the first that is not available. Page tables may be read for this however
    /// much was read of the process before, as a debugger goes on asking.
    pub fn read_prefix(&self, gva: Gva, buf: &mut [u8]) -> usize {
        let pages = (buf.len() as u64 / PAGE_SIZE).saturating_add(2);
        self.reads_left.fetch_max(pages.saturating_mul(READS_OF_A_PAGE), Ordering::Relaxed);
        paging::read_pages(gva, buf, |at, part| self.read(at, part).is_ok())
    }

    /// Reads what lies in one mapping.
    fn read_in(&self, vma: &Vma, gva: Gva, buf: &mut [u8]) -> Result<(), LinuxError> {
        let end = gva.0.saturating_add(buf.len() as u64);
        let pages = gva.page_start().0..up_to_page(end);
        let mut rest = buf;
        let mut failed = None;
        let _ = self.visit_range(vma, pages, &mut |run| {
            let start = run.gva.0.max(gva.0);
            let len = run.gva.0.saturating_add(run.len_bytes).min(end).saturating_sub(start);
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(len);
            rest = tail;
            match self.kernel.read_content(run.content, start.saturating_sub(run.gva.0), head) {
                Ok(()) => ControlFlow::Continue(()),
                Err(why) => {
                    failed = Some(LinuxError::Unavailable { at: Gva(start), why });
                    ControlFlow::Break(())
                }
            }
        });
        failed.map_or(Ok(()), Err)
    }

    /// Values that the kernel told the program when it was started (`AT_PHDR`, ...), as
    /// pairs, `AT_NULL` included; empty if it cannot be found.
    pub fn auxv(&self) -> Vec<(u64, u64)> {
        self.auxv.pairs.clone()
    }

    /// The program's file.
    pub fn executable(&self) -> Option<&MappedFile> {
        self.executable.as_deref()
    }

    /// Its arguments, each ended by a NUL; `None` if they cannot be read.
    pub fn command_line(&self) -> Option<Vec<u8>> {
        self.between("arg_start", "arg_end")
    }

    /// Its environment as it was at the start, each variable ended by a NUL;
    /// `None` if it cannot be read.
    pub fn environment(&self) -> Option<Vec<u8>> {
        self.between("env_start", "env_end")
    }

    /// The memory between the addresses in two members of `mm_struct`.
    fn between(&self, start: &str, end: &str) -> Option<Vec<u8>> {
        let (start, end) = (self.mm().pointer(start).ok()?, self.mm().pointer(end).ok()?);
        let len = end.0.checked_sub(start.0)?.min(MAX_ARGUMENTS);
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        self.read(start, &mut bytes).ok()?;
        Some(bytes)
    }

    /// The directory that it works in; `None` if it cannot be told.
    pub fn directory(&self) -> Option<String> {
        let task = self.kernel.object(self.task.gva, "task_struct");
        let place = task.follow("fs", "fs_struct").ok()??;
        let path = path::PathGva {
            mount: place.pointer("pwd.mnt").ok()?.0,
            dentry: place.pointer("pwd.dentry").ok()?.0,
        };
        path::Paths::new(&self.kernel).text(path).ok()
    }

    /// Its libraries, by the names that its dynamic linker loaded them by; `None` if it
    /// has no such linker, or its list was not found.
    pub fn libraries(&self) -> Option<Libraries> {
        libraries::linked_libraries(self)
    }

    /// Bytes of a file; `None` if the checkpoint does not have all of them.
    pub fn read_file(&self, file: &MappedFile, offset: u64, len: usize) -> Option<Vec<u8>> {
        let end = offset.checked_add(len as u64)?;
        if end > file.len_bytes? {
            return None;
        }
        let mut bytes = vec![0; len];
        let mut rest = bytes.as_mut_slice();
        let flow = self.with_sources(|sources| {
            sources.of_file(file, end, &mut |run| {
                let start = run.offset_bytes.max(offset);
                let run_end = run.offset_bytes.saturating_add(run.len_bytes).min(end);
                let Some(len) = run_end.checked_sub(start).filter(|len| *len > 0) else {
                    return ControlFlow::Continue(());
                };
                let len = usize::try_from(len).unwrap_or(0).min(rest.len());
                let (head, tail) = std::mem::take(&mut rest).split_at_mut(len);
                rest = tail;
                let skip = start.saturating_sub(run.offset_bytes);
                match self.kernel.read_content(run.content, skip, head) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            })
        });
        flow.is_continue().then_some(bytes)
    }

    /// Parts that could not be followed.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// Whether the end of a stack has a mark, as all have since 2.6.30; `None` if it cannot
/// be read.
fn marks_end(kernel: &Kernel, stack: Gva) -> Option<bool> {
    let mut bytes = vec![0; usize::try_from(THREAD_INFO).ok()?];
    kernel.read(stack, &mut bytes, "the end of a stack").ok()?;
    Some(bytes.chunks_exact(4).any(|word| little_endian(word) == STACK_END_MAGIC))
}

/// A mapping with its name.
fn vma(area: &Area, files: &mut Files<'_>, names: &Names<'_>, image: Option<Gva>) -> Vma {
    let file = (area.file != 0).then(|| files.at(Gva(area.file)));
    let name = match &file {
        Some(file) => names.of_shared(area).unwrap_or_else(|| file.path.clone()),
        None if area.is_guess => String::new(),
        None => names.of_area(area),
    };
    let is_of_kernel = || {
        let devices = VmaFlags::PFN_MAP.0 | VmaFlags::IO.0;
        area.flags.0 & devices != 0 || name.starts_with("[v")
    };
    let backing = match area.operations {
        _ if area.is_guess => Backing::Unknown,
        // `vma_is_anonymous`: also private mappings of /dev/zero.
        Some(0) => Backing::Anonymous,
        _ if is_of_kernel() => Backing::Kernel,
        _ if file.is_some() => Backing::File,
        Some(_) => Backing::Kernel,
        None => Backing::Anonymous,
    };
    Vma {
        start: Gva(area.start),
        end: Gva(area.end),
        flags: area.flags,
        offset_bytes: area.offset_bytes(names.shows_offsets()),
        image: image.filter(|_| name == "[vdso]"),
        file,
        backing,
        name,
    }
}
