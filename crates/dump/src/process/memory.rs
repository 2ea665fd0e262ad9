//! Which segments a process's core has, and what is in them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use vmss2core_guest::linux::{Content, Counts, Missing, Process, Run, VmaFlags};
use vmss2core_mem::{Gpa, Problem};

use crate::elf_core::Segment;
use crate::engine::Extent;
use crate::views::Made;
use vmss2core_formats::elf::{PF_R, PF_W, PF_X};

/// A process may map the same memory several times, and page tables that were
/// tampered with map it without end.
const MAX_ALIASES: u64 = 16;
/// More pieces than any process has: a gibibyte of alternating pages makes half
/// a million.
const MAX_PIECES: usize = 4 << 20;
/// Longest file of zeroes that is made: ext4 has files of up to 16 TiB, and some
/// programs reserve as much. 32-bit files have 32-bit offsets, and headers.
const MAX_FILE_BYTES: u64 = 8 << 40;
const MAX_FILE_BYTES_32: u64 = (4 << 30) - (64 << 20);

/// The memory of a core; offsets count from its start in the file.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) segments: Vec<Segment>,
    pub(super) extents: Vec<Extent>,
    /// Parts that are made of compressed pages.
    pub(super) made: Vec<Made>,
    pub(super) len_bytes: u64,
    pub(super) counts: Counts,
    pub(super) problems: Vec<Problem>,
}

impl Memory {
    /// All mappings. With `zero_fill` what the checkpoint does not have is a
    /// hole of the file, which reads as zeroes.
    pub(super) fn of(process: &Process, zero_fill: bool) -> Self {
        let guest = process.kernel().memory().len_bytes();
        let mut builder = Builder::new(zero_fill, guest, process.is_32_bit());
        for vma in process.vmas() {
            let mut writer = builder.start(vma.flags);
            if process.visit_runs(vma, &mut |run| writer.push(run)).is_break() {
                builder.memory.problems.push(Problem::incomplete(
                    "the page tables map more than any process does: only the first part is in \
                     the core",
                ));
                break;
            }
        }
        builder.finish(&|area| process.kernel().swap_place(area))
    }
}

pub(super) struct Builder {
    memory: Memory,
    zero_fill: bool,
    /// How many more bytes of guest memory are believed.
    budget: u64,
    max_file_bytes: u64,
    /// Zeroes for which the file has no room.
    left_out: u64,
    /// Bytes that a user should know to be missing, or to be only in a file.
    swapped: BTreeMap<u8, u64>,
    lost: BTreeMap<Missing, u64>,
}

/// Says what is missing; bytes in a file, or never in memory, are not lost.
fn missing(why: Missing, fate: &str, size: &str) -> Problem {
    match why {
        Missing::NotCached => Problem::note(format!(
            "not in the guest's page cache, only in its files, and {fate}: {size}"
        )),
        Missing::NotMapped => Problem::note(format!("{why}, and {fate}: {size}")),
        _ => Problem::incomplete(format!("{why}, and {fate}: {size}")),
    }
}

impl Builder {
    pub(super) fn new(zero_fill: bool, guest_bytes: u64, is_32_bit: bool) -> Self {
        Self {
            memory: Memory::default(),
            zero_fill,
            budget: guest_bytes.saturating_mul(MAX_ALIASES),
            max_file_bytes: if is_32_bit { MAX_FILE_BYTES_32 } else { MAX_FILE_BYTES },
            left_out: 0,
            swapped: BTreeMap::new(),
            lost: BTreeMap::new(),
        }
    }

    /// Begins a mapping.
    pub(super) fn start(&mut self, flags: VmaFlags) -> Writer<'_> {
        Writer { builder: self, flags, open: None }
    }

    /// Ends it; `swap_place` says what a swap area is.
    pub(super) fn finish(self, swap_place: &dyn Fn(u8) -> Option<String>) -> Memory {
        let fate = if self.zero_fill { "zeroes in the core" } else { "marked as unavailable" };
        let mut memory = self.memory;
        let mut say = |bytes: u64, problem: &dyn Fn(String) -> Problem| {
            if bytes != 0 {
                memory.problems.push(problem(format!("{} KiB", bytes >> 10)));
            }
        };
        for (area, bytes) in &self.swapped {
            let to = swap_place(*area).map(|place| format!(" to {place}")).unwrap_or_default();
            say(*bytes, &|size| {
                Problem::incomplete(format!("swapped out{to}, and {fate}: {size}"))
            });
        }
        for (why, bytes) in &self.lost {
            say(*bytes, &|size| missing(*why, fate, &size));
        }
        say(self.left_out, &|size| {
            Problem::warning(format!(
                "never touched by the process, and marked as unavailable to keep the file within \
                 limits: {size} of zeroes"
            ))
        });
        memory
    }

    /// Keeps books on what is not available.
    fn miss(&mut self, run: Run, flags: VmaFlags) {
        let is_device = flags.0 & (VmaFlags::IO.0 | VmaFlags::PFN_MAP.0) != 0;
        let counter = match run.content {
            Content::Missing(Missing::BehindTheFile) => return,
            Content::Missing(Missing::NotCached) => {
                self.lost.entry(Missing::NotCached).or_default()
            }
            Content::Missing(_) if is_device => return,
            Content::Missing(why) => self.lost.entry(why).or_default(),
            Content::Swapped { area, .. } => self.swapped.entry(area).or_default(),
            _ => return,
        };
        *counter = counter.saturating_add(run.len_bytes);
    }

    /// Whether zeroes go into the file. Linux too leaves out what a process has
    /// reserved, never touched and cannot read.
    fn has_room(&mut self, len_bytes: u64, flags: VmaFlags) -> bool {
        const ACCESS: u64 = VmaFlags::READ.0 | VmaFlags::WRITE.0 | VmaFlags::EXECUTE.0;
        if flags.0 & ACCESS == 0 {
            return false;
        }
        let end = self.memory.len_bytes.checked_add(len_bytes);
        let fits = end.is_some_and(|end| end <= self.max_file_bytes);
        if !fits {
            self.left_out = self.left_out.saturating_add(len_bytes);
        }
        fits
    }
}

/// Adds the runs of one mapping.
pub(super) struct Writer<'a> {
    builder: &'a mut Builder,
    flags: VmaFlags,
    /// Whether the last segment may go on, and has bytes in the file.
    open: Option<bool>,
}

impl Writer<'_> {
    /// Adds a run; breaks off when there is more than any process has.
    pub(super) fn push(&mut self, run: Run) -> ControlFlow<()> {
        let memory = &mut self.builder.memory;
        let pieces = [memory.segments.len(), memory.extents.len(), memory.made.len()];
        let pieces = pieces.into_iter().fold(0, usize::saturating_add);
        if pieces > MAX_PIECES {
            return ControlFlow::Break(());
        }
        let from = match run.content {
            Content::Memory(gpa) | Content::PageCache(gpa) => Some(gpa),
            _ => None,
        };
        let is_made = matches!(run.content, Content::Compressed { .. });
        if from.is_some() || is_made {
            match self.builder.budget.checked_sub(run.len_bytes) {
                Some(rest) => self.builder.budget = rest,
                None => return ControlFlow::Break(()),
            }
        }
        memory.counts.count(run.content, run.len_bytes);
        self.builder.miss(run, self.flags);
        if is_made {
            let (offset, len_bytes) = (self.builder.memory.len_bytes, run.len_bytes);
            self.builder.memory.made.push(Made { offset, content: run.content, len_bytes });
        }
        let in_file = match from {
            Some(_) => true,
            None if is_made => true,
            None if run.content == Content::Zero || self.builder.zero_fill => {
                self.builder.has_room(run.len_bytes, self.flags)
            }
            None => false,
        };
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
                last.file_bytes = last.file_bytes.saturating_add(file_bytes);
                last.memory_bytes = last.memory_bytes.saturating_add(run.len_bytes);
            }
            _ => memory.segments.push(Segment {
                vaddr: run.gva.0,
                paddr: 0,
                offset: memory.len_bytes,
                file_bytes,
                memory_bytes: run.len_bytes,
                flags: flags(self.flags),
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
                if last.offset.saturating_add(last.len_bytes) == offset
                    && last.gpa.checked_add(last.len_bytes) == Some(gpa) =>
            {
                last.len_bytes = last.len_bytes.saturating_add(len_bytes);
            }
            _ => memory.extents.push(Extent { offset, gpa, len_bytes }),
        }
    }
}

fn flags(flags: VmaFlags) -> u32 {
    let bit = |has, bit| if flags.contains(has) { bit } else { 0 };
    bit(VmaFlags::READ, PF_R) | bit(VmaFlags::WRITE, PF_W) | bit(VmaFlags::EXECUTE, PF_X)
}
