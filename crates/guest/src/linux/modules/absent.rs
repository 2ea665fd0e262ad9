//! Proof that a kernel has no modules, where no symbol says where their ring is.

use std::ops::{ControlFlow, Range};

use vmss2core_machine::paging::{Leaf, Limits, WalkSummary};
use vmss2core_mem::{Gva, PAGE_SIZE, Sums, little_endian};

use super::learn::is_name;
use super::shape::Bytes;
use super::{LONGEST_NAME, chain};
use crate::linux::{Kernel, arch};

/// Pages that are looked at, which bounds the time.
const MOST_PAGES: u64 = 1 << 14;

/// What proves that there are none.
pub(super) fn proof(kernel: &Kernel) -> Option<&'static str> {
    if has_empty_area(kernel) {
        return Some("the area of modules, where nothing is mapped");
    }
    has_no_module_outside(kernel)
        .then_some("what is mapped apart from the direct map, where no module is")
}

/// Whether nothing is mapped where modules would be.
fn has_empty_area(kernel: &Kernel) -> bool {
    let Some(text) = kernel.linux().text.as_ref().map(|text| text.value) else { return false };
    let (space, end) = (kernel.space(), text.start.0.plus(text.len));
    let Some(area) = arch::module_area(space.mode(), end) else { return false };
    let mut is_empty = true;
    let walk = space.walk_range(area, &Limits::default(), &mut |_| {
        is_empty = false;
        ControlFlow::Break(())
    });
    is_empty && is_whole(&walk) && walk.bytes_outside_ram == 0
}

/// Whether a walk has seen all tables.
fn is_whole(walk: &WalkSummary) -> bool {
    let unseen = [
        walk.tables_omitted,
        walk.tables_outside_ram,
        walk.tables_unreadable,
        walk.reserved_skipped,
    ];
    !walk.truncated && unseen == [0; 4]
}

/// A 32-bit kernel has modules among what else it maps, but never in its direct map.
/// Devices are mapped there too, so that pages outside of the memory prove nothing.
fn has_no_module_outside(kernel: &Kernel) -> bool {
    let map = kernel.linux().direct_map.as_ref().map(|map| map.value.0);
    let Some(map) = map.filter(|_| kernel.word_len() == 4) else { return false };
    let (mut left, mut found) = (MOST_PAGES, false);
    let mut look = |leaf: Leaf| {
        let is_direct = leaf.gva.0.wrapping_sub(leaf.gpa.0) == map;
        for page in pages(&leaf).filter(|_| !is_direct) {
            found |= left == 0 || has_module(kernel, page);
            if found {
                return ControlFlow::Break(());
            }
            left = left.minus(1);
        }
        ControlFlow::Continue(())
    };
    let walk = kernel.space().walk_range(map..1 << 32, &Limits::default(), &mut look);
    !found && is_whole(&walk)
}

fn pages(leaf: &Leaf) -> impl Iterator<Item = u64> + use<> {
    let start = leaf.gva.0;
    (0..u64::from(leaf.pages)).map(move |page| start.plus(page.times(PAGE_SIZE)))
}

/// Whether something in a page may be a module: a state, two links of which one leads
/// back, a name; or what 2.4 has. A page that cannot be read may have one.
fn has_module(kernel: &Kernel, page: u64) -> bool {
    let mut bytes = vec![0; 4096];
    if kernel.space().read(Gva(page), &mut bytes).is_err() {
        return true;
    }
    if chain::is_module(kernel, page) {
        return true;
    }
    let words: Vec<u64> = bytes.chunks_exact(4).map(little_endian).collect();
    let places: Range<u64> = 0..words.len() as u64;
    places.zip(words.windows(2)).any(|(index, pair)| {
        let at = page.plus(index.times(4));
        pair.iter().all(|link| *link >= 1 << 30 && link.is_multiple_of(4))
            && may_be_module(kernel, at, pair)
    })
}

/// Whether the links at an address may be those of a module.
fn may_be_module(kernel: &Kernel, at: u64, links: &[u64]) -> bool {
    let leads_here =
        |place: u64| kernel.read_pointer(Gva(place), "list_head").ok() == Some(Gva(at));
    let [next, last] = links else { return false };
    if !leads_here(next.wrapping_add(4)) && !leads_here(*last) {
        return false;
    }
    let mut bytes = vec![0; LONGEST_NAME.plus(12)];
    let Some(start) = at.checked_sub(4) else { return false };
    if kernel.space().read(Gva(start), &mut bytes).is_err() {
        return false;
    }
    let module = Bytes { at: Gva(start), bytes };
    module.uint(0, 4).is_some_and(|state| state <= 3)
        && module.text(12, LONGEST_NAME).is_some_and(|name| is_name(&name))
}

#[cfg(test)]
mod tests {
    use crate::linux::modules::tests::{DIRECT, Memory};
    use vmss2core_mem::Gva;

    const AREA: u64 = 0xc881_0000;
    const PAGE: u64 = 0x20_0000;

    /// A kernel whose image has an empty ring, and some memory of its own apart.
    fn guest() -> Memory {
        let mut memory = Memory::new();
        memory.map(AREA, PAGE, 1);
        memory.set(0x12_0000, DIRECT + 0x12_0000);
        memory.set(0x12_0004, DIRECT + 0x12_0000);
        // A list in it, with no name after it.
        memory.set(PAGE + 0x104, AREA + 0x204);
        memory.set(PAGE + 0x108, AREA + 0x204);
        memory.set(PAGE + 0x204, AREA + 0x104);
        memory.set(PAGE + 0x208, AREA + 0x104);
        memory
    }

    #[test]
    fn that_no_memory_holds_a_module_proves_that_there_are_none() {
        guest().with(|kernel| {
            let found = kernel.modules();
            assert!(found.modules.is_empty() && found.problems.is_empty(), "{found:?}");
            assert!(found.how.contains("no module is"), "{}", found.how);
        });
    }

    /// Its ring is torn, so that it was not found.
    #[test]
    fn what_may_be_a_module_leaves_it_open() {
        let mut memory = guest();
        memory.put(PAGE + 0x10c, b"e1000");
        memory.with(|kernel| {
            assert_eq!(
                kernel.read_pointer(Gva(AREA + 0x104), "list").ok(),
                Some(Gva(AREA + 0x204))
            );
            assert!(kernel.modules().problems.iter().any(|one| one.message.contains("not found")));
        });
    }
}
