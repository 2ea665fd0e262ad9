//! The registers of a thread in user mode, as debuggers are told them.

use vmss2core_gdb::description::Description;
use vmss2core_guest::linux::ThreadRegisters;
use vmss2core_machine::x86::Gpr;
use vmss2core_machine::{Arch, Registers, Scope, Width, x86};

/// What gdb is told before it attaches to a process: those that all have.
pub(super) fn before_attaching(is_64_bit: bool) -> Description {
    description(is_64_bit, &[])
}

/// The description that fits threads with these registers.
pub(super) fn description(is_64_bit: bool, threads: &[&Registers]) -> Description {
    let width = if is_64_bit { Width::Bits64 } else { Width::Bits32 };
    let arch = threads.first().map_or(&x86::X86 as &dyn Arch, |registers| registers.arch());
    Description::new(arch.table(width, Scope::Programs, threads))
}

/// Those of a thread; what cannot be relied on is left out.
pub(super) fn of_thread(found: &ThreadRegisters) -> Registers {
    let mut cpu = found.cpu.clone();
    for (gpr, value) in Gpr::ALL.iter().zip(&mut cpu.general) {
        value.take_if(|_| found.unreliable.contains(&gpr.name()));
    }
    cpu.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_relied_on_is_missing_and_not_zero() {
        let mut found = ThreadRegisters { unreliable: vec!["rbx"], ..ThreadRegisters::default() };
        found.cpu.set_gpr(Gpr::Rbx, 7);
        found.cpu.set_gpr(Gpr::Rbp, 8);
        let registers = of_thread(&found);
        let x86 = registers.x86().unwrap();
        assert_eq!((x86.gpr(Gpr::Rbx), x86.gpr(Gpr::Rbp)), (None, Some(8)));
    }
}
