//! Pages whose use is known without a look at any `struct page`: what page tables and tasks
//! lead to.

use std::collections::HashSet;
use std::ops::ControlFlow;

use vmss2core_mem::{Gva, PAGE_SIZE};

use crate::linux::process::{Backing, Content, Vma, VmaFlags};
use crate::linux::{Kernel, MappedPage, Process, Task};

/// Processes that are looked at, and pages of one kind of each and of all.
const MOST_PROCESSES: usize = 64;
const MOST_OF_ONE: usize = 512;
const MOST: usize = 8192;
/// Frames of processes that are remembered where pages do not tell; more count as the kernel's.
const MOST_FRAMES: usize = 1 << 22;

/// Frames by their use.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Pages of files' code that processes map.
    pub(super) cached: Vec<MappedPage>,
    /// Memory of processes that is no file's.
    pub(super) anonymous: Vec<u64>,
    /// Memory of the kernel: its code, topmost page tables, tasks, stacks, and
    /// structures of processes and files.
    pub(super) kernel: Vec<u64>,
}

impl Evidence {
    /// Looks at the youngest processes.
    pub(super) fn of(kernel: &Kernel) -> Self {
        let mut found = Self::default();
        let tasks = kernel.tasks().map(|tasks| tasks.tasks).unwrap_or_default();
        for task in tasks.iter().take(MOST) {
            found.add_structures(kernel, [Some(task.gva), task.stack, task.mm]);
        }
        if let Some(text) = &kernel.linux().text {
            found.kernel.push(text.value.gpa.pfn().0);
        }
        for task in youngest(&tasks).take(MOST_PROCESSES) {
            if let Ok(process) = Process::of(kernel, task) {
                found.add_process(&process);
            }
        }
        for frames in [&mut found.anonymous, &mut found.kernel] {
            frames.sort_unstable();
            frames.dedup();
        }
        found.cached.sort_unstable();
        found.cached.dedup();
        found
    }

    /// Frames of all of it.
    pub(super) fn frames(&self) -> impl Iterator<Item = u64> {
        let cached = self.cached.iter().map(|page| page.frame);
        cached.chain(self.anonymous.iter().copied()).chain(self.kernel.iter().copied())
    }

    fn add_structures(&mut self, kernel: &Kernel, at: impl IntoIterator<Item = Option<Gva>>) {
        let frame = |gva: Gva| Some(kernel.space().translate(gva).ok()?.gpa.pfn().0);
        self.kernel.extend(at.into_iter().flatten().filter_map(frame));
    }

    fn add_process(&mut self, process: &Process) {
        self.kernel.push(process.space().root().0.pfn().0);
        let (cached, anonymous) = (self.cached.len(), self.anonymous.len());
        let files: Vec<Option<Gva>> = process
            .vmas()
            .iter()
            .filter_map(|vma| vma.file.as_ref())
            .flat_map(|file| [Some(file.gva), file.mapping])
            .collect();
        self.add_structures(process.kernel(), files);
        for vma in process.vmas() {
            let is_full = |all: usize, before: usize| {
                all >= MOST || all.saturating_sub(before) >= MOST_OF_ONE
            };
            match use_of(vma) {
                Some(Use::Code(mapping)) if !is_full(self.cached.len(), cached) => {
                    let first = vma.offset_bytes / PAGE_SIZE;
                    visit_frames(process, vma, &mut |page, frame| {
                        let index = first.saturating_add(page);
                        self.cached.push(MappedPage { mapping: mapping.0, index, frame });
                        !is_full(self.cached.len(), cached)
                    });
                }
                Some(Use::Anonymous) if !is_full(self.anonymous.len(), anonymous) => {
                    visit_frames(process, vma, &mut |_, frame| {
                        self.anonymous.push(frame);
                        !is_full(self.anonymous.len(), anonymous)
                    });
                }
                _ => {}
            }
        }
    }
}

/// The last task of each process that has memory.
fn youngest(tasks: &[Task]) -> impl Iterator<Item = &Task> {
    let mut known = HashSet::new();
    let with_memory = tasks.iter().rev().filter(|task| !task.is_kernel_thread);
    with_memory.filter(move |task| task.mm.is_some_and(|mm| known.insert(mm)))
}

/// Frames of all memory of processes that is no file's, but for the page of zeroes, which
/// lies in the kernel's image; `None` if that is not known.
pub(super) fn frames_of_processes(kernel: &Kernel) -> Option<HashSet<u64>> {
    let (text, bounds) = (&kernel.linux().text.as_ref()?.value, &kernel.bounds()?.value);
    let first = text.gpa.pfn().0;
    let len = bounds.end.0.checked_sub(text.start.0)?;
    let image = first..first.checked_add(len.div_ceil(PAGE_SIZE))?;
    let mut found = HashSet::new();
    let tasks = kernel.tasks().ok()?.tasks;
    for process in youngest(&tasks).filter_map(|task| Process::of(kernel, task).ok()) {
        let areas = process.vmas().iter().filter(|vma| matches!(use_of(vma), Some(Use::Anonymous)));
        for vma in areas {
            visit_frames(&process, vma, &mut |_, frame| {
                if !image.contains(&frame) {
                    found.insert(frame);
                }
                found.len() < MOST_FRAMES
            });
        }
    }
    Some(found)
}

enum Use {
    /// Of the file with this `address_space`; nobody has private copies.
    Code(Gva),
    Anonymous,
}

fn use_of(vma: &Vma) -> Option<Use> {
    let has = |flag| vma.flags.contains(flag);
    if has(VmaFlags::PFN_MAP) || has(VmaFlags::IO) {
        return None;
    }
    match &vma.file {
        Some(file) if has(VmaFlags::EXECUTE) && !has(VmaFlags::WRITE) => {
            file.mapping.map(Use::Code)
        }
        None if has(VmaFlags::WRITE) && vma.backing == Backing::Anonymous => Some(Use::Anonymous),
        _ => None,
    }
}

/// Shows which frames a mapping has, each with the page of the mapping that it is, for as
/// long as more are wanted.
fn visit_frames(process: &Process, vma: &Vma, visit: &mut dyn FnMut(u64, u64) -> bool) {
    let _ = process.visit_runs(vma, &mut |run| {
        let Content::Memory(gpa) = run.content else { return ControlFlow::Continue(()) };
        let first = run.gva.0.saturating_sub(vma.start.0) / PAGE_SIZE;
        for page in 0..run.len_bytes / PAGE_SIZE {
            if !visit(first.saturating_add(page), gpa.pfn().0.saturating_add(page)) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    });
}
