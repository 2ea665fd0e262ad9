//! The linear view: the address space of one vCPU, as its page tables have it.

use std::ops::{ControlFlow, Range};

use vmss2core_machine::paging::{
    AddressSpace, Leaf, Limits, PagingError, PagingMode, Root, WalkSummary,
};
use vmss2core_machine::{Checkpoint, Registers, Vcpu};
use vmss2core_mem::{Gva, PAGE_SIZE, PhysicalMemory, Problem};

use super::policy;
use super::segments::Body;
use crate::{Choice, DumpError, Job, Takes};

/// First address of the kernel's half in 64-bit modes.
const UPPER_HALF: u64 = 1 << 63;

/// Index of the vCPU; 0 if none is chosen.
pub(crate) static VCPU: Choice = Choice {
    name: "vcpu",
    takes: Takes::Number { called: "N", most: u32::MAX },
    help: "vCPU whose address space to write",
    default: Some("0"),
    ..Choice::FLAG
};
pub(crate) static ALL_THREADS: Choice =
    Choice { name: "all-threads", help: "List the other vCPUs as threads too", ..Choice::FLAG };
pub(crate) static NO_DEDUP: Choice = Choice {
    name: "no-dedup",
    help: "Copy memory once for each address that maps it, as the original did",
    ..Choice::FLAG
};
/// Other page tables than the vCPU's.
pub(crate) static CR3: Choice = Choice {
    name: "cr3",
    takes: Takes::Hex { called: "HEX", bits: 64 },
    help: "Use the page tables at this physical address instead of the vCPU's",
    ..Choice::FLAG
};

/// The address space of one vCPU.
pub(crate) struct LinearView<'a> {
    pub(crate) vcpu: &'a Vcpu,
    pub(crate) mode: PagingMode,
    /// Everything mapped, sorted by virtual address.
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) problems: Vec<Problem>,
}

impl<'a> LinearView<'a> {
    pub(crate) fn new(job: &Job<'a>) -> Result<Self, DumpError> {
        let vcpu = find_vcpu(job.checkpoint, job.chosen.number_32(&VCPU).unwrap_or(0))?;
        let mut problems = Vec::new();
        let memory = &job.checkpoint.memory;
        let parts = match job.chosen.number(&CR3) {
            Some(root) => vec![(ALL, given(memory, vcpu, root, &mut problems)?)],
            None => own(job, vcpu, &mut problems)?,
        };
        let mode = parts.first().map_or(PagingMode::IDENTITY, |(_, space)| space.mode());
        let mut view = Self { vcpu, mode, leaves: Vec::new(), problems };
        for (range, space) in &parts {
            view.add(range.clone(), space);
        }
        view.leaves.sort_by_key(|leaf| leaf.gva);
        if view.leaves.is_empty() {
            return Err(DumpError::NothingMapped { index: vcpu.index });
        }
        Ok(view)
    }

    /// Its memory as segments. `header_bytes` is how many bytes the headers take
    /// that so many segments need.
    pub(crate) fn body(
        &self,
        job: &Job<'_>,
        header_bytes: impl FnOnce(usize) -> Result<u64, DumpError>,
    ) -> Result<Body, DumpError> {
        if job.chosen.has(&NO_DEDUP) {
            return policy::unshared(&self.leaves);
        }
        let headers = header_bytes(self.leaves.len())?;
        policy::shared(&self.leaves, job.checkpoint.memory.len_bytes(), headers)
    }

    /// The vCPU of this view first: that is the thread debuggers start with.
    pub(crate) fn threads(&self, job: &Job<'a>) -> Vec<&'a Vcpu> {
        let all_threads = job.chosen.has(&ALL_THREADS);
        let others =
            job.checkpoint.vcpus.iter().filter(|vcpu| all_threads && vcpu.index != self.vcpu.index);
        std::iter::once(self.vcpu).chain(others).collect()
    }

    /// Real mode and 32-bit code without paging.
    pub(crate) fn is_unpaged(&self) -> bool {
        self.mode == PagingMode::IDENTITY
    }

    fn add(&mut self, range: Range<u64>, space: &AddressSpace) {
        let registers = &self.vcpu.registers;
        let leaves = &mut self.leaves;
        let first = leaves.len();
        let summary = space.walk_range(range.clone(), &Limits::default(), &mut |leaf| {
            leaves.push(leaf);
            ControlFlow::Continue(())
        });
        if summary.truncated || summary.tables_omitted != 0 {
            add_around_registers(leaves, first, &range, space, registers);
        }
        self.problems.extend(walk_problems(&summary));
    }
}

const ALL: Range<u64> = 0..u64::MAX;

fn find_vcpu(checkpoint: &Checkpoint, index: u32) -> Result<&Vcpu, DumpError> {
    let vcpus = &checkpoint.vcpus;
    let vcpu = vcpus
        .iter()
        .find(|vcpu| vcpu.index == index)
        .ok_or(DumpError::NoVcpu { index, count: vcpus.len() })?;
    match vcpu.registers.paging(&checkpoint.memory) {
        Err(PagingError::UnknownArchitecture(_)) => Err(DumpError::UnknownPageTables { index }),
        _ => Ok(vcpu),
    }
}

/// The page tables that the user named.
fn given(
    memory: &PhysicalMemory,
    vcpu: &Vcpu,
    root: u64,
    problems: &mut Vec<Problem>,
) -> Result<AddressSpace, DumpError> {
    let paging = vcpu.registers.paging(memory).ok();
    let known = paging.as_ref().map(|paging| paging.mode.value);
    let mode = match known.filter(|mode| *mode != PagingMode::IDENTITY) {
        Some(mode) => mode,
        None => assumed(vcpu, problems)?,
    };
    Ok(AddressSpace::new(memory, mode, mode.root_of(root))
        .with_no_execute(paging.is_none_or(|paging| paging.forbids_execution())))
}

fn assumed(vcpu: &Vcpu, problems: &mut Vec<Problem>) -> Result<PagingMode, DumpError> {
    let assumed = vcpu.registers.arch().assumed_paging();
    let mode = assumed.ok_or(DumpError::UnknownPageTables { index: vcpu.index })?;
    problems.push(Problem::warning(format!(
        "the vCPU's paging mode is not known or off: {}",
        mode.how
    )));
    Ok(mode.value)
}

/// The vCPU's own page tables; in user mode under page-table isolation with the
/// kernel's half of the kernel's. The user's half stays the user's: the kernel's
/// copy of it is marked no-execute.
fn own(
    job: &Job<'_>,
    vcpu: &Vcpu,
    problems: &mut Vec<Problem>,
) -> Result<Vec<(Range<u64>, AddressSpace)>, DumpError> {
    let memory = &job.checkpoint.memory;
    let paging = vcpu
        .registers
        .paging(memory)
        .map_err(|error| DumpError::NoAddressSpace { index: vcpu.index, why: error.to_string() })?;
    let space = paging.address_space(memory);
    let Some(kernel) = kernel_root(job, vcpu.index) else {
        return Ok(vec![(ALL, space)]);
    };
    problems.push(Problem::note(format!(
        "vCPU {} ran in user mode with page tables that lack the kernel: added from the tables at {}",
        vcpu.index, kernel.0
    )));
    let kernel = AddressSpace::new(memory, paging.mode.value, kernel)
        .with_no_execute(paging.forbids_execution());
    Ok(if paging.mode.value.is_64_bit() {
        vec![(0..UPPER_HALF, space), (UPPER_HALF..u64::MAX, kernel)]
    } else {
        vec![(ALL, kernel)]
    })
}

fn kernel_root(job: &Job<'_>, index: u32) -> Option<Root> {
    Some(job.facts.vcpu(index)?.kernel_root.as_ref()?.value)
}

/// Whatever the guards of the walk left out, the pages that the registers point
/// at, and one on each side, are in.
fn add_around_registers(
    leaves: &mut Vec<Leaf>,
    first: usize,
    range: &Range<u64>,
    space: &AddressSpace,
    registers: &Registers,
) {
    let pc = registers.linear_pc(Some(space.mode())).map(|pc| pc.0);
    let places = [pc, registers.sp(), registers.fp()];
    for register in places.into_iter().flatten() {
        let page = Gva(register).page_start().0;
        for gva in [page.checked_sub(PAGE_SIZE), Some(page), page.checked_add(PAGE_SIZE)] {
            let Some(gva) = gva.filter(|gva| range.contains(gva)).map(Gva) else { continue };
            let walked = leaves.get(first..).unwrap_or_default();
            if walked
                .iter()
                .any(|leaf| gva >= leaf.gva && gva.0.saturating_sub(leaf.gva.0) < leaf.len_bytes())
            {
                continue;
            }
            leaves.extend(single_page(space, gva));
        }
    }
}

fn single_page(space: &AddressSpace, gva: Gva) -> Option<Leaf> {
    let found = space.translate(gva).ok()?;
    let held = space.memory().contains(found.gpa, PAGE_SIZE);
    held.then_some(Leaf { gva, gpa: found.gpa, pages: 1, permissions: found.permissions })
}

fn walk_problems(summary: &WalkSummary) -> Vec<Problem> {
    let mut problems = Vec::new();
    if summary.truncated {
        problems.push(Problem::incomplete(
            "the page tables map more than any guest does: only the first part is in the core",
        ));
    }
    if let Some(error) = &summary.first_error {
        let count = summary.tables_unreadable;
        problems.push(Problem::incomplete(format!("page tables not readable: {count}; {error}")));
    }
    if summary.tables_outside_ram != 0 {
        problems.push(Problem::incomplete(format!(
            "page tables that the checkpoint does not hold: {}",
            summary.tables_outside_ram
        )));
    }
    if summary.tables_omitted != 0 {
        problems.push(Problem::note(format!(
            "page tables mapped more than 8 times, further aliases left out: {}",
            summary.tables_omitted
        )));
    }
    if summary.bytes_outside_ram != 0 {
        problems.push(Problem::note(format!(
            "{} KiB is mapped to what is not memory of the checkpoint (devices, mostly)",
            summary.bytes_outside_ram >> 10
        )));
    }
    problems
}
