//! The core of one process, as its own kernel would have written it
//! (`fs/binfmt_elf.c`, `elf_core_dump`), with more in it: pages that the process
//! had not touched yet come from the guest's page cache.
//!
//! Memory that the checkpoint does not have is marked, never filled with zeroes: its
//! segments have a size in memory and none in the file, so that debuggers refuse
//! to read there or take the bytes from the program's file.

mod hints;
mod memory;
mod notes;
#[cfg(test)]
mod tests;

use std::path::Path;

use vmss2core_guest::Facts;
use vmss2core_guest::linux::{
    Counts, Kernel, Process, RegisterFinder, Task, ThreadRegisters, living_threads,
};
use vmss2core_mem::{Problem, Setting};

use crate::elf_core::{Class, Kind, Machine, assemble_segments};
use crate::views::{Made, MadePages, architecture};
use crate::{Chosen, DumpError, Existing, Job, Observer, Summary, engine};
use memory::Memory;

/// gdb reads the table of segments one by one, and every access goes through it.
const MANY_SEGMENTS: usize = 100_000;

/// [`ProcessOptions::zero_fill`], in messages.
const ZERO_FILL: Setting = Setting::named("zero-fill");

/// Choices of a user about the core of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessOptions {
    /// Treatment of an existing file.
    pub existing: Existing,
    /// Write zeroes for what the checkpoint does not have, as Linux itself does.
    pub zero_fill: bool,
}

/// A thread, with its registers if they were found.
#[derive(Clone, Debug)]
pub struct Thread {
    /// The thread.
    pub task: Task,
    /// Its registers.
    pub registers: Option<ThreadRegisters>,
}

/// A process with all that goes into its core.
#[derive(Debug)]
pub struct ProcessCore<'p> {
    process: &'p Process,
    threads: Vec<Thread>,
    info: notes::Info,
    problems: Vec<Problem>,
}

/// Summary of the core of a process.
#[derive(Clone, Debug, Default)]
pub struct ProcessSummary {
    /// The file, its problems and how to open it.
    pub summary: Summary,
    /// How many bytes of the process are where.
    pub counts: Counts,
    /// How many segments have bytes in the file, and how many are only marked.
    pub segments: (usize, usize),
}

impl<'p> ProcessCore<'p> {
    /// Gathers what is known of a process. `tasks` are all of the guest's; the
    /// thread that the process was asked for by comes first, which is where
    /// debuggers start. Threads that have ended are not in it, as in Linux's own cores.
    pub fn new(
        kernel: &Kernel,
        process: &'p Process,
        tasks: &[Task],
        finder: &RegisterFinder,
    ) -> Self {
        let first = process.task();
        let others = living_threads(tasks, first.pid).filter(|task| task.tid != first.tid);
        let mut problems = process.problems().to_vec();
        let threads = std::iter::once(first)
            .chain(others)
            .map(|task| Thread {
                task: task.clone(),
                registers: registers(finder, task, &mut problems),
            })
            .collect();
        let info = notes::Info::of(kernel, process);
        Self { process, threads, info, problems }
    }

    /// Its threads, in the order of the file.
    pub fn threads(&self) -> &[Thread] {
        &self.threads
    }

    /// Writes the file.
    pub fn write(
        &self,
        options: ProcessOptions,
        path: &Path,
        observer: &dyn Observer,
    ) -> Result<ProcessSummary, DumpError> {
        let kernel = self.process.kernel();
        let facts = &Facts::default();
        let job = Job {
            checkpoint: kernel.checkpoint(),
            facts: &facts,
            path,
            existing: options.existing,
            chosen: Chosen::NOTHING,
            observer,
        };
        let mut memory = Memory::of(self.process, options.zero_fill);
        let machine = self.machine();
        let class = if machine.is_64_bit { Class::Elf64 } else { Class::Elf32 };
        let notes = notes::all(self, machine);
        let kind = Kind { machine, load_align: 0x1000 };
        let layout = assemble_segments(
            kind,
            class,
            &notes,
            &memory.segments,
            std::mem::take(&mut memory.extents),
            memory.len_bytes,
        )?;
        let shift = layout.len_bytes.saturating_sub(memory.len_bytes);
        let made: Vec<Made> = memory
            .made
            .iter()
            .map(|made| Made { offset: made.offset.saturating_add(shift), ..*made })
            .collect();
        let made = MadePages { kernel, made: &made };
        engine::write_with(&layout, &made, &job)?;
        let mut problems = self.problems.clone();
        problems.extend(memory.problems);
        problems.extend(many_segments(memory.segments.len()));
        let filled = memory.segments.iter().filter(|segment| segment.file_bytes != 0).count();
        Ok(ProcessSummary {
            summary: Summary {
                path: path.to_owned(),
                len_bytes: layout.len_bytes,
                memory_bytes: layout.memory_bytes(),
                problems,
                hints: hints::lines(self.process, path),
            },
            counts: memory.counts,
            segments: (filled, memory.segments.len().saturating_sub(filled)),
        })
    }

    fn machine(&self) -> Machine {
        let arch = architecture(self.process.kernel().checkpoint());
        Machine { arch, is_64_bit: !self.process.is_32_bit() }
    }
}

/// Registers that cannot be found leave the thread out of the core: debuggers
/// would take zeroes for its state.
fn registers(
    finder: &RegisterFinder,
    task: &Task,
    problems: &mut Vec<Problem>,
) -> Option<ThreadRegisters> {
    match finder.registers(task) {
        Ok(found) => {
            problems.extend(found.problems.iter().cloned());
            Some(found)
        }
        Err(error) => {
            let why = std::error::Error::source(&error).map(|why| format!(": {why}"));
            problems.push(Problem::incomplete(format!(
                "thread {} ({}) is not in the core: {error}{}",
                task.tid,
                task.comm,
                why.unwrap_or_default()
            )));
            None
        }
    }
}

fn many_segments(count: usize) -> Option<Problem> {
    (count > MANY_SEGMENTS).then(|| {
        Problem::warning(format!(
            "the core has many segments, gdb will be slow: {count}; {ZERO_FILL} makes fewer"
        ))
    })
}
