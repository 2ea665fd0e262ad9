//! The memory that Windows itself says it has.

use std::ops::Range;

use vmss2core_machine::paging::AddressSpace;
use vmss2core_mem::{Gva, PAGE_SIZE};

use super::{WindowsFacts, kdbg_fields};

/// Most runs that a guest's own list may have.
const MAX_RUNS: u32 = 4096;

/// Windows' own list of its memory, `*MmPhysicalMemoryBlock`, ascending; `None` if it is not in
/// memory or not sound.
pub fn physical_runs(space: &AddressSpace, facts: &WindowsFacts) -> Option<Vec<Range<u64>>> {
    let variable = facts.kdbg_pointer(kdbg_fields::PHYSICAL_MEMORY_BLOCK)?;
    let is_64_bit = space.mode().is_64_bit();
    let narrow = |at: u64| space.read_u32(Gva(at)).ok().map(u64::from);
    let word = |at: u64| if is_64_bit { space.read_u64(Gva(at)).ok() } else { narrow(at) };
    let (width, list, run_len) = if is_64_bit { (8, 0x10, 16) } else { (4, 8, 8) };
    let block = word(variable.0)?;
    let count = space.read_u32(Gva(block)).ok().filter(|count| *count <= MAX_RUNS)?;
    let mut runs = Vec::new();
    let list = (block.checked_add(list)?..).step_by(run_len);
    for at in list.take(usize::try_from(count).ok()?) {
        let (first, pages) = (word(at)?, word(at.checked_add(width)?)?);
        let start = first.checked_mul(PAGE_SIZE)?;
        runs.push(start..start.checked_add(pages.checked_mul(PAGE_SIZE)?)?);
    }
    let is_ascending = runs.windows(2).all(|pair| match pair {
        [low, high] => low.end <= high.start,
        _ => true,
    });
    (!runs.is_empty() && is_ascending).then_some(runs)
}
