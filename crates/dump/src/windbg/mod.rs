//! Windows crash dumps (`memory.dmp`) as WinDbg and kd open them.
//!
//! A header, then all memory: run after run (type 1), or the pages that a bitmap
//! says (type 5). Over the memory lies what a debugger needs and a running
//! Windows does not have: its data block decoded, and registers of every
//! processor. The rest is the guest's, byte for byte.

use std::ops::Range;
use std::path::Path;

use vmss2core_formats::dmp::{Header32, Header64};
use vmss2core_guest::windows::{self, Completeness, WindowsFacts};
use vmss2core_machine::Checkpoint;
use vmss2core_machine::paging::AddressSpace;
use vmss2core_mem::text::shell_path;
use vmss2core_mem::{Gpa, Problem};

use self::choices::{BUILD, MemoryRuns, WindbgOptions};
use self::cpus::{Cpus, Guest};
use self::header::Head;
use self::patch::{Part, Patch};
use self::runs::Memory;
use crate::engine::{Extent, FileLayout, Literal, write_early};
use crate::views::{page_ranges, runs_64_bit};
use crate::{Choice, DumpError, DumpFormat, Job, Summary};

mod arch;
mod choices;
mod cpus;
mod header;
mod kdbg;
mod patch;
mod runs;
mod sparse;
#[cfg(test)]
mod tests;
mod verify;

/// How memory lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Run after run.
    Full,
    /// The pages that a bitmap says.
    Bitmap,
}

/// Dump of type 1 where it can list all runs, else of type 5.
pub(crate) struct WindowsDump;

/// Dump of type 5.
pub(crate) struct WindowsBitmapDump;

impl DumpFormat for WindowsDump {
    fn name(&self) -> &'static str {
        "windbg"
    }

    fn about(&self) -> &'static str {
        "memory.dmp of a Windows guest, for WinDbg and kd"
    }

    fn choices(&self) -> &'static [&'static Choice] {
        choices::ALL
    }

    fn write(&self, job: &Job<'_>) -> Result<Summary, DumpError> {
        Writer::new(self.name(), Form::Full, job).write()
    }
}

impl DumpFormat for WindowsBitmapDump {
    fn name(&self) -> &'static str {
        "windbg-bitmap"
    }

    fn about(&self) -> &'static str {
        "the same with a bitmap of its pages, for debuggers of Windows 8 and later"
    }

    fn choices(&self) -> &'static [&'static Choice] {
        choices::ALL
    }

    fn write(&self, job: &Job<'_>) -> Result<Summary, DumpError> {
        Writer::new(self.name(), Form::Bitmap, job).write()
    }
}

/// Bytes of the header.
fn header_len(is_64_bit: bool) -> u64 {
    if is_64_bit { size_of::<Header64>() as u64 } else { size_of::<Header32>() as u64 }
}

#[derive(Clone, Copy)]
struct Writer<'a> {
    format: &'static str,
    /// Unless the dump has to be a bitmap.
    form: Form,
    job: &'a Job<'a>,
    options: WindbgOptions,
}

/// Report about a dump, and what to look for in it.
#[derive(Default)]
struct Report {
    patches: Vec<Patch>,
    problems: Vec<Problem>,
}

impl<'a> Writer<'a> {
    fn new(format: &'static str, form: Form, job: &'a Job<'a>) -> Self {
        Self { format, form, job, options: WindbgOptions::of(job.chosen) }
    }

    fn write(self) -> Result<Summary, DumpError> {
        let path = self.job.path;
        let mut report = Report::default();
        let layout = || {
            let (layout, of_dump) = self.plan()?;
            report = of_dump;
            Ok(layout)
        };
        let layout = write_early(&self.expected(), layout, self.job)?;
        let windows = self.windows()?;
        report.problems.extend(verify::problems(path, windows, &report.patches));
        Ok(Summary {
            path: path.to_owned(),
            len_bytes: layout.len_bytes,
            memory_bytes: layout.memory_bytes(),
            problems: report.problems,
            hints: hints(windows, path),
        })
    }

    fn checkpoint(self) -> &'a Checkpoint {
        self.job.checkpoint
    }

    /// Facts about Windows, if they are enough for a dump.
    fn windows(self) -> Result<&'a WindowsFacts, DumpError> {
        let format = self.format;
        let why = match self.job.facts.windows() {
            Some(windows) if windows.completeness != Completeness::PageTablesOnly => {
                return Ok(windows);
            }
            Some(_) => "page tables of Windows were found, but not its kernel",
            None => "no Windows kernel was found in the guest",
        };
        Err(DumpError::NotWindows { format, why })
    }

    /// Where memory is going to lie if the guest is what its registers say.
    fn expected(self) -> Vec<Extent> {
        let choices = self.options;
        if choices.sparse || choices.runs == MemoryRuns::Guest {
            return Vec::new();
        }
        let is_64_bit = runs_64_bit(self.checkpoint());
        let runs = page_ranges(&self.checkpoint().memory);
        let memory = Memory::of(&runs, self.form_for(&runs, is_64_bit), is_64_bit);
        memory.map_or_else(|_| Vec::new(), |memory| memory.extents)
    }

    fn form_for(self, runs: &[Range<u64>], is_64_bit: bool) -> Form {
        let must_be_bitmap = self.options.sparse || !runs::fits(runs.len(), is_64_bit);
        if must_be_bitmap { Form::Bitmap } else { self.form }
    }

    fn plan(self) -> Result<(FileLayout, Report), DumpError> {
        let facts = self.windows()?;
        let (mode, root) = facts.kernel_root.value;
        let space = AddressSpace::new(&self.checkpoint().memory, mode, root);
        let is_live = self.options.live_context;
        let guest = Guest { checkpoint: self.checkpoint(), facts, space: space.clone(), is_live };
        let cpus = cpus::cpus(&guest);
        let mut problems = problems(facts, &self.options);
        problems.extend(cpus.problems.iter().cloned());
        let patches = self.patches(facts, &cpus);
        let placed = place(patches, &space, &mut problems);
        let runs = self.runs(facts, &space, &placed, &mut problems)?;
        let form = self.form_for(&runs, facts.is_64_bit);
        if form != self.form && !self.options.sparse {
            problems.push(Problem::note(format!(
                "memory lies in {} ranges, more than a full dump can list: written with a \
                 bitmap of its pages, which debuggers older than Windows 8 do not open",
                runs.len()
            )));
        }
        let memory = Memory::of(&runs, form, facts.is_64_bit)?;
        let (overlay, patches) = overlay(placed, &memory, &mut problems);
        let head = Head {
            facts,
            options: &self.options,
            form,
            memory: &memory,
            context: cpus.chosen.as_ref(),
            vcpus: self.checkpoint().vcpus.len(),
            comment: self.comment(facts, patches.len()),
        };
        let mut literals = vec![Literal { offset: 0, bytes: head.bytes()? }];
        if form == Form::Bitmap {
            literals.extend(runs::bitmap(&runs, &memory, facts.is_64_bit)?);
        }
        let layout = FileLayout {
            literals,
            len_bytes: memory.end,
            extents: memory.extents,
            overlay,
            ..FileLayout::default()
        };
        Ok((layout, Report { patches, problems }))
    }

    fn patches(self, facts: &WindowsFacts, cpus: &Cpus) -> Vec<Patch> {
        if self.options.no_patch {
            return Vec::new();
        }
        let kdbg = facts.kdbg.as_ref().map(|kdbg| kdbg::patches(&kdbg.value)).unwrap_or_default();
        kdbg.into_iter().chain(cpus.patches.iter().cloned()).collect()
    }

    /// Runs of whole pages in ascending order.
    fn runs(
        self,
        facts: &WindowsFacts,
        space: &AddressSpace,
        placed: &[(Patch, Vec<Part>)],
        problems: &mut Vec<Problem>,
    ) -> Result<Vec<Range<u64>>, DumpError> {
        let mut runs = page_ranges(&self.checkpoint().memory);
        if self.options.runs == MemoryRuns::Guest {
            match windows::physical_runs(space, facts) {
                Some(of_guest) => runs = runs::intersection(&runs, &of_guest),
                None => problems.push(Problem::warning(
                    "Windows' own list of its memory could not be read: all memory was written",
                )),
            }
        }
        if self.options.sparse {
            let parts = placed.iter().flat_map(|(_, parts)| parts);
            let keep: Vec<Gpa> = parts.map(|part| part.gpa).collect();
            runs = sparse::nonzero(self.job, &runs, &keep)?;
        }
        if runs.is_empty() {
            let why = "the checkpoint holds no whole page of it".to_owned();
            return Err(DumpError::NoMemory { why });
        }
        Ok(runs)
    }

    /// A comment: what it is, and which parts are not the guest's own.
    fn comment(self, facts: &WindowsFacts, patches: usize) -> String {
        let is_crashed = facts.bugcheck.is_some();
        let state = if is_crashed { "crashed" } else { "live snapshot, no bugcheck" };
        let files = &self.checkpoint().about.provenance.files;
        let name = files.first().and_then(|file| file.path.file_name());
        let name = name.map_or_else(|| "memory".into(), |name| name.to_string_lossy());
        let version = env!("CARGO_PKG_VERSION");
        format!("vmss2core {version}, {state}, {patches} ranges patched, from {name}")
    }
}

/// Patches with where they are in the guest's physical memory.
fn place(
    patches: Vec<Patch>,
    space: &AddressSpace,
    problems: &mut Vec<Problem>,
) -> Vec<(Patch, Vec<Part>)> {
    let mut placed = Vec::new();
    for patch in patches {
        match patch::parts(&patch, space) {
            Some(parts) => placed.push((patch, parts)),
            None => problems.push(missing(&patch, "has no physical address")),
        }
    }
    placed
}

/// The overlay of the file's memory, and the patches that it is made of.
fn overlay(
    placed: Vec<(Patch, Vec<Part>)>,
    memory: &Memory,
    problems: &mut Vec<Problem>,
) -> (Vec<Literal>, Vec<Patch>) {
    let (mut overlay, mut patches) = (Vec::new(), Vec::new());
    for (patch, parts) in placed {
        match patch::literals(&parts, memory) {
            Some(literals) => {
                overlay.extend(literals);
                patches.push(patch);
            }
            None => problems.push(missing(&patch, "is not in the dump's memory")),
        }
    }
    (overlay, patches)
}

fn missing(patch: &Patch, why: &str) -> Problem {
    Problem::incomplete(format!("{} could not be written: {} {why}", patch.what, patch.gva))
}

/// Problems: parts that the dump lacks because they were not found.
fn problems(facts: &WindowsFacts, options: &WindbgOptions) -> Vec<Problem> {
    let mut problems: Vec<Problem> = facts.missing.iter().map(Problem::incomplete).collect();
    let (build, is_guess) = header::build(facts, options);
    if is_guess {
        problems.push(Problem::warning(format!(
            "the guest's build is not known: the dump says {build}; {BUILD} states another"
        )));
    }
    let encoding = facts.kdbg.as_ref().and_then(|kdbg| kdbg.value.encoding);
    if encoding.is_some_and(|encoding| encoding.keys.is_none()) {
        problems.push(Problem::note(
            "KdpDataBlockEncoded was not found and still says that the debugger data is encoded",
        ));
    }
    if options.no_patch {
        problems.push(Problem::note(
            "nothing was written over the guest's memory: debuggers will miss its debugger \
             data if that is encoded, and registers of processors",
        ));
    }
    problems
}

/// How to open the dump.
fn hints(facts: &WindowsFacts, path: &Path) -> Vec<String> {
    const STORE: &str = "https://msdl.microsoft.com/download/symbols";
    let mut hints = vec![format!("windbg -y srv*C:\\symbols*{STORE} -z {}", shell_path(path))];
    let pdb = facts.image.as_ref().and_then(|image| image.value.pdb.as_ref());
    hints.extend(pdb.map(|pdb| format!("symbols of its kernel: {STORE}/{}", pdb.store_path())));
    hints
}
