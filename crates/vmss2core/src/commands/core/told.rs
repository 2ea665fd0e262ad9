//! What is said about a core that was written.

use std::collections::BTreeSet;
use std::path::PathBuf;

use vmss2core_answers::{CoreInfo, CoreThread, MemoryCounts, ProblemInfo, human_size, shell_word};
use vmss2core_dump::process::{ProcessCore, ProcessSummary};
use vmss2core_guest::linux::{Counts, Process, VmaFlags};

use crate::output;

/// How many files are named of which parts are missing.
const FILES: usize = 16;

/// A core, and all there is to say about it.
pub(super) struct Told<'a> {
    pub(super) inputs: &'a [PathBuf],
    pub(super) process: &'a Process,
    pub(super) core: &'a ProcessCore<'a>,
    pub(super) written: &'a ProcessSummary,
}

impl Told<'_> {
    /// Says it on stderr.
    pub(super) fn talk(&self) {
        let task = self.process.task();
        let threads = self.core.threads();
        let count = threads.iter().filter(|thread| thread.registers.is_some()).count();
        let noun = if count == 1 { "thread" } else { "threads" };
        let path = self.written.summary.path.display();
        output::line(&format!(
            "wrote {path}: process {} ({}), {count} {noun}",
            task.pid, task.comm
        ));
        output::talk(&format!("  memory: {}", memory(self.written.counts)));
        output::hints(&self.commands());
        let incomplete = self.incomplete_files();
        if !incomplete.is_empty() {
            output::talk(
                "stacks are surer with the guest's own files in place of these, parts of which its \
                 memory lacks:",
            );
            for file in incomplete.iter().take(FILES) {
                output::line(&format!("  {file}"));
            }
            if incomplete.len() > FILES {
                output::talk(&format!("  and {} more", incomplete.len().saturating_sub(FILES)));
            }
        }
    }

    /// Programs and libraries of which debuggers get less than there is, with what tells
    /// the right ones from others.
    fn incomplete_files(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let code = self.process.vmas().iter().filter(|vma| vma.flags.contains(VmaFlags::EXECUTE));
        let files = code.filter_map(|vma| vma.file.as_ref());
        let files = files.filter(|file| file.path.starts_with('/') && seen.insert(file.mapping));
        let described = files.filter_map(|file| {
            let restored = self.process.restored_file(file).ok()?;
            let id = restored.build_id(self.process.kernel());
            let id = id.map(|id| format!(" (build ID {id})")).unwrap_or_default();
            restored.is_incomplete().then(|| format!("{}{id}", file.path_when_it_existed()))
        });
        described.collect()
    }

    /// How to open it. The files that debuggers want come first.
    fn commands(&self) -> Vec<String> {
        let files: Vec<String> =
            self.inputs.iter().map(|path| shell_word(&path.to_string_lossy())).collect();
        let extract = self.process.executable().map(|_| {
            format!(
                "vmss2core extract {} --pid {} --maps -o sysroot",
                files.join(" "),
                self.process.task().tid
            )
        });
        extract.into_iter().chain(self.written.summary.hints.iter().cloned()).collect()
    }

    /// The same for programs.
    pub(super) fn info(&self) -> CoreInfo {
        let task = self.process.task();
        let summary = &self.written.summary;
        let counts = self.written.counts;
        let (with_bytes, unavailable) = self.written.segments;
        CoreInfo {
            path: summary.path.to_string_lossy().into_owned(),
            bytes: summary.len_bytes,
            pid: task.pid,
            comm: task.comm.clone(),
            bits: if self.process.is_32_bit() { 32 } else { 64 },
            executable: self.process.executable().map(|file| file.path.clone()),
            threads: self.threads(),
            memory: MemoryCounts {
                present: counts.present,
                zero: counts.zero,
                page_cache: counts.page_cache,
                compressed: counts.compressed,
                swapped: counts.swapped,
                missing: counts.missing,
            },
            segments_with_bytes: with_bytes,
            segments_unavailable: unavailable,
            problems: ProblemInfo::all(&summary.problems),
            open_with: self.commands(),
        }
    }

    fn threads(&self) -> Vec<CoreThread> {
        let told = self.core.threads().iter().map(|thread| {
            let registers = thread.registers.as_ref();
            CoreThread {
                tid: thread.task.tid,
                comm: thread.task.comm.clone(),
                registers: registers.map(|found| found.how.clone()),
                vector_registers: registers.is_some_and(|found| found.fpu.is_some()),
                unreliable: registers.map(|found| found.unreliable.clone()).unwrap_or_default(),
            }
        });
        told.collect()
    }
}

/// What is 0 is not mentioned, but for what is there.
fn memory(counts: Counts) -> String {
    let kinds = [
        (counts.zero, "never touched"),
        (counts.page_cache, "from the page cache of files"),
        (counts.compressed, "from compressed swap in memory (zram)"),
        (counts.swapped, "swapped out (unavailable)"),
        (counts.missing, "not in the checkpoint (unavailable)"),
    ];
    let others = kinds.into_iter().filter(|(bytes, _)| *bytes != 0);
    let others = others.map(|(bytes, kind)| format!(", {} {kind}", human_size(bytes)));
    format!("{} present{}", human_size(counts.present), others.collect::<String>())
}
