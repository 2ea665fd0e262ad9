//! Which segments a process's core has, and what is in them.

use std::ops::ControlFlow;

use vmss2core_guest::linux::{Content, Counts, Process, Run, Vma, VmaFlags};
use vmss2core_mem::{Gpa, Problem};

use crate::elf::assemble::Segment;
use crate::elf::raw::{PF_R, PF_W, PF_X};
use crate::engine::Extent;

/// A process may map the same memory several times, and page tables that were
/// tampered with map it without end.
const MAX_ALIASES: u64 = 16;
/// More pieces than any process has: a gibibyte of alternating pages makes half
/// a million.
const MAX_PIECES: usize = 4 << 20;

/// The memory of a core; offsets count from its start in the file.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) segments: Vec<Segment>,
    pub(super) extents: Vec<Extent>,
    pub(super) len_bytes: u64,
    pub(super) counts: Counts,
    pub(super) problems: Vec<Problem>,
}

impl Memory {
    /// All mappings. With `zero_fill` what the checkpoint does not have is a
    /// hole of the file, which reads as zeroes.
    pub(super) fn of(process: &Process<'_>, zero_fill: bool) -> Self {
        let guest = process.kernel().memory().len_bytes();
        let mut builder = Builder {
            memory: Self::default(),
            zero_fill,
            budget: guest.saturating_mul(MAX_ALIASES),
        };
        for vma in process.vmas() {
            let mut writer = builder.start(vma);
            if process.visit_runs(vma, &mut |run| writer.push(run)).is_break() {
                builder.memory.problems.push(Problem::incomplete(
                    "the page tables map more than any process does: only the first part is in \
                     the core",
                ));
                break;
            }
        }
        builder.memory
    }
}

struct Builder {
    memory: Memory,
    zero_fill: bool,
    /// How many more bytes of guest memory are believed.
    budget: u64,
}

impl Builder {
    fn start(&mut self, vma: &Vma) -> Writer<'_> {
        Writer { builder: self, flags: flags(vma.flags), open: None }
    }
}

/// Adds the runs of one mapping.
struct Writer<'a> {
    builder: &'a mut Builder,
    flags: u32,
    /// Whether the last segment may go on, and has bytes in the file.
    open: Option<bool>,
}

impl Writer<'_> {
    fn push(&mut self, run: Run) -> ControlFlow<()> {
        let memory = &mut self.builder.memory;
        if memory.segments.len() + memory.extents.len() > MAX_PIECES {
            return ControlFlow::Break(());
        }
        let from = match run.content {
            Content::Memory(gpa) | Content::PageCache(gpa) => Some(gpa),
            _ => None,
        };
        if from.is_some() {
            match self.builder.budget.checked_sub(run.len_bytes) {
                Some(rest) => self.builder.budget = rest,
                None => return ControlFlow::Break(()),
            }
        }
        memory.counts.count(run.content, run.len_bytes);
        let in_file =
            self.builder.zero_fill || from.is_some() || matches!(run.content, Content::Zero);
        self.segment(run, in_file);
        if in_file {
            self.fill(run.len_bytes, from);
        }
        ControlFlow::Continue(())
    }

    /// Makes the last segment longer, or a new one.
    fn segment(&mut self, run: Run, in_file: bool) {
        let memory = &mut self.builder.memory;
        let file_bytes = if in_file { run.len_bytes } else { 0 };
        match memory.segments.last_mut() {
            Some(last) if self.open == Some(in_file) => {
                last.file_bytes += file_bytes;
                last.memory_bytes += run.len_bytes;
            }
            _ => memory.segments.push(Segment {
                vaddr: run.gva.0,
                paddr: 0,
                offset: memory.len_bytes,
                file_bytes,
                memory_bytes: run.len_bytes,
                flags: self.flags,
            }),
        }
        self.open = Some(in_file);
    }

    fn fill(&mut self, len_bytes: u64, from: Option<Gpa>) {
        let memory = &mut self.builder.memory;
        let offset = memory.len_bytes;
        memory.len_bytes = offset.saturating_add(len_bytes);
        let Some(gpa) = from else { return };
        match memory.extents.last_mut() {
            Some(last)
                if last.offset + last.len_bytes == offset
                    && last.gpa.checked_add(last.len_bytes) == Some(gpa) =>
            {
                last.len_bytes += len_bytes;
            }
            _ => memory.extents.push(Extent { offset, gpa, len_bytes }),
        }
    }
}

fn flags(flags: VmaFlags) -> u32 {
    let bit = |has, bit| if flags.contains(has) { bit } else { 0 };
    bit(VmaFlags::READ, PF_R) | bit(VmaFlags::WRITE, PF_W) | bit(VmaFlags::EXECUTE, PF_X)
}
