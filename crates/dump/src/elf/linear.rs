//! The linear view: one vCPU's address space as its page tables
//! have it, for gdb and lldb.

use vmss2core_machine::Vcpu;
use vmss2core_mem::Problem;

use super::script::GDB_SCRIPT;
use super::{hints, script};
use crate::elf_core::{Class, Kind, Machine, Notes, assemble, header_len};
use crate::views::{
    ALL_THREADS, CR3, LinearView, NO_DEDUP, VCPU, has_registers, missing_registers,
    runs_64_bit_code, thread_id,
};
use crate::{Choice, DumpError, DumpFormat, Job, Summary, engine};

/// gdb needs 10 ms for every access to a core of a million segments.
const MANY_SEGMENTS: usize = 100_000;

/// In the order of the help.
static CHOICES: &[&Choice] = &[&VCPU, &ALL_THREADS, &NO_DEDUP, &CR3, &GDB_SCRIPT];

/// ELF core, linear view.
pub(crate) struct LinearCore;

impl DumpFormat for LinearCore {
    fn name(&self) -> &'static str {
        "elf-linear"
    }

    fn about(&self) -> &'static str {
        "ELF core for gdb and lldb, the address space of one vCPU"
    }

    fn choices(&self) -> &'static [&'static Choice] {
        CHOICES
    }

    fn write(&self, job: &Job<'_>) -> Result<Summary, DumpError> {
        let mut view = LinearView::new(job)?;
        let machine = machine(&view);
        let threads = view.threads(job);
        let notes = notes(machine, &threads);
        let body = view.body(job, |segments| header_len(Class::Elf64, segments, notes.len()))?;
        let mut problems = std::mem::take(&mut view.problems);
        problems.extend(many_segments(body.loads.len()));
        problems.extend(missing_registers(threads.iter().copied(), "not among the threads"));
        let kind = Kind { machine, load_align: 0x1000 };
        let mut layout = assemble(kind, &notes, body)?;
        let hints = hints::linear(job, &view);
        layout.companions = script::companions(job, &hints);
        engine::write(&layout, job)?;
        Ok(Summary {
            path: job.path.to_owned(),
            len_bytes: layout.len_bytes,
            memory_bytes: layout.memory_bytes(),
            problems,
            hints,
        })
    }
}

/// The machine of the vCPU itself, whatever the others are. Long mode without paging
/// does not exist, but page tables may be given that differ from the mode.
fn machine(view: &LinearView<'_>) -> Machine {
    let is_64_bit = runs_64_bit_code(view.vcpu) || view.mode.is_64_bit();
    Machine { arch: view.vcpu.registers.arch(), is_64_bit }
}

fn notes(machine: Machine, threads: &[&Vcpu]) -> Vec<u8> {
    let threads = || threads.iter().filter(|vcpu| has_registers(vcpu));
    let mut notes = Notes::new(machine);
    notes.guest(threads().next().map_or(1, |vcpu| thread_id(vcpu.index)));
    for vcpu in threads() {
        notes.vcpu(vcpu, thread_id(vcpu.index));
    }
    for vcpu in threads() {
        notes.control(vcpu);
    }
    notes.into_bytes()
}

fn many_segments(count: usize) -> Option<Problem> {
    (count > MANY_SEGMENTS).then(|| {
        Problem::warning(format!(
            "the core has many segments, gdb will be slow: {count}; \
             {NO_DEDUP} makes fewer and a larger file"
        ))
    })
}
