//! kdump-compressed files: each page compressed by itself, found through a
//! bitmap and a table, with the notes of an ELF vmcore in front. crash, drgn,
//! libkdumpfile and makedumpfile open them.
//!
//! `[header][sub header, notes][bitmap of existing pages][bitmap of stored
//! pages][descriptors][page of zeroes][pages]`, each part on a block of its own.
//! All pages of zeroes share one.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::Range;

use vmss2core_guest::LinuxFacts;
use vmss2core_guest::linux::{BetterSources, Kernel, UtsName};
use vmss2core_mem::PAGE_SIZE;

use crate::elf_core::{vmcore_notes, vmcore_problems};
use crate::output::Output;
use crate::views::{is_64_bit_guest, ram};
use crate::{
    Choice, ChoiceError, Chosen, DumpError, DumpFormat, Job, StreamFormat, Summary, not_linux,
};

mod choices;
mod codec;
mod filter;
mod header;
mod hints;
mod pack;
mod pages;
mod pipeline;
mod sink;
mod tables;
#[cfg(test)]
mod tests;

use choices::KdumpOptions;
use filter::Kept;
use header::Head;
use pages::{Portions, page_count, page_numbers};
use sink::{Flattened, Sink};
use tables::Bitmap;

/// kdump-compressed file.
pub(crate) struct KdumpCore;

const NAME: &str = "kdump";

impl DumpFormat for KdumpCore {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "compressed kdump for crash, drgn and makedumpfile (Linux guests)"
    }

    fn choices(&self) -> &'static [&'static Choice] {
        choices::ALL
    }

    fn check(&self, chosen: &Chosen) -> Result<(), ChoiceError> {
        KdumpOptions::of(chosen).map(drop)
    }

    fn write(&self, job: &Job<'_>) -> Result<Summary, DumpError> {
        let plan = Plan::new(job)?;
        let output = Output::create(job.path, job.existing, &job.checkpoint.about.provenance)?;
        let summary = if plan.options.flatten {
            plan.write_flat(&mut output.file(), &|source| output.error(source))?
        } else {
            plan.write(&output)?
        };
        let len_bytes = output.len_bytes()?;
        output.persist()?;
        let hints = hints::lines(job, plan.options.flatten);
        Ok(Summary { path: job.path.to_owned(), len_bytes, hints, ..summary })
    }

    fn stream(&self) -> Option<&dyn StreamFormat> {
        Some(self)
    }
}

impl StreamFormat for KdumpCore {
    fn write(&self, job: &Job<'_>, out: &mut (dyn Write + Send)) -> Result<Summary, DumpError> {
        Plan::new(job)?.write_flat(out, &|why| DumpError::Stream { why })
    }
}

/// All that is known before the first page is read.
struct Plan<'a> {
    job: &'a Job<'a>,
    options: KdumpOptions,
    head: Head,
    /// The memory that there is, in whole pages.
    ranges: Vec<Range<u64>>,
    kept: Kept,
}

impl<'a> Plan<'a> {
    fn new(job: &'a Job<'a>) -> Result<Self, DumpError> {
        let options = KdumpOptions::of(job.chosen)?;
        let linux = job.facts.linux().ok_or_else(|| not_linux(NAME, job))?;
        let ranges = ram(job);
        let Some(last) = ranges.last() else {
            let why = "the checkpoint holds no whole page".to_owned();
            return Err(DumpError::NoMemory { why });
        };
        let max_mapnr = last.end / PAGE_SIZE;
        let kernel = Kernel::open(job.checkpoint, job.facts, BetterSources::default()).ok();
        let kept = Kept::of(options.level, kernel.as_ref(), &ranges)?;
        let (notes, vmcoreinfo) = vmcore_notes(job);
        let head = Head {
            is_64_bit: is_64_bit_guest(job),
            uts: uts_name(linux, kernel.as_ref()),
            seconds: job.checkpoint.about.machine.suspended_unix.unwrap_or(0),
            cpus: u32::try_from(job.checkpoint.vcpus.len()).unwrap_or(u32::MAX),
            flags: options.compression.flag(),
            level: kept.level.number(),
            phys_base: linux.phys_base.as_ref().map_or(0, |base| base.value),
            notes,
            vmcoreinfo,
            max_mapnr,
        };
        Ok(Self { job, options, head, ranges, kept })
    }

    /// The flattened form.
    fn write_flat(
        &self,
        out: &mut (dyn Write + Send),
        failed: &(dyn Fn(io::Error) -> DumpError + Sync),
    ) -> Result<Summary, DumpError> {
        let flat = Flattened::new(out, failed)?;
        let summary = self.write(&flat)?;
        flat.finish()?;
        Ok(summary)
    }

    /// Writes everything; the summary lacks what only the caller knows.
    fn write(&self, sink: &dyn Sink) -> Result<Summary, DumpError> {
        let memory = &self.job.checkpoint.memory;
        let pages = page_count(&self.ranges);
        let places = self.head.places(self.kept.pages)?;
        self.write_present(sink)?;
        let mut portions = Portions::new(memory, &self.ranges, &self.kept);
        let work = pipeline::Work {
            memory,
            compression: self.options.compression,
            threads: self.threads(),
            total_bytes: pages.saturating_mul(PAGE_SIZE),
        };
        let written = pipeline::run(&work, &mut portions, places, sink, self.job.observer)?;
        sink.write_at(0, &self.head.bytes(written.pages)?)?;
        let mut problems = vmcore_problems(self.job);
        problems.extend(self.kept.problems.iter().cloned());
        Ok(Summary {
            len_bytes: written.len_bytes,
            memory_bytes: written.pages.saturating_mul(PAGE_SIZE),
            problems,
            ..Summary::default()
        })
    }

    /// The bitmap of all memory that there is.
    fn write_present(&self, sink: &dyn Sink) -> Result<(), DumpError> {
        let mut bitmap = Bitmap::new(self.head.present_bitmap());
        for pfns in page_numbers(&self.ranges) {
            bitmap.set(pfns, sink)?;
        }
        bitmap.flush(sink)
    }

    fn threads(&self) -> NonZeroUsize {
        let all = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.options.threads.unwrap_or_else(all)
    }
}

/// The names of the system. libkdumpfile tells the processor by them and
/// refuses a file in which one is empty.
fn uts_name(linux: &LinuxFacts, kernel: Option<&Kernel>) -> UtsName {
    let known = kernel.and_then(|kernel| kernel.uts_name().ok());
    known.map_or_else(|| UtsName::of_banner(linux), |found| found.value)
}
