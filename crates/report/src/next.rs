//! The commands that are worth typing next, for this very guest.

use std::path::PathBuf;

use serde::Serialize;
use vmss2core_guest::{Facts, LinuxFacts};
use vmss2core_mem::Checkpoint;

use crate::escape::shell_word;
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
    match &facts.linux {
        Some(linux) => linux_steps(linux, checkpoint, &files),
        None => unknown_guest_steps(checkpoint, &files),
    }
}

/// The inputs as they go behind a command.
fn typed(inputs: &[PathBuf]) -> String {
    let words: Vec<String> =
        inputs.iter().map(|path| shell_word(&path.to_string_lossy())).collect();
    words.join(" ")
}

fn linux_steps(linux: &LinuxFacts, checkpoint: &Checkpoint, files: &str) -> Vec<Step> {
    let symbols = symbols(linux);
    let vmlinux = &symbols.vmlinux;
    let mut steps = Vec::new();
    if let (Some(name), Some(install)) = (symbols.distribution, &symbols.install) {
        steps.push(Step::new(format!("symbols of this {name} kernel"), [install.clone()]));
    }
    steps.push(Step::new(
        "crash or drgn: tasks, backtraces, log",
        [
            format!("vmss2core -N6 {files}"),
            format!("crash {vmlinux} vmss.core"),
            format!("drgn -c vmss.core -s {vmlinux}"),
        ],
    ));
    if !checkpoint.vcpus.is_empty() {
        steps.push(gdb_step(linux, vmlinux, files));
    }
    steps
}

fn symbols(linux: &LinuxFacts) -> DebugSymbols {
    let text = |found: &Option<vmss2core_guest::Found<String>>| {
        found.as_ref().map_or("", |found| found.value.as_str()).to_owned()
    };
    debug_symbols(&text(&linux.banner), &text(&linux.release))
}

/// gdb cannot find out by itself how far a kernel lies from where it was linked.
fn gdb_step(linux: &LinuxFacts, vmlinux: &str, files: &str) -> Step {
    let slide = linux.kaslr_offset.as_ref().map_or(0, |slide| slide.value);
    let load = match slide {
        0 => format!("symbol-file {vmlinux}"),
        slide => format!("symbol-file -o {slide:#x} {vmlinux}"),
    };
    Step::new(
        "gdb: one vCPU's virtual address space",
        [format!("vmss2core {files}"), format!("gdb -ex '{load}' -ex 'core-file vmss.core0'")],
    )
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
