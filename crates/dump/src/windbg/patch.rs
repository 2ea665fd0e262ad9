//! Bytes that go over the guest's memory on its way into the file.

use vmss2core_machine::paging::AddressSpace;
use vmss2core_mem::{Gpa, Gva, PAGE_SIZE};

use super::runs::Memory;
use crate::engine::Literal;

/// Bytes at an address of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) gva: Gva,
    pub(super) bytes: Vec<u8>,
    /// Their name for the user.
    pub(super) what: String,
}

/// A part of a patch within one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) gpa: Gpa,
    bytes: Vec<u8>,
}

/// The parts of a patch; `None` if some of it has no physical address.
pub(super) fn parts(patch: &Patch, space: &AddressSpace) -> Option<Vec<Part>> {
    let (mut parts, mut at, mut rest) = (Vec::new(), patch.gva, patch.bytes.as_slice());
    while !rest.is_empty() {
        let in_page = usize::try_from(PAGE_SIZE.saturating_sub(at.page_offset())).ok()?;
        let (now, later) = rest.split_at(rest.len().min(in_page));
        parts.push(Part { gpa: space.translate(at).ok()?.gpa, bytes: now.to_vec() });
        at = at.checked_add(now.len() as u64)?;
        rest = later;
    }
    Some(parts)
}

/// Where they go in the file; `None` if the file does not have that memory.
pub(super) fn literals(parts: &[Part], memory: &Memory) -> Option<Vec<Literal>> {
    let literal = |part: &Part| {
        let (offset, room) = memory.offset_of(part.gpa)?;
        (part.bytes.len() as u64 <= room).then(|| Literal { offset, bytes: part.bytes.clone() })
    };
    parts.iter().map(literal).collect()
}
