//! Whether the checkpoint holds all of the memory that the kernel counts.

use std::ops::ControlFlow;

use vmss2core_machine::Checkpoint;
use vmss2core_machine::paging::{AddressSpace, Limits};
use vmss2core_mem::{Gpa, Gva, PAGE_SIZE, Problem};

use super::{BetterSources, Kernel};
use crate::Facts;
use crate::system::CUT_OFF;

/// Linux maps all of its memory (of which 32-bit kernels only the first part). Looking at that
/// is quick; only where it leads out of the checkpoint the kernel is asked how much there is. If
/// it does not tell, what it maps does: old kernels map what lies between their memory too, but
/// none maps more than a large page after its end.
pub(super) fn missing(checkpoint: &Checkpoint, facts: &Facts) -> Option<Problem> {
    /// A PC leaves this out below 1 MiB; it is mapped as well.
    const LEFT_OUT: u64 = 1 << 20;
    let linux = facts.linux()?;
    let (mode, root) = linux.kernel_root.as_ref()?.value;
    let start = linux.direct_map.as_ref()?.value.0;
    let end = if mode.is_64_bit() { start.saturating_add(64 << 40) } else { 1 << 32 };
    let memory = &checkpoint.memory;
    let space = AddressSpace::new(memory, mode, root);
    let seen = space.walk_range(start..end, &Limits::default(), &mut |_| ControlFlow::Continue(()));
    if seen.tables_outside_ram == 0 && seen.bytes_outside_ram <= LEFT_OUT {
        return None;
    }
    let kernel = Kernel::open(checkpoint, facts, BetterSources::default()).ok();
    let held = memory.end();
    match kernel.and_then(|kernel| highest(&kernel)) {
        Some(end) if end > held => Some(Problem::incomplete(format!(
            "memory is missing: the kernel has memory up to {end} (max_pfn), the checkpoint up \
             to {held}; {CUT_OFF}"
        ))),
        None if maps_beyond(&space, start, held) => Some(Problem::incomplete(format!(
            "memory is missing: the kernel's map of its memory goes on where the checkpoint ends, \
             at {held}; {CUT_OFF}"
        ))),
        None if seen.tables_outside_ram > 0 => Some(Problem::incomplete(format!(
            "memory is missing: {} of the kernel's page tables lie where the checkpoint holds \
             none; it ends at {held}; {CUT_OFF}",
            seen.tables_outside_ram
        ))),
        _ => None,
    }
}

/// Whether the direct map goes on after the end of memory for more than what is left of
/// a large page.
fn maps_beyond(space: &AddressSpace, direct_map: u64, held: Gpa) -> bool {
    /// The largest that processors of 32 bits have.
    const LARGE_PAGE: u64 = 4 << 20;
    let gpa = held.checked_add(LARGE_PAGE);
    let gva = gpa.and_then(|gpa| direct_map.checked_add(gpa.0));
    let found = gva.and_then(|gva| space.translate(Gva(gva)).ok());
    found.map(|found| found.gpa) == gpa
}

/// The end of memory as the kernel counts it.
fn highest(kernel: &Kernel) -> Option<Gpa> {
    let at = kernel.symbol("max_pfn").ok()?.value;
    let pages = kernel.read_pointer(at, "max_pfn").ok()?.0;
    pages.checked_mul(PAGE_SIZE).filter(|end| *end > 0).map(Gpa)
}
