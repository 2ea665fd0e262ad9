//! `convert --gdb-script`: a file that opens the output in gdb.
//!
//! gdb cannot find out how far a kernel lies from where it was linked, and no
//! core file can hold control registers in a form that it shows. The script
//! brings both: symbols in their place, registers as `$cr3_0` and so on.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use vmss2core_guest::LinuxFacts;
use vmss2core_mem::{Vcpu, X86Vcpu};
use vmss2core_report::{debug_symbols, printable};

use super::source::Guest;
use crate::plan::ConvertPlan;

/// Where the script for an output goes.
pub(super) fn path_for(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".gdb");
    name.into()
}

/// Writes the script.
pub(super) fn write(guest: &Guest, plan: &ConvertPlan, path: &Path) -> anyhow::Result<()> {
    let text = script(guest, plan);
    replace(path, &text).with_context(|| format!("cannot write {}", path.display()))
}

/// Under another name first, so that half a script never has the name.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

fn script(guest: &Guest, plan: &ConvertPlan) -> String {
    let mut text = String::from("# gdb -x opens the core with this.\n");
    if let Some(linux) = &guest.facts.linux {
        text += &symbols(linux, is_physical(plan));
    }
    // gdb starts elsewhere perhaps, so the path must not depend on that.
    let core = fs::canonicalize(&plan.output).unwrap_or_else(|_| plan.output.clone());
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "core-file {}", one_line(&core.to_string_lossy()));
    let _ = writeln!(text, "\n# Registers that a core file cannot hold.");
    for vcpu in &guest.opened.checkpoint.vcpus {
        text += &registers(vcpu);
    }
    text
}

fn is_physical(plan: &ConvertPlan) -> bool {
    plan.format.0.name() == "elf-physical"
}

/// gdb's command files have no quoting for line breaks.
fn one_line(text: &str) -> String {
    printable(text)
}

fn symbols(linux: &LinuxFacts, physical: bool) -> String {
    let value = |found: &Option<vmss2core_guest::Found<String>>| {
        found.as_ref().map_or(String::new(), |found| found.value.clone())
    };
    let (banner, release) = (value(&linux.banner), value(&linux.release));
    let known = debug_symbols(&banner, &release);
    let mut text = format!("# {}\n", one_line(banner.trim_end()));
    if let Some(install) = &known.install {
        let _ = writeln!(text, "# Symbols of this kernel: {install}");
    }
    let _ = match offset(linux, physical) {
        Some(0) => writeln!(text, "symbol-file {}", known.vmlinux),
        Some(offset) => writeln!(text, "symbol-file -o {offset:#x} {}", known.vmlinux),
        None => writeln!(text, "# Where the kernel lies was not found: no symbols are loaded."),
    };
    text
}

/// What to add to a link address. In the physical view, that leads to where the
/// kernel image lies in memory, modulo 2^64.
fn offset(linux: &LinuxFacts, physical: bool) -> Option<u64> {
    let slide = linux.kaslr_offset.as_ref()?.value;
    if !physical {
        return Some(slide);
    }
    let text = linux.text.as_ref()?.value;
    let link = text.start.0.wrapping_sub(slide);
    Some(text.gpa.0.wrapping_sub(link))
}

fn registers(vcpu: &Vcpu) -> String {
    let Some(x86) = vcpu.x86() else { return String::new() };
    let mut text = String::new();
    for (name, value) in named(x86) {
        if let Some(value) = value {
            let _ = writeln!(text, "set ${name}_{} = {value:#x}", vcpu.index);
        }
    }
    text
}

fn named(x86: &X86Vcpu) -> [(&'static str, Option<u64>); 11] {
    [
        ("cr0", x86.control.cr0),
        ("cr2", x86.control.cr2),
        ("cr3", x86.control.cr3),
        ("cr4", x86.control.cr4),
        ("efer", x86.msrs.efer),
        ("gdt_base", x86.gdtr.base),
        ("idt_base", x86.idtr.base),
        ("tr_base", x86.segments.tr.base),
        ("ldt_base", x86.segments.ldt.base),
        ("gs_base", x86.segments.gs.base),
        ("kernel_gs_base", x86.msrs.kernel_gs_base),
    ]
}
