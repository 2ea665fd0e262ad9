//! `<core>.gdb`: registers that no note can bring into gdb, as convenience
//! variables, and how to load symbols.

use std::fmt::Write;

use vmss2core_machine::{Vcpu, x86};

use crate::choice::Owners;
use crate::engine::Companion;
use crate::{Choice, Job};

/// What may be chosen about any ELF core.
pub(super) static CHOICES: &[&Choice] = &[&GDB_SCRIPT];

/// The script is written.
pub(super) static GDB_SCRIPT: Choice = Choice {
    name: "gdb-script",
    help: "Write OUT.gdb too: registers that a core cannot hold, as gdb variables",
    belongs_to: Owners::Kind { formats: "ELF formats", but: "gdb does not open" },
    ..Choice::FLAG
};

/// The script, if it was chosen.
pub(super) fn companions(job: &Job<'_>, hints: &[String]) -> Vec<Companion> {
    if !job.chosen.has(&GDB_SCRIPT) {
        return Vec::new();
    }
    vec![Companion { suffix: ".gdb", text: text(&job.checkpoint.vcpus, hints) }]
}

fn text(vcpus: &[Vcpu], hints: &[String]) -> String {
    let mut text = String::from("# Registers of each vCPU that a core file cannot hold.\n");
    for hint in hints {
        // A path may hold a line break, which would end the comment.
        push_line(&mut text, format_args!("# {}", hint.replace(['\n', '\r'], " ")));
    }
    for vcpu in vcpus {
        if let Some(x86) = vcpu.x86() {
            push_registers(&mut text, vcpu.index, x86);
        }
    }
    text
}

fn push_registers(text: &mut String, index: u32, x86: &x86::Registers) {
    let selector = |selector: Option<u16>| selector.map(u64::from);
    let registers = [
        ("cr0", x86.control.cr0),
        ("cr2", x86.control.cr2),
        ("cr3", x86.control.cr3),
        ("cr4", x86.control.cr4),
        ("cr8", x86.control.cr8),
        ("efer", x86.msrs.efer),
        ("kernel_gs_base", x86.msrs.kernel_gs_base),
        ("gdt_base", x86.gdtr.base),
        ("idt_base", x86.idtr.base),
        ("tr", selector(x86.segments.tr.selector)),
        ("tr_base", x86.segments.tr.base),
        ("ldt", selector(x86.segments.ldt.selector)),
    ];
    for (name, value) in registers {
        if let Some(value) = value {
            push_line(text, format_args!("set ${name}_{index} = {value:#x}"));
        }
    }
}

fn push_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(line);
    text.push('\n');
}
