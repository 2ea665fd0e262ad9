//! Registers of x86 as several formats want them.

use vmss2core_machine::{Vcpu, x86};

pub(crate) mod fpu;

/// EFER, if it is known.
pub(crate) fn efer(vcpu: &Vcpu) -> Option<u64> {
    vcpu.x86().and_then(|x86| x86.msrs.efer)
}

/// EFER.LMA.
pub(crate) fn in_long_mode(vcpu: &Vcpu) -> bool {
    efer(vcpu).is_some_and(|efer| efer & (1 << 10) != 0)
}

/// Where the vCPU executes, as a linear address.
pub(crate) fn linear_pc(x86: &x86::Registers) -> Option<u64> {
    let efer = x86.msrs.efer.unwrap_or(0);
    let base = if efer & (1 << 10) == 0 { x86.segments.cs.base.unwrap_or(0) } else { 0 };
    Some(base.wrapping_add(x86.rip?))
}
