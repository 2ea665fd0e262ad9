//! The linear view (`vmss2core F`): one vCPU's address space as its page tables
//! have it, for gdb and lldb.

use vmss2core_machine::Vcpu;
use vmss2core_machine::paging::PagingMode;
use vmss2core_mem::Problem;

use super::assemble::{Kind, assemble};
use super::notes::{Notes, has_registers};
use super::script::GDB_SCRIPT;
use super::view::View;
use super::{Machine, hints, in_long_mode, missing_registers, policy, script, thread_id};
use crate::{Choice, DumpError, DumpFormat, Job, Summary, Takes, engine};

/// gdb needs 10 ms for every access to a core of a million segments.
const MANY_SEGMENTS: usize = 100_000;

/// In the order of the help.
static CHOICES: &[&Choice] = &[&VCPU, &ALL_THREADS, &NO_DEDUP, &CR3, &GDB_SCRIPT];

/// Index of the vCPU; 0 if none is chosen.
pub(super) static VCPU: Choice = Choice {
    name: "vcpu",
    takes: Takes::Number { called: "N", most: u32::MAX },
    help: "vCPU whose address space to write",
    default: Some("0"),
    ..Choice::FLAG
};
static ALL_THREADS: Choice =
    Choice { name: "all-threads", help: "List the other vCPUs as threads too", ..Choice::FLAG };
static NO_DEDUP: Choice = Choice {
    name: "no-dedup",
    help: "Copy memory once for each address that maps it, as the original did",
    ..Choice::FLAG
};
/// Other page tables than the vCPU's.
pub(super) static CR3: Choice = Choice {
    name: "cr3",
    takes: Takes::Hex { called: "HEX", bits: 64 },
    help: "Use the page tables at this physical address instead of the vCPU's",
    ..Choice::FLAG
};

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
        let mut view = View::new(job)?;
        let machine = machine(&view);
        let threads = threads(job, &view);
        let notes = notes(machine, &threads);
        let body = if job.chosen.has(&NO_DEDUP) {
            policy::unshared(&view.leaves)?
        } else {
            policy::shared(&view.leaves, job.checkpoint.memory.len_bytes(), notes.len())?
        };
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

/// What the vCPU itself is, whatever the others are. Long mode without paging
/// does not exist, but page tables may be given that differ from the mode.
fn machine(view: &View<'_>) -> Machine {
    let long = in_long_mode(view.vcpu) || view.mode.is_64_bit();
    if long { Machine::X86_64 } else { Machine::I386 }
}

/// The vCPU of this file first: that is the thread debuggers start with.
fn threads<'a>(job: &Job<'a>, view: &View<'a>) -> Vec<&'a Vcpu> {
    let all_threads = job.chosen.has(&ALL_THREADS);
    let others =
        job.checkpoint.vcpus.iter().filter(|vcpu| all_threads && vcpu.index != view.vcpu.index);
    std::iter::once(view.vcpu).chain(others).collect()
}

fn notes(machine: Machine, threads: &[&Vcpu]) -> Vec<u8> {
    let threads = || threads.iter().filter(|vcpu| has_registers(vcpu));
    let mut notes = Notes::default();
    notes.guest(machine, threads().next().map_or(1, |vcpu| thread_id(vcpu.index)));
    for vcpu in threads() {
        notes.vcpu(machine, vcpu, thread_id(vcpu.index));
    }
    for vcpu in threads() {
        notes.qemu(vcpu);
    }
    notes.into_bytes()
}

fn many_segments(count: usize) -> Option<Problem> {
    (count > MANY_SEGMENTS).then(|| {
        Problem::warning(format!(
            "the core has many segments, gdb will be slow: {count}; \
             --no-dedup makes fewer and a larger file"
        ))
    })
}

/// Real mode and 32-bit code without paging.
pub(super) fn is_unpaged(view: &View<'_>) -> bool {
    view.mode == PagingMode::Identity
}
