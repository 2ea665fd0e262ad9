//! macOS on x86: page tables, and registers that hold addresses of the kernel.

use vmss2core_machine::Registers;

pub(in crate::macos) mod roots;

/// Addresses in registers that are the kernel's while it runs, or always.
pub(in crate::macos) fn addresses(registers: &Registers) -> Vec<u64> {
    let Some(x86) = registers.x86() else { return Vec::new() };
    let addresses = [x86.rip, x86.msrs.lstar, x86.idtr.base, x86.gdtr.base];
    addresses.into_iter().flatten().collect()
}
