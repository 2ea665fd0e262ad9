//! Registers from where they are: a vCPU, a `CONTEXT`, a stack that was switched
//! away from.

use std::mem::offset_of;

use vmss2core_formats::dmp::{CONTEXT_AMD64, CONTEXT_I386, Context32, Context64};
use vmss2core_machine::x86;
use vmss2core_machine::x86::Gpr;
use vmss2core_mem::Gva;

use crate::windows::arch::x86::unwind::Registers;
use crate::windows::{Kernel, WindowsCpu};

/// Those of a vCPU.
pub(in crate::windows) fn of(vcpu: &x86::Registers) -> Option<Registers> {
    vcpu.gpr(Gpr::Rsp)?;
    let general = vcpu.general.map(Option::unwrap_or_default);
    Some(Registers { general, rip: vcpu.rip? })
}

/// Those that Windows saved when it crashed, if they are of its kernel. Layout:
/// `CONTEXT` of the Windows SDK.
pub(in crate::windows) fn saved(kernel: &Kernel, cpu: &WindowsCpu) -> Option<Registers> {
    let contexts = [cpu.context, cpu.embedded_context];
    let read = |at| if kernel.is_64_bit() { wide(kernel, at) } else { narrow(kernel, at) };
    let found = contexts.into_iter().flatten().find_map(read)?;
    kernel.view().is_kernel(Gva(found.rip)).then_some(found)
}

fn wide(kernel: &Kernel, at: Gva) -> Option<Registers> {
    let read = |offset: usize, len| kernel.view().uint(at.checked_add(offset as u64)?, len);
    if read(offset_of!(Context64, flags), 4)? & u64::from(CONTEXT_AMD64) == 0 {
        return None;
    }
    let mut registers =
        Registers { rip: read(offset_of!(Context64, rip), 8)?, ..Registers::default() };
    for (offset, register) in
        (offset_of!(Context64, general)..).step_by(8).zip(&mut registers.general)
    {
        *register = read(offset, 8)?;
    }
    Some(registers)
}

fn narrow(kernel: &Kernel, at: Gva) -> Option<Registers> {
    let read = |offset: usize| kernel.view().uint(at.checked_add(offset as u64)?, 4);
    if read(offset_of!(Context32, flags))? & u64::from(CONTEXT_I386) == 0 {
        return None;
    }
    let mut registers =
        Registers { rip: read(offset_of!(Context32, eip))?, ..Registers::default() };
    for (gpr, offset) in [
        (Gpr::Rbx, offset_of!(Context32, ebx)),
        (Gpr::Rbp, offset_of!(Context32, ebp)),
        (Gpr::Rsp, offset_of!(Context32, esp)),
    ] {
        registers.set(gpr as u8, read(offset)?);
    }
    Some(registers)
}

/// Those that a thread which waits will have: `KSWITCH_FRAME` at the end of its
/// stack, whose last words are the frame pointer (64-bit) and a return address.
pub(in crate::windows) fn switched(kernel: &Kernel, stack: Gva) -> Option<Registers> {
    let view = kernel.view();
    let (frame_at, ip_at, len) =
        if kernel.is_64_bit() { (Some(0x30), 0x38, 0x40) } else { (None, 8, 12) };
    let read = |offset: u64| view.uint(Gva(stack.0.checked_add(offset)?), view.word_len());
    let mut registers = Registers { rip: read(ip_at)?, ..Registers::default() };
    if let Some(frame) = frame_at.and_then(read) {
        registers.set(Gpr::Rbp as u8, frame);
    }
    registers.set_rsp(stack.0.checked_add(len)?);
    Some(registers)
}
