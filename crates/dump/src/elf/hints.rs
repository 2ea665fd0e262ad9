//! Command lines that open a core, with all the numbers filled in.

use std::path::Path;

use vmss2core_guest::LinuxFacts;
use vmss2core_guest::linux::debuggers;
use vmss2core_machine::Width;
use vmss2core_mem::Gva;
use vmss2core_mem::text::shell_path;

use crate::Job;
use crate::elf_core::{VMLINUX, vmcore_openers};
use crate::views::LinearView;

pub(super) fn linear(job: &Job<'_>, view: &LinearView<'_>) -> Vec<String> {
    let core = job.path;
    if view.is_unpaged() {
        return unpaged(core, view);
    }
    match job.facts.linux() {
        Some(linux) => with_symbols(linux, core),
        None => vec![without_symbols(core)],
    }
}

/// gdb knows no segment bases; and it takes the core only before the change of
/// architecture.
fn unpaged(core: &Path, view: &LinearView<'_>) -> Vec<String> {
    let mut hints = vec![without_symbols(core)];
    let registers = &view.vcpu.registers;
    if let Some(Gva(pc)) = registers.linear_pc(Some(view.mode)) {
        let is_16_bit = registers.width() == Some(Width::Bits16);
        let order = if is_16_bit { "set architecture i8086, then " } else { "" };
        hints.push(format!("paging is off; in gdb: {order}x/8i {pc:#x}"));
    }
    hints
}

pub(super) fn physical(job: &Job<'_>) -> Vec<String> {
    let core = job.path;
    let mut hints = vec![without_symbols(core)];
    if let Some(shift) = job.facts.linux().and_then(physical_shift) {
        hints.push(format!(
            "kernel data at physical addresses: gdb -ex '{}' -c {}",
            debuggers::symbol_file(shift, VMLINUX),
            shell_path(core)
        ));
    }
    hints
}

/// Distance from a link address to the physical one, modulo 2^64.
fn physical_shift(linux: &LinuxFacts) -> Option<u64> {
    let text = linux.text.as_ref()?.value;
    let linked = text.start.0.wrapping_sub(linux.kaslr_offset.as_ref()?.value);
    Some(text.gpa.0.wrapping_sub(linked))
}

pub(super) fn linux(job: &Job<'_>) -> Vec<String> {
    let core = job.path;
    let Some(linux) = job.facts.linux() else {
        return vec![without_symbols(core)];
    };
    let mut hints = vmcore_openers(linux, core);
    hints.extend(with_symbols(linux, core));
    hints
}

fn with_symbols(linux: &LinuxFacts, core: &Path) -> Vec<String> {
    let core = shell_path(core);
    match (linux.kaslr_offset.as_ref().map(|slide| slide.value), &linux.text) {
        (Some(0), _) | (None, None) => {
            vec![format!("gdb vmlinux {core}"), format!("lldb vmlinux --core {core}")]
        }
        (Some(slide), _) => vec![
            format!("gdb -ex '{}' -c {core}", debuggers::symbol_file(slide, VMLINUX)),
            format!(
                "lldb vmlinux --core {core} -o 'target modules load --file vmlinux --slide {slide:#x}'"
            ),
        ],
        // 32-bit kernels do not say where they were linked to.
        (None, Some(text)) => vec![format!(
            "gdb -ex 'symbol-file -o SLIDE vmlinux' -c {core}, where SLIDE is {:#x} less the \
             address of _text in vmlinux",
            text.value.start.0
        )],
    }
}

fn without_symbols(core: &Path) -> String {
    format!("gdb -c {}", shell_path(core))
}
