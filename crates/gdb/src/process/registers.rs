//! The registers of a thread in user mode, as descriptions have them.

use vmss2core_guest::linux::ThreadRegisters;
use vmss2core_machine::x86;
use vmss2core_machine::x86::{FpuState, Gpr, SegmentRegister, SegmentRegisters};

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
    let values = &found.values;
    let general = Gpr::ALL.map(|gpr| {
        let is_known = !found.unreliable.contains(&gpr.name());
        is_known.then(|| values.gpr(gpr))
    });
    let cpu = x86::Registers {
        general,
        rip: Some(values.rip),
        rflags: Some(values.rflags),
        segments: segments(found),
        fpu: found.fpu.clone(),
        ..x86::Registers::default()
    };
    Registers { cpu, system_call: Some(values.orig_rax) }
}

fn segments(found: &ThreadRegisters) -> SegmentRegisters {
    let values = &found.values;
    // Where the base is not stored, the descriptor has it.
    let described = |selector| {
        let segment = found.tls.iter().find(|segment| segment.selector() == selector);
        segment.map_or(0, |segment| u64::from(segment.base))
    };
    // Selectors have 16 bits; what is above them is what was pushed along.
    let selector = |value: u64| SegmentRegister {
        selector: u16::try_from(value & 0xffff).ok(),
        ..SegmentRegister::default()
    };
    let with_base = |value, base| {
        let base = if base == 0 { described(value) } else { base };
        SegmentRegister { base: Some(base), ..selector(value) }
    };
    SegmentRegisters {
        cs: selector(values.cs),
        ss: selector(values.ss),
        ds: selector(values.ds),
        es: selector(values.es),
        fs: with_base(values.fs, values.fs_base),
        gs: with_base(values.gs, values.gs_base),
        ..SegmentRegisters::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_relied_on_is_missing_and_not_zero() {
        let mut found = ThreadRegisters { unreliable: vec!["rbx"], ..ThreadRegisters::default() };
        found.values.set_gpr(Gpr::Rbx, 7);
        found.values.set_gpr(Gpr::Rbp, 8);
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
