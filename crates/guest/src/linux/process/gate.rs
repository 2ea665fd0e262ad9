//! The vDSO of 32-bit kernels of 2.6 that is at the same address in each process
//! (`CONFIG_COMPAT_VDSO`, all until 2.6.17): the kernel itself maps it, and no list of
//! mappings has it. `/proc/PID/maps` takes it from a `vm_area_struct` of its own
//! (`gate_vma`, mm/memory.c).

use std::ops::ControlFlow;

use vmss2core_machine::paging::AddressSpace;
use vmss2core_mem::{Gva, PAGE_SIZE, Sums};

use super::areas::Area;
use super::vma::VmaFlags;
use crate::linux::Kernel;
use crate::linux::words::{image_range, visit_chunks};

/// `VM_READ`, `VM_EXEC`, and that they may be set.
const IN_GATE: u64 = 0x55;

/// The mapping as the kernel has it.
#[derive(Clone, Copy, Debug)]
pub(in crate::linux) struct Gate {
    start: u64,
    flags: VmaFlags,
}

/// The mapping with the vDSO that a program was told of, if it is none of `areas`.
pub(super) fn area(
    kernel: &Kernel,
    space: &AddressSpace,
    vdso: Option<u64>,
    areas: &[Area],
) -> Option<Area> {
    let start = vdso.filter(|start| kernel.word_len() == 4 && start.is_multiple_of(PAGE_SIZE))?;
    let is_listed = areas.iter().any(|area| (area.start..area.end).contains(&start));
    let is_mapped = space.translate(Gva(start)).is_ok_and(|found| found.permissions.user);
    (!is_listed && is_mapped).then_some(())?;
    let gate = kernel.moment.gate.get_or_init(|| find(kernel, start));
    let gate = gate.filter(|gate| gate.start == start)?;
    let end = start.checked_add(PAGE_SIZE)?;
    Some(Area { start, end, flags: gate.flags, ..Area::default() })
}

/// Finds the kernel's `vm_area_struct` with that beginning, which belongs to no process.
fn find(kernel: &Kernel, start: u64) -> Option<Gate> {
    let at = |path| Some(kernel.layout().member("vm_area_struct", path)?.value.offset_bytes);
    let (start_at, mm_at, flags_at) = (at("vm_start")?, at("vm_mm")?, at("vm_flags")?);
    let end = start.checked_add(PAGE_SIZE)?;
    let word = kernel.word_len();
    let read = |gva: u64| kernel.read_pointer(Gva(gva), "gate_vma").ok().map(|gva| gva.0);
    let mut found = None;
    visit_chunks(kernel, &image_range(kernel)?, 2, &mut |chunk, words| {
        let places = (0..).zip(words.windows(2)).filter(|(_, pair)| **pair == [start, end]);
        let mut gates = places.filter_map(|(index, _): (u64, _)| {
            let area = chunk.plus(index.times(word)).checked_sub(start_at)?;
            let (mm, flags) = (read(area.plus(mm_at))?, VmaFlags(read(area.plus(flags_at))?));
            // Readable and executable, or nothing at all; no process can write to it.
            let is_gate = mm == 0 && flags.0 & 0xffff & !IN_GATE == 0;
            is_gate.then_some(Gate { start, flags })
        });
        found = gates.next();
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found
}
