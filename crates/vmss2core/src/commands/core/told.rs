//! Messages about a core that was written.

use std::collections::BTreeSet;
use std::path::PathBuf;

use vmss2core_answers::{CoreInfo, CoreThread, ProblemInfo};
use vmss2core_dump::process::{ProcessCore, ProcessSummary};
use vmss2core_guest::linux::{Process, VmaFlags};
use vmss2core_mem::text::shell_path;

/// A core, and all there is to say about it.
pub(super) struct Told<'a> {
    pub(super) inputs: &'a [PathBuf],
    pub(super) process: &'a Process,
    pub(super) core: &'a ProcessCore<'a>,
    pub(super) written: &'a ProcessSummary,
}

impl Told<'_> {
    /// Programs and libraries of which debuggers get less than there is, with what tells
    /// the right ones from others.
    pub(super) fn incomplete_files(&self) -> Vec<String> {
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
        let files: Vec<String> = self.inputs.iter().map(|path| shell_path(path)).collect();
        let extract = self.process.executable().map(|_| {
            format!(
                "vmss2core extract {} --pid {} --maps -o sysroot",
                files.join(" "),
                self.process.task().tid
            )
        });
        extract.into_iter().chain(self.written.summary.hints.iter().cloned()).collect()
    }

    /// Facts about it, except which files are incomplete: to find that takes time.
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
            memory: counts.into(),
            segments_with_bytes: with_bytes,
            segments_unavailable: unavailable,
            problems: ProblemInfo::all(&summary.problems),
            open_with: self.commands(),
            incomplete_files: Vec::new(),
        }
    }

    fn threads(&self) -> Vec<CoreThread> {
        let told = self.core.threads().iter().map(|thread| {
            let registers = thread.registers.as_ref();
            CoreThread {
                tid: thread.task.tid,
                comm: thread.task.comm.clone(),
                registers: registers.map(|found| found.how.clone()),
                vector_registers: registers.is_some_and(|found| found.registers.has_vectors()),
                unreliable: registers.map(|found| found.unreliable.clone()).unwrap_or_default(),
            }
        });
        told.collect()
    }
}
