//! Addresses of the kernel that a processor's registers hold.

use vmss2core_mem::Gva;

use crate::cpu::Cpu;
use crate::windows::View;
use crate::windows::view::element;

/// Addresses in the kernel's code, the surest first, and what they are.
pub(in crate::windows) fn in_registers(
    view: &View,
    is_64_bit: bool,
    cpu: &Cpu<'_>,
) -> Vec<(u64, &'static str)> {
    let Some(x86) = cpu.registers.x86() else { return Vec::new() };
    let named = |gva: Option<u64>, what: &'static str| gva.map(|gva| (gva, what));
    let is_kernel = cpu.is_in_kernel();
    let gates = (0..0x20).filter_map(|number| gate(view, is_64_bit, x86.idtr.base?, number));
    gates
        .map(|gate| (gate, "interrupt handler"))
        .chain(named(x86.msrs.lstar.filter(|_| is_64_bit), "LSTAR"))
        .chain(named(x86.msrs.sysenter_eip.filter(|_| !is_64_bit), "SYSENTER_EIP"))
        .chain(named(x86.rip.filter(|_| is_kernel), "instruction pointer"))
        .collect()
}

/// The handler of an entry of the interrupt table.
fn gate(view: &View, is_64_bit: bool, base: u64, number: u64) -> Option<u64> {
    let len = if is_64_bit { 16 } else { 8 };
    let at = element(Gva(base), number, len)?;
    let low = view.uint(at, 8)?;
    if !is_64_bit {
        return Some(low & 0xffff | low >> 32 & 0xffff_0000);
    }
    let high = view.uint(at.checked_add(8)?, 4)?;
    Some(low & 0xffff | low >> 32 & 0xffff_0000 | high << 32)
}
