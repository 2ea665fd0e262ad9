//! The command lines with which kernel debuggers open this guest.

use std::path::{Path, PathBuf};

use serde::Serialize;
use vmss2core_guest::LinuxFacts;
use vmss2core_mem::text::shell_path;

use crate::info::Hex;
use crate::next::{CommandLine, Step, Steps};
use crate::page::{Answer, Page};

/// Numbers that a debugger must be told of a kernel, and the lines that tell it.
#[derive(Clone, Debug, Serialize)]
pub struct CrashArgsReport {
    /// `uname -r`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Build id that the file with symbols must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// How far the kernel lies from where it was linked: crash's `--kaslr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kaslr: Option<Hex>,
    /// Physical less link address, which may be negative. crash takes its 64 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phys_base: Option<String>,
    /// The lines, by what they are for.
    pub steps: Vec<Step>,
}

impl CrashArgsReport {
    /// The lines for a kernel; `vmlinux` is the user's own file with its symbols.
    pub fn new(
        linux: &LinuxFacts,
        inputs: &[PathBuf],
        vmlinux: Option<&Path>,
        line: CommandLine,
    ) -> Self {
        let vmlinux = vmlinux.map(shell_path);
        let info = linux.vmcoreinfo.as_ref().map(|info| &info.value);
        Self {
            release: linux.release.as_ref().map(|release| release.value.clone()),
            build_id: info.and_then(|info| info.get("BUILD-ID")).map(str::to_owned),
            kaslr: linux.kaslr_offset.as_ref().map(|slide| Hex(slide.value)),
            phys_base: linux
                .phys_base
                .as_ref()
                .map(|base| vmss2core_mem::text::signed_hex(base.value)),
            steps: Steps::new(Some(linux), inputs, line).debuggers(linux, vmlinux.as_deref()),
        }
    }
}

impl Answer for CrashArgsReport {
    const SCHEMA: &'static str = "vmss2core/crash-args/2";

    /// Lines for a shell, with comments.
    fn page(&self, page: &mut Page<'_>) {
        for (index, step) in self.steps.iter().enumerate() {
            if index > 0 {
                page.gap();
            }
            page.commands(&step.purpose, &step.commands);
        }
    }
}
