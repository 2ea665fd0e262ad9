//! Entry points for fuzzing; not for use.

use std::sync::Arc;

use vmss2core_mem::{Gpa, Gva, PhysicalMemory};

use super::{Registers, paging_of};
use crate::paging::Limits;

/// Translates, reads and lists through page tables made of `data`: CR0, CR3,
/// CR4, EFER, four addresses, then memory from physical address 0 on.
pub fn paging(data: &[u8]) {
    let Some((front, memory_bytes)) = data.split_at_checked(64) else { return };
    let words: Vec<u64> = front.as_chunks().0.iter().map(|w| u64::from_le_bytes(*w)).collect();
    let &[cr0, cr3, cr4, efer, ref addresses @ ..] = words.as_slice() else { return };
    let mut memory = PhysicalMemory::new();
    let bytes = Arc::new(memory_bytes.to_vec());
    let len = bytes.len() as u64;
    if memory.map(Gpa(0), len, bytes, 0).is_err() {
        return;
    }
    let mut vcpu = Registers { rip: addresses.first().copied(), ..Registers::default() };
    vcpu.control.cr3 = Some(cr3);
    // Values with the top bit set stand for registers that are not known.
    let known = |value: u64| (value >> 63 == 0).then_some(value);
    (vcpu.control.cr0, vcpu.control.cr4, vcpu.msrs.efer) = (known(cr0), known(cr4), known(efer));
    let Ok(paging) = paging_of(&memory, &vcpu) else { return };
    let space = paging.address_space(&memory);
    for address in addresses {
        let _ = space.translate(Gva(*address));
        let _ = space.read(Gva(*address), &mut [0; 300]);
    }
    let limits = Limits { tables: 1 << 12, runs: 1 << 12, ..Limits::default() };
    let leaves = space.leaves(&limits);
    drop(leaves);
}
