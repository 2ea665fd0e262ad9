//! The registers of a thread in user mode, as debuggers are told them.

use vmss2core_gdb::description::Description;
use vmss2core_guest::linux::ThreadRegisters;
use vmss2core_machine::arch::ASSUMED;
use vmss2core_machine::{Registers, Scope, Width};

/// The registers that gdb is told before it attaches to a process: those that all have.
pub(super) fn before_attaching(is_64_bit: bool) -> Description {
    description(is_64_bit, &[])
}

/// The description that fits threads with these registers.
pub(super) fn description(is_64_bit: bool, threads: &[&Registers]) -> Description {
    let width = if is_64_bit { Width::Bits64 } else { Width::Bits32 };
    let arch = threads.first().map_or(ASSUMED, |registers| registers.arch());
    Description::new(arch.table(width, Scope::Programs, threads))
}

/// Those of a thread; what cannot be relied on is left out.
pub(super) fn of_thread(found: &ThreadRegisters) -> Registers {
    found.registers.clone().without(&found.unreliable)
}
