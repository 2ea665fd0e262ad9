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
use std::path::Path;

use vmss2core_guest::LinuxFacts;
use vmss2core_guest::linux::{BetterSources, Kernel, UtsName};
use vmss2core_mem::PAGE_SIZE;

use crate::elf;
use crate::output::Output;
use crate::{DumpError, DumpFormat, Input, Monitor, Summary, WriteOptions};

mod codec;
mod filter;
mod header;
mod pack;
mod pages;
mod pipeline;
mod raw;
mod sink;
mod tables;
#[cfg(test)]
mod tests;

pub use codec::{Compression, CompressionError};
pub use filter::DumpLevel;

use filter::Kept;
use header::Head;
use pages::{Portions, page_count, page_numbers};
use sink::{Flattened, Sink};
use tables::Bitmap;

/// Choices for kdump-compressed files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KdumpOptions {
    /// How pages are stored.
    pub compression: Compression,
    /// What is left out.
    pub level: DumpLevel,
    /// The flattened form, from which `makedumpfile -R` restores the file.
    pub flatten: bool,
    /// How many threads compress; `None` for as many as there are processors.
    /// The file is the same for any number.
    pub threads: Option<NonZeroUsize>,
}

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

    fn write(
        &self,
        input: Input<'_>,
        options: &WriteOptions,
        path: &Path,
        monitor: &dyn Monitor,
    ) -> Result<Summary, DumpError> {
        let plan = Plan::new(input, options.kdump)?;
        let output = Output::create(path, options.existing, &input.checkpoint.about.provenance)?;
        let summary = if options.kdump.flatten {
            let failed = |source| output.error(source);
            let mut file = output.file();
            let flat = Flattened::new(&mut file, &failed)?;
            let summary = plan.write(&flat, monitor)?;
            flat.finish()?;
            summary
        } else {
            plan.write(&output, monitor)?
        };
        let len_bytes = output.len_bytes()?;
        output.persist()?;
        let hints = elf::kdump_hints(input, path, options.kdump.flatten);
        Ok(Summary { path: path.to_owned(), len_bytes, hints, ..summary })
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn write_stream(
        &self,
        input: Input<'_>,
        options: &WriteOptions,
        out: &mut (dyn Write + Send),
        monitor: &dyn Monitor,
    ) -> Result<Summary, DumpError> {
        let plan = Plan::new(input, options.kdump)?;
        let failed = |why: io::Error| DumpError::Stream { why };
        let flat = Flattened::new(out, &failed)?;
        let summary = plan.write(&flat, monitor)?;
        flat.finish()?;
        Ok(summary)
    }
}

/// All that is known before the first page is read.
struct Plan<'a> {
    input: Input<'a>,
    options: KdumpOptions,
    head: Head,
    kernel: Option<Kernel>,
    /// The memory that there is, in whole pages.
    ranges: Vec<Range<u64>>,
}

impl<'a> Plan<'a> {
    fn new(input: Input<'a>, options: KdumpOptions) -> Result<Self, DumpError> {
        let linux = input.facts.linux.as_ref().ok_or(DumpError::NotLinux { format: NAME })?;
        let ranges = elf::ram(input);
        let Some(last) = ranges.last() else {
            let why = "the checkpoint holds no whole page".to_owned();
            return Err(DumpError::NoMemory { why });
        };
        let max_mapnr = last.end / PAGE_SIZE;
        let kernel = Kernel::open(input.checkpoint, input.facts, BetterSources::default()).ok();
        let (notes, vmcoreinfo) = elf::linux_notes(input);
        let head = Head {
            is_64_bit: elf::is_64_bit_guest(input),
            uts: uts_name(linux, kernel.as_ref()),
            seconds: input.checkpoint.about.machine.suspended_unix.unwrap_or(0),
            cpus: u32::try_from(input.checkpoint.vcpus.len()).unwrap_or(u32::MAX),
            flags: options.compression.flag(),
            level: options.level.number(),
            phys_base: linux.phys_base.as_ref().map_or(0, |base| base.value),
            notes,
            vmcoreinfo,
            max_mapnr,
        };
        Ok(Self { input, options, head, kernel, ranges })
    }

    /// Writes everything; the summary lacks what only the caller knows.
    fn write(&self, sink: &dyn Sink, monitor: &dyn Monitor) -> Result<Summary, DumpError> {
        let memory = &self.input.checkpoint.memory;
        let pages = page_count(&self.ranges);
        let kept = Kept::of(self.options.level, self.kernel.as_ref(), &self.ranges)?;
        let places = self.head.places(kept.pages)?;
        self.write_present(sink)?;
        let mut portions = Portions::new(memory, &self.ranges, &kept);
        let work = pipeline::Work {
            memory,
            compression: self.options.compression,
            threads: self.threads(),
            total_bytes: pages.saturating_mul(PAGE_SIZE),
        };
        let written = pipeline::run(&work, &mut portions, places, sink, monitor)?;
        sink.write_at(0, &self.head.bytes(written.pages)?)?;
        let mut problems = elf::linux_problems(self.input);
        problems.extend(kept.problems);
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
