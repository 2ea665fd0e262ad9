//! The commands that are worth typing next, for this very guest.

use std::path::PathBuf;

use serde::Serialize;
use vmss2core_guest::linux::debuggers;
use vmss2core_guest::{Facts, LinuxFacts};
use vmss2core_machine::Checkpoint;
use vmss2core_mem::text::shell_path;

use crate::kernel_files::{DebugSymbols, debug_symbols};

/// Something worth doing, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it is good for.
    pub purpose: String,
    /// The commands, ready for a shell.
    pub commands: Vec<String>,
}

impl Step {
    fn new(purpose: impl Into<String>, commands: impl IntoIterator<Item = String>) -> Self {
        Self { purpose: purpose.into(), commands: commands.into_iter().collect() }
    }
}

/// The steps for this guest.
pub(crate) fn steps(checkpoint: &Checkpoint, facts: &Facts, inputs: &[PathBuf]) -> Vec<Step> {
    if checkpoint.memory.segments().is_empty() {
        return Vec::new();
    }
    let files = typed(inputs);
    if facts.windows.is_some() {
        return windows_steps(checkpoint, &files);
    }
    if facts.macos.as_ref().is_some_and(|macos| macos.is_64_bit) {
        return macos_steps(checkpoint, &files);
    }
    match &facts.linux {
        Some(linux) => linux_steps(linux, checkpoint, &files),
        None => unknown_guest_steps(checkpoint, &files),
    }
}

/// The inputs as they go behind a command.
fn typed(inputs: &[PathBuf]) -> String {
    let words: Vec<String> = inputs.iter().map(|path| shell_path(path)).collect();
    words.join(" ")
}

/// The steps that open a Linux kernel in debuggers; `vmlinux` is the file with its
/// symbols, if the user has one.
pub(crate) fn debuggers(
    linux: &LinuxFacts,
    inputs: &[PathBuf],
    vmlinux: Option<String>,
) -> Vec<Step> {
    linux_debuggers(linux, &typed(inputs), vmlinux)
}

fn linux_steps(linux: &LinuxFacts, checkpoint: &Checkpoint, files: &str) -> Vec<Step> {
    let mut steps = linux_debuggers(linux, files, None);
    if checkpoint.vcpus.is_empty() {
        // The last is about a vCPU.
        steps.pop();
    }
    steps.push(Step::new(
        "a small file for crash and drgn: all memory, or the kernel's only",
        [
            format!("vmss2core convert {files} -o vmss.kdump --format kdump"),
            format!("vmss2core convert {files} -o kernel.kdump --format kdump -d 31"),
        ],
    ));
    steps
}

fn linux_debuggers(linux: &LinuxFacts, files: &str, own: Option<String>) -> Vec<Step> {
    let symbols = match own {
        Some(vmlinux) => DebugSymbols { distribution: None, install: None, vmlinux },
        None => symbols(linux),
    };
    let vmlinux = &symbols.vmlinux;
    let mut steps = Vec::new();
    let is_24 = linux.release.as_ref().is_some_and(|r| r.value.starts_with("2.4."));
    let option = if is_24 { "-N4" } else { "-N6" };
    if let (Some(name), Some(install)) = (symbols.distribution, &symbols.install) {
        steps.push(Step::new(format!("symbols of this {name} kernel"), [install.clone()]));
    }
    steps.push(Step::new(
        "crash or drgn: tasks, backtraces, log",
        [format!("vmss2core {option} {files}")]
            .into_iter()
            .chain(debuggers::crash(linux, vmlinux, "vmss.core"))
            .chain(debuggers::drgn(linux, vmlinux, "vmss.core")),
    ));
    steps.push(gdb_step(linux, vmlinux, files));
    steps
}

fn symbols(linux: &LinuxFacts) -> DebugSymbols {
    let banner = linux.banner.as_ref().map_or("", |banner| &banner.value);
    let release = linux.release.as_ref().map_or("", |release| &release.value);
    debug_symbols(banner, release)
}

fn gdb_step(linux: &LinuxFacts, vmlinux: &str, files: &str) -> Step {
    let load = debuggers::symbol_file(linux.slide(), vmlinux);
    let purpose = match linux.kaslr_offset {
        Some(_) => "gdb: one vCPU's virtual address space",
        None => "gdb: one vCPU's virtual address space; symbols may need an offset",
    };
    Step::new(
        purpose,
        [format!("vmss2core {files}"), format!("gdb -ex '{load}' -ex 'core-file vmss.core0'")],
    )
}

fn windows_steps(checkpoint: &Checkpoint, files: &str) -> Vec<Step> {
    let stacks = (!checkpoint.vcpus.is_empty()).then(|| format!("vmss2core bt {files}"));
    let questions = [format!("vmss2core ps {files}"), format!("vmss2core modules {files}")];
    vec![
        Step::new("what runs, what is loaded, and where", questions.into_iter().chain(stacks)),
        Step::new("WinDbg: memory.dmp", [format!("vmss2core -W {files}")]),
        Step::new(
            "volatility and others that read flat memory",
            [format!("vmss2core convert {files} -o memory.raw --format raw")],
        ),
    ]
}

fn macos_steps(checkpoint: &Checkpoint, files: &str) -> Vec<Step> {
    let served =
        [format!("vmss2core gdb {files}"), "lldb mach_kernel -o 'gdb-remote 8864'".to_owned()];
    let listed = [format!("vmss2core modules {files}")];
    let mut steps = vec![
        Step::new("kernel extensions, and where they are", listed),
        Step::new("lldb, which finds the kernel and its extensions by itself", served),
    ];
    steps.extend(unknown_guest_steps(checkpoint, files));
    steps
}

fn unknown_guest_steps(checkpoint: &Checkpoint, files: &str) -> Vec<Step> {
    let mut steps = vec![
        Step::new(
            "gdb: physical memory and registers",
            [format!("vmss2core -M {files}"), "gdb -c vmss.core".to_owned()],
        ),
        Step::new(
            "volatility and others that read flat memory",
            [format!("vmss2core convert {files} -o memory.raw --format raw")],
        ),
    ];
    if !checkpoint.vcpus.is_empty() {
        let linear = [format!("vmss2core {files}"), "gdb -c vmss.core0".to_owned()];
        steps.insert(1, Step::new("gdb: one vCPU's virtual address space", linear));
    }
    steps
}
