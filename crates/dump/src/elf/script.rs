//! `<core>.gdb`: registers that no note can bring into gdb, as convenience
//! variables, and how to load symbols.

use std::fmt::Write;

use vmss2core_machine::Vcpu;

use crate::choice::Owners;
use crate::engine::Companion;
use crate::{Choice, Job, arch};

/// Choices about any ELF core.
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
        for (name, value) in arch::without_note(&vcpu.registers) {
            push_line(&mut text, format_args!("set ${name}_{} = {value:#x}", vcpu.index));
        }
    }
    text
}

fn push_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(line);
    text.push('\n');
}
