//! The physical view (`-M`): one segment per stretch of guest memory, virtual
//! address = physical address. Opens for any guest; addresses in registers are
//! virtual, so the debugger finds no memory behind them.

use vmss2core_mem::Gpa;

use super::assemble::{Access, Body, Kind, Load, assemble};
use super::notes::{Notes, has_registers};
use super::{
    Machine, expected_extents, guest_machine, hints, missing_registers, page_ranges, script,
    thread_id,
};
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
            let mut layout = assemble(kind, &notes(machine, job), body(job)?)?;
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

fn body(job: &Job<'_>) -> Result<Body, DumpError> {
    let mut body = Body::default();
    for range in page_ranges(&job.checkpoint.memory) {
        let len_bytes = range.end.saturating_sub(range.start);
        let offset = body.append(Gpa(range.start), len_bytes)?;
        let (vaddr, paddr) = (range.start, range.start);
        body.loads.push(Load { vaddr, paddr, offset, len_bytes, access: Access::ALL });
    }
    if body.loads.is_empty() {
        return Err(DumpError::NoMemory { why: "the checkpoint holds no whole page".to_owned() });
    }
    Ok(body)
}

fn notes(machine: Machine, job: &Job<'_>) -> Vec<u8> {
    let vcpus = || job.checkpoint.vcpus.iter().filter(|vcpu| has_registers(vcpu));
    let mut notes = Notes::default();
    notes.guest(machine, vcpus().next().map_or(1, |vcpu| thread_id(vcpu.index)));
    for vcpu in vcpus() {
        notes.vcpu(machine, vcpu, thread_id(vcpu.index));
    }
    for vcpu in vcpus() {
        notes.qemu(vcpu);
    }
    notes.into_bytes()
}
