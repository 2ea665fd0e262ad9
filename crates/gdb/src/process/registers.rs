//! The registers of a thread in user mode, as descriptions have them.

use vmss2core_guest::linux::ThreadRegisters;
use vmss2core_machine::x86::{FpuState, Gpr};

use crate::description::{Description, Feature, Width};
use crate::target::Registers;

/// What gdb is told before it attaches to a process: those that all have.
pub(super) fn before_attaching(is_64_bit: bool) -> Description {
    description(is_64_bit, std::iter::empty())
}

/// The description that fits threads with these states. The number of the system
/// call makes gdb take the target for Linux; SSE has to be there because its `gcore`
/// wants it, known or not.
pub(super) fn description<'f>(
    is_64_bit: bool,
    states: impl IntoIterator<Item = &'f FpuState>,
) -> Description {
    let width = if is_64_bit { Width::Bits64 } else { Width::Bits32 };
    let mut features = vec![Feature::Core, Feature::Sse, Feature::Linux, Feature::Segments];
    if states.into_iter().any(FpuState::has_avx) {
        features.push(Feature::Avx);
    }
    Description::new(width, &features)
}

/// Those of a thread; what cannot be relied on is left out.
pub(super) fn of_thread(found: &ThreadRegisters) -> Registers {
    let mut cpu = found.cpu.clone();
    for (gpr, value) in Gpr::ALL.iter().zip(&mut cpu.general) {
        value.take_if(|_| found.unreliable.contains(&gpr.name()));
    }
    Registers { cpu, system_call: Some(found.system_call) }
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
        assert_eq!(registers.cpu.gpr(Gpr::Rbx), None);
        assert_eq!(registers.cpu.gpr(Gpr::Rbp), Some(8));
    }

    #[test]
    fn upper_halves_are_described_where_a_thread_has_room_for_them() {
        let number = |states: &[FpuState]| description(true, states).number_of("ymm0h");
        assert_eq!(number(&[]), None);
        assert_eq!(number(&[FpuState::Xsave(vec![0; 576])]), None);
        assert!(number(&[FpuState::Xsave(vec![0; 832])]).is_some());
        assert_eq!(description(false, &[]).number_of("orig_eax"), Some(41));
    }
}
