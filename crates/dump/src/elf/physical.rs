//! The physical view: one segment per stretch of guest memory, virtual
//! address = physical address. Opens for any guest; addresses in registers are
//! virtual, so the debugger finds no memory at them.

use super::{hints, script};
use crate::elf_core::{Kind, Machine, Notes, assemble, expected_extents, guest_machine};
use crate::views::{has_registers, missing_registers, page_ranges, physical_body, thread_id};
use crate::{Choice, DumpError, DumpFormat, Job, Summary, engine};

/// ELF core, physical view.
pub(crate) struct PhysicalCore;

impl DumpFormat for PhysicalCore {
    fn name(&self) -> &'static str {
        "elf-physical"
    }

    fn about(&self) -> &'static str {
        "ELF core for gdb and lldb, addresses are guest physical addresses"
    }

    fn choices(&self) -> &'static [&'static Choice] {
        script::CHOICES
    }

    fn write(&self, job: &Job<'_>) -> Result<Summary, DumpError> {
        let mut hints = Vec::new();
        let layout = || {
            let machine = guest_machine(job);
            let kind = Kind { machine, load_align: 0x1000 };
            let mut layout = assemble(kind, &notes(machine, job), physical_body(job)?)?;
            hints = hints::physical(job);
            layout.companions = script::companions(job, &hints);
            Ok(layout)
        };
        let expected = expected_extents(page_ranges(&job.checkpoint.memory).into_iter());
        let layout = engine::write_early(&expected, layout, job)?;
        let vcpus = job.checkpoint.vcpus.iter();
        Ok(Summary {
            path: job.path.to_owned(),
            len_bytes: layout.len_bytes,
            memory_bytes: layout.memory_bytes(),
            problems: missing_registers(vcpus, "not among the threads").into_iter().collect(),
            hints,
        })
    }
}

fn notes(machine: Machine, job: &Job<'_>) -> Vec<u8> {
    let vcpus = || job.checkpoint.vcpus.iter().filter(|vcpu| has_registers(vcpu));
    let mut notes = Notes::new(machine);
    notes.guest(vcpus().next().map_or(1, |vcpu| thread_id(vcpu.index)));
    for vcpu in vcpus() {
        notes.vcpu(vcpu, thread_id(vcpu.index));
    }
    for vcpu in vcpus() {
        notes.control(vcpu);
    }
    notes.into_bytes()
}
