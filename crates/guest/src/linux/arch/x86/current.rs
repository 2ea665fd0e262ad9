//! The task that a processor runs, by its registers: where its own variables
//! are, and on which stacks it is or would be.

use vmss2core_machine::{Privilege, Registers, x86};
use vmss2core_mem::{Found, Gva};

use super::cpus::GDT_ENTRY_PERCPU;
use crate::linux::Kernel;

/// Where the processor finds stacks in a task state segment: ESP0 and ESP1 of
/// 32 bits, RSP0 and RSP1 of 64.
const TSS_STACKS: [u64; 2] = [4, 12];

/// Bases of the processor's own variables, most trustworthy first.
pub(in crate::linux) fn percpu_bases(
    kernel: &Kernel,
    registers: &Registers,
    privilege: Option<Privilege>,
) -> Vec<Found<u64>> {
    let Some(x86) = registers.x86() else { return Vec::new() };
    if kernel.linux().is_64_bit {
        return gs_bases(x86, privilege);
    }
    let base = fs_base(kernel, x86);
    base.map(|base| Found::new(base, "descriptor of the CPU's own variables")).into_iter().collect()
}

/// The kernel's GS base. Between entry and `swapgs` the two are the other way
/// round, so both are tried.
fn gs_bases(x86: &x86::Registers, privilege: Option<Privilege>) -> Vec<Found<u64>> {
    let active = x86.segments.gs.base.map(|base| Found::new(base, "GS base"));
    let other = x86.msrs.kernel_gs_base.map(|base| Found::new(base, "KERNEL_GS_BASE"));
    let order =
        if privilege == Some(Privilege::Kernel) { [active, other] } else { [other, active] };
    // The kernel's lies in the upper half; a program's does not.
    order.into_iter().flatten().filter(|base| base.value >> 63 == 1).collect()
}

/// Value of FS in a 32-bit kernel, also while a program runs.
fn fs_base(kernel: &Kernel, x86: &x86::Registers) -> Option<u64> {
    let at = x86.gdtr.base?.checked_add(GDT_ENTRY_PERCPU * 8)?;
    let descriptor = kernel.read_uint(Gva(at), 8, "descriptor table").ok()?;
    Some(x86::descriptor_base(descriptor))
}

/// Addresses on the stacks that the processor changes to when it enters the kernel;
/// `word` reads the kernel's memory.
pub(in crate::linux) fn entry_stacks(
    registers: &Registers,
    word: impl Fn(u64) -> Option<u64>,
) -> Vec<u64> {
    let tss = registers.x86().and_then(|x86| x86.segments.tr.base);
    let tops = tss.into_iter().flat_map(|tss| TSS_STACKS.map(|at| word(tss.wrapping_add(at))));
    // The top belongs to the stack above.
    tops.filter_map(|top| top?.checked_sub(1)).collect()
}

/// Where the processor's descriptor table lies, which is among its own variables.
pub(in crate::linux) fn descriptor_table(registers: &Registers) -> Option<u64> {
    registers.x86()?.gdtr.base
}
