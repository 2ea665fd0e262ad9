//! Cores of processes that were written.

use serde::Serialize;
use vmss2core_guest::linux::Counts;
use vmss2core_mem::Problem;

use crate::info::{ProblemInfo, problem_info};
use crate::page::{Answer, Page};
use crate::units::human_size;

/// How many files are named of which parts are missing.
const FILES: usize = 16;

/// The cores that were written.
#[derive(Clone, Debug, Serialize)]
pub struct CoreReport {
    /// One for each process.
    pub cores: Vec<CoreInfo>,
    /// Reasons why processes were not written.
    pub problems: Vec<ProblemInfo>,
}

impl CoreReport {
    /// The report about these cores.
    pub fn new(cores: Vec<CoreInfo>, problems: &[Problem]) -> Self {
        Self { cores, problems: ProblemInfo::all(problems) }
    }
}

impl Answer for CoreReport {
    const SCHEMA: &'static str = "vmss2core/core/1";

    fn page(&self, page: &mut Page<'_>) {
        for core in &self.cores {
            core.page(page);
        }
    }
}

impl ProblemInfo {
    /// The problems of one part of a report.
    pub fn all(problems: &[Problem]) -> Vec<Self> {
        problems.iter().map(problem_info).collect()
    }
}

/// The core of one process.
#[derive(Clone, Debug, Serialize)]
pub struct CoreInfo {
    /// The file.
    pub path: String,
    /// Its length in bytes, holes included.
    pub bytes: u64,
    /// Number of the process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Its word size, 32 or 64.
    pub bits: u8,
    /// Its program file, as the guest names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// Its threads, in the order of the file.
    pub threads: Vec<CoreThread>,
    /// Where the bytes of its memory are.
    pub memory: MemoryCounts,
    /// Segments that have bytes in the file.
    pub segments_with_bytes: usize,
    /// Segments that only say that there is memory.
    pub segments_unavailable: usize,
    /// Missing or doubtful parts.
    pub problems: Vec<ProblemInfo>,
    /// Command lines that open it.
    pub open_with: Vec<String>,
    /// Programs and libraries of which debuggers get less than there is, with what tells
    /// the right ones from others.
    #[serde(skip)]
    pub incomplete_files: Vec<String>,
}

impl CoreInfo {
    fn page(&self, page: &mut Page<'_>) {
        let count = self.threads.iter().filter(|thread| thread.registers.is_some()).count();
        let noun = if count == 1 { "thread" } else { "threads" };
        let Self { path, pid, comm, .. } = self;
        page.line(&format!("wrote {path}: process {pid} ({comm}), {count} {noun}"));
        page.line(&format!("  memory: {}", self.memory.in_words()));
        open_with(&self.open_with, page);
        if !self.incomplete_files.is_empty() {
            page.line(
                "stacks are surer with the guest's own files in place of these, parts of which its \
                 memory lacks:",
            );
        }
        for file in self.incomplete_files.iter().take(FILES) {
            page.line(&format!("  {file}"));
        }
        match self.incomplete_files.len().saturating_sub(FILES) {
            0 => {}
            more => page.line(&format!("  and {more} more")),
        }
    }
}

/// How to open a file that was written.
fn open_with(commands: &[String], page: &mut Page<'_>) {
    if !commands.is_empty() {
        page.line("to open it:");
    }
    for command in commands {
        page.line(&format!("  {command}"));
    }
}

/// A thread in a core.
#[derive(Clone, Debug, Serialize)]
pub struct CoreThread {
    /// Its number.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// Where its registers were found; absent if they were not, and then the
    /// core does not have the thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registers: Option<String>,
    /// Whether the core has its floating point and vector registers.
    pub vector_registers: bool,
    /// Registers whose values cannot be relied on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreliable: Vec<&'static str>,
}

/// Bytes of a process by where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryCounts {
    /// In memory and mapped.
    pub present: u64,
    /// Never touched, and so zero.
    pub zero: u64,
    /// Not touched yet, taken from the guest's page cache of the file.
    pub page_cache: u64,
    /// Swapped out to memory, compressed.
    pub compressed: u64,
    /// On a swap device.
    pub swapped: u64,
    /// Nowhere in the checkpoint.
    pub missing: u64,
}

impl MemoryCounts {
    /// Counts of 0 are not mentioned, except of memory that is there.
    fn in_words(self) -> String {
        let kinds = [
            (self.zero, "never touched"),
            (self.page_cache, "from the page cache of files"),
            (self.compressed, "from compressed swap in memory (zram)"),
            (self.swapped, "swapped out (unavailable)"),
            (self.missing, "not in the checkpoint (unavailable)"),
        ];
        let others = kinds.into_iter().filter(|(bytes, _)| *bytes != 0);
        let others = others.map(|(bytes, kind)| format!(", {} {kind}", human_size(bytes)));
        format!("{} present{}", human_size(self.present), others.collect::<String>())
    }
}

impl From<Counts> for MemoryCounts {
    fn from(counts: Counts) -> Self {
        let Counts { present, zero, page_cache, compressed, swapped, missing } = counts;
        Self { present, zero, page_cache, compressed, swapped, missing }
    }
}
