//! Which of Linux' CPUs a vCPU is.
//!
//! Linux keeps the number of a CPU where user mode can read it without a system
//! call: as the limit of a segment that nothing uses (`GDT_ENTRY_CPUNODE`, since
//! 2.6.22 for 64-bit kernels and 4.20 for 32-bit ones) and, for RDTSCP, in
//! TSC_AUX. Both hold the node's number from bit 12 on.

use vmss2core_mem::{Gva, X86Vcpu};

use crate::paging::AddressSpace;

/// Where the segment is in the descriptor table of a 64-bit kernel.
const ENTRY_64_BIT: u64 = 15;
/// The kernel's own entries at the end of a 32-bit one; which of them it is has
/// changed, but no other is open to user mode.
const ENTRIES_32_BIT: std::ops::Range<u64> = 24..32;
const CPU: u32 = 0xfff;

/// The number of each vCPU; `None` throughout unless they are all different.
pub(super) fn numbers(vcpus: &[(&X86Vcpu, Option<AddressSpace<'_>>)]) -> Vec<Option<u32>> {
    let numbers: Vec<Option<u32>> =
        vcpus.iter().map(|(vcpu, space)| number(vcpu, space.as_ref()?)).collect();
    let mut known: Vec<u32> = numbers.iter().flatten().copied().collect();
    known.sort_unstable();
    let distinct = known.windows(2).all(|pair| pair.first() != pair.last());
    if distinct { numbers } else { vec![None; vcpus.len()] }
}

fn number(vcpu: &X86Vcpu, space: &AddressSpace<'_>) -> Option<u32> {
    let table = vcpu.gdtr.base?;
    let mut entries =
        if space.mode().is_64_bit() { ENTRY_64_BIT..ENTRY_64_BIT + 1 } else { ENTRIES_32_BIT };
    entries.find_map(|entry| {
        let descriptor = space.read_u64(Gva(table.checked_add(entry * 8)?)).ok()?;
        limit_of_cpunode(descriptor).map(|limit| limit & CPU)
    })
}

/// The limit of a present, expand-down, read-only data segment of privilege 3:
/// what nobody but Linux makes, for this.
fn limit_of_cpunode(descriptor: u64) -> Option<u32> {
    // Type and S in bits 40 to 44, DPL in 45 and 46, P in 47; bit 40 is set by
    // the processor at the first use.
    const MASK: u64 = 0xfe << 40;
    const WANT: u64 = 0xf4 << 40;
    let limit = descriptor & 0xffff | (descriptor >> 32) & 0xf_0000;
    (descriptor & MASK == WANT).then(|| u32::try_from(limit).ok()).flatten()
}
