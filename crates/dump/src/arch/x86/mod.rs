//! Registers of x86 as files have them.

use vmss2core_machine::x86;

pub(crate) mod fpu;
pub(super) mod notes;
pub(super) mod qemu;

/// Registers that no note can bring into gdb, by the names of the variables that they
/// become.
pub(super) fn without_note(x86: &x86::Registers) -> Vec<(&'static str, u64)> {
    let selector = |selector: Option<u16>| selector.map(u64::from);
    let registers = [
        ("cr0", x86.control.cr0),
        ("cr2", x86.control.cr2),
        ("cr3", x86.control.cr3),
        ("cr4", x86.control.cr4),
        ("cr8", x86.control.cr8),
        ("efer", x86.msrs.efer),
        ("kernel_gs_base", x86.msrs.kernel_gs_base),
        ("gdt_base", x86.gdtr.base),
        ("idt_base", x86.idtr.base),
        ("tr", selector(x86.segments.tr.selector)),
        ("tr_base", x86.segments.tr.base),
        ("ldt", selector(x86.segments.ldt.selector)),
    ];
    registers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
