//! The dump of a Linux kernel, in whichever container: its notes, what readers will
//! miss, and what opens it.

use std::fmt::Write;
use std::path::Path;

use vmss2core_guest::linux::debuggers;
use vmss2core_guest::{LinuxFacts, VmcoreInfo};
use vmss2core_mem::Problem;
use vmss2core_mem::text::shell_path;

use super::{Notes, guest_machine};
use crate::Job;
use crate::views::{in_cpu_order, missing_registers, thread_id};

/// Name that users have for the file with the kernel's symbols.
pub(crate) const VMLINUX: &str = "vmlinux";

/// crash and drgn count these notes to number the processors, so a vCPU without
/// registers keeps its place. Where the text of VMCOREINFO lies in the notes comes
/// with them, and its length.
pub(crate) fn vmcore_notes(job: &Job<'_>) -> (Vec<u8>, Option<(usize, usize)>) {
    let machine = guest_machine(job);
    let vcpus = in_cpu_order(job);
    let mut notes = Notes::new(machine);
    for (cpu, vcpu) in (0..).zip(&vcpus) {
        notes.vcpu_status(vcpu, thread_id(cpu));
    }
    let text = vmcoreinfo_text(job.facts.linux());
    let vmcoreinfo = text.map(|text| (notes.vmcoreinfo(&text), text.len()));
    for vcpu in &vcpus {
        notes.control(vcpu);
    }
    (notes.into_bytes(), vmcoreinfo)
}

/// The kernel's text, with the one line that kernels 3.14 to 4.9 lack and that
/// makedumpfile and drgn want.
fn vmcoreinfo_text(linux: Option<&LinuxFacts>) -> Option<String> {
    const KEY: &str = "NUMBER(phys_base)";
    let linux = linux?;
    let info: &VmcoreInfo = &linux.vmcoreinfo.as_ref()?.value;
    let mut text = info.text.clone();
    if let Some(phys_base) = &linux.phys_base
        && linux.is_64_bit
        && info.get(KEY).is_none()
    {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{KEY}={}", phys_base.value);
    }
    Some(text)
}

/// Problems for readers of the file.
pub(crate) fn vmcore_problems(job: &Job<'_>) -> Vec<Problem> {
    let vcpus = job.checkpoint.vcpus.iter();
    let mut problems: Vec<Problem> =
        missing_registers(vcpus, "its registers read as 0").into_iter().collect();
    let Some(linux) = job.facts.linux() else {
        problems.push(Problem::warning(
            "no Linux kernel found in the guest: crash and drgn will not open this core; \
             for other guests use the formats elf-linear or elf-physical",
        ));
        return problems;
    };
    match &linux.vmcoreinfo {
        None => problems.push(Problem::warning(
            "no VMCOREINFO in the guest: drgn and makedumpfile will not open this core",
        )),
        Some(found) if found.value.synthesised => problems.push(Problem::warning(format!(
            "VMCOREINFO was made up from what was found in memory ({}): makedumpfile cannot \
             filter with it",
            found.how
        ))),
        Some(_) => {}
    }
    if linux.direct_map.is_none() && linux.is_64_bit {
        problems.push(Problem::note(
            "the kernel's direct map was not found: memory has no virtual addresses in this core",
        ));
    }
    problems
}

/// Command lines that open a whole kernel.
pub(crate) fn vmcore_openers(linux: &LinuxFacts, core: &Path) -> Vec<String> {
    let core = shell_path(core);
    let fetch =
        debuggers::fetch_symbols(linux).map(|line| format!("{line}  # prints vmlinux' path"));
    let crash = debuggers::crash(linux, VMLINUX, &core);
    let crash = crash.map(|line| format!("{line}  # {}", debuggers::CRASH_REMARK));
    [fetch, crash, debuggers::drgn(linux, VMLINUX, &core)].into_iter().flatten().collect()
}
