//! Virtual memory as debuggers ask for it: from an address on, as far as it goes.

use vmss2core_gdb::Region;
use vmss2core_machine::paging::{AccessError, AddressSpace, read_pages};
use vmss2core_mem::{Gva, PAGE_SIZE};

/// Fills `buf` from `gva` on, each page from the first of `spaces` that has it;
/// returns how many bytes there are before the first that none has.
pub(super) fn read_prefix(spaces: &[AddressSpace], gva: Gva, buf: &mut [u8]) -> usize {
    read_pages(gva, buf, |at, part| spaces.iter().any(|space| space.read(at, part).is_ok()))
}

/// The mapping at an address: one page of whatever size, or the part of the
/// address space that an absent entry stands for.
pub(crate) fn region_at(space: &AddressSpace, gva: Gva) -> Region {
    let (len, permissions) = match space.translate(gva) {
        Ok(found) => (found.page_len, Some(found.permissions)),
        Err(AccessError::NotMapped { level, .. } | AccessError::Reserved { level, .. }) => {
            (space.mode().page_len(level).unwrap_or(PAGE_SIZE), None)
        }
        Err(_) => (PAGE_SIZE, None),
    };
    let start = gva.0 & !len.saturating_sub(1);
    Region { range: start..start.saturating_add(len), permissions, name: None }
}
