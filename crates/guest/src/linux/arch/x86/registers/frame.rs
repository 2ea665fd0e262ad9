//! Where a thread that entered the kernel left its user registers: `struct
//! pt_regs` at the top of its kernel stack.
//!
//! How large stacks are and how much lies above the structure depends on the
//! kernel's configuration: nothing, 16 bytes with `CONFIG_X86_FRED` (also on
//! processors without FRED), 8 or 16 on 32-bit kernels. All combinations are
//! tried on many threads, and the one that shows user registers most often is
//! taken. 32-bit kernels up to 2.6.29 stored fewer segment registers.

use vmss2core_machine::x86::{self, Gpr, SegmentRegister, SegmentRegisters};
use vmss2core_mem::{Found, Gva, little_endian};

use super::raw::{PT_REGS_32, PT_REGS_64};
use crate::linux::arch::x86::unwind::stack_sizes;
use crate::linux::{Kernel, LinuxError, Task};

/// User code and stack segments of x86-64: 64-bit code, 32-bit code.
const CODE_64: u16 = 0x33;
const CODE_COMPAT: u16 = 0x23;
const DATA_64: u16 = 0x2b;
/// Registers in a frame of a 32-bit kernel, and what they were in 2.4.
const CODE_32: [u64; 2] = [0x73, 0x23];
const DATA_32: [u64; 2] = [0x7b, 0x2b];

const PADS_64: [u64; 2] = [0, 16];
const PADS_32: [u64; 3] = [8, 0, 16];
/// Threads that are asked; more would not change the answer.
const MAX_ASKED: usize = 256;
/// Longest `pt_regs`: that of x86-64.
const MAX_FRAME_BYTES: usize = 8 * PT_REGS_64.count;

const FLAGS_ALWAYS: u64 = 2;
/// Beyond ID (21), EFLAGS has no bits.
const FLAGS_END: u64 = 1 << 22;

/// Where the structure ends, seen from a stack's lowest address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FramePlace {
    pub(super) stack_bytes: u64,
    pub(super) pad_bytes: u64,
}

impl FramePlace {
    fn end(self, stack: Gva) -> Gva {
        Gva(stack.0.wrapping_add(self.stack_bytes).wrapping_sub(self.pad_bytes))
    }
}

/// The place that fits most of these threads.
pub(super) fn calibrate(kernel: &Kernel, tasks: &[Task]) -> Option<Found<FramePlace>> {
    let stacks: Vec<Gva> = tasks
        .iter()
        .filter(|task| task.mm.is_some() && task.on_vcpu.is_none())
        .chain(tasks.iter().filter(|task| task.mm.is_some() && task.on_vcpu.is_some()))
        .filter_map(|task| task.stack)
        .take(MAX_ASKED)
        .collect();
    let fitting = |place: FramePlace| {
        stacks.iter().filter(|stack| read(kernel, place.end(**stack)).is_some()).count()
    };
    let mut best: Option<(usize, FramePlace)> = None;
    for place in places(kernel) {
        let count = fitting(place);
        if count > best.map_or(0, |(most, _)| most) {
            best = Some((count, place));
        }
    }
    let (count, place) = best?;
    let how = format!(
        "{count} of {} threads have user registers {} bytes below the end of a stack of {} KiB",
        stacks.len(),
        place.pad_bytes,
        place.stack_bytes >> 10
    );
    Some(Found::new(place, how))
}

fn places(kernel: &Kernel) -> Vec<FramePlace> {
    let pads: &[u64] = if kernel.linux().is_64_bit { &PADS_64 } else { &PADS_32 };
    let place = |stack_bytes, pad_bytes| FramePlace { stack_bytes, pad_bytes };
    let of_size = |size| pads.iter().map(move |pad| place(size, *pad));
    stack_sizes(kernel).into_iter().flat_map(of_size).collect()
}

/// Registers that a thread stored when it entered the kernel.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) cpu: x86::Registers,
    /// Where `struct pt_regs` begins.
    pub(super) at: Gva,
    /// Not all of the registers were stored.
    pub(super) is_partial: bool,
}

/// -1 of the guest.
pub(super) const NO_SYSTEM_CALL: u64 = u64::MAX;

/// The registers of a thread that is in the kernel. `place` is what
/// [`calibrate`] found; kernels up to 4.x also say where the stack ends.
pub(super) fn of_task(
    kernel: &Kernel,
    place: Option<FramePlace>,
    task: &Task,
) -> Result<Found<Stored>, LinuxError> {
    let by_stack = task.stack.and_then(|stack| Some(place?.end(stack)));
    let object = kernel.object(task.gva, "task_struct");
    let by_pointer = object.pointer("thread.sp0|thread.rsp0|thread.esp0").ok();
    let ends = [by_stack, by_pointer];
    for end in ends.iter().flatten() {
        if let Some(mut values) = read(kernel, *end) {
            complete_call(kernel, task, &mut values);
            return Ok(Found::new(values, format!("saved below {end} on its kernel stack")));
        }
    }
    // Before 4.1 a system call did not store what the processor had not.
    if let (Ok(stack_pointer), Some(end)) =
        (object.uint("thread.usersp|thread.userrsp"), ends.iter().flatten().next())
        && let Some(values) = read_partial(kernel, *end, stack_pointer)
    {
        return Ok(Found::new(values, format!("saved in part below {end} on its kernel stack")));
    }
    Err(LinuxError::Corrupt {
        what: format!("user registers of thread {} ({})", task.tid, task.comm),
        at: by_stack.or(by_pointer).or(task.stack).unwrap_or(task.gva),
        why: "what lies at the top of its kernel stack are no user registers".to_owned(),
    })
}

/// Before 4.1 a system call of a 64-bit program did not store what the SYSCALL instruction
/// left in registers, nor its stack pointer: the slots have those of an earlier entry.
fn complete_call(kernel: &Kernel, task: &Task, stored: &mut Stored) {
    let cpu = &mut stored.cpu;
    let is_call = cpu.system_call.is_some_and(|number| number >> 63 == 0);
    let is_64_bit = kernel.linux().is_64_bit && cpu.segments.cs.selector == Some(CODE_64);
    let Some(place) = kernel.left_stack_pointer().filter(|_| is_call && is_64_bit) else { return };
    stored.is_partial = true;
    cpu.rflags = cpu.gpr(Gpr::R11);
    let sp = left_stack_pointer(kernel, task.gva, task.on_vcpu, place);
    for (register, value) in [(Gpr::Rcx, cpu.rip), (Gpr::Rsp, sp)] {
        if let Some(slot) = cpu.general.get_mut(register as usize) {
            *slot = value;
        }
    }
}

/// Where a program's stack is that is in a system call: what its CPU has, or kept for it when
/// it switched to another thread. `place` is where, among the CPU's variables.
pub(in crate::linux::arch::x86) fn left_stack_pointer(
    kernel: &Kernel,
    task: Gva,
    vcpu: Option<u32>,
    place: u64,
) -> Option<u64> {
    let at = if let Some(vcpu) = vcpu {
        let x86 = kernel.registers_of(vcpu)?.x86()?;
        Gva(super::percpu(x86)?.0.wrapping_add(place))
    } else {
        let object = kernel.object(task, "task_struct");
        let named = object.address_of("thread.usersp|thread.userrsp").ok();
        // It follows `sp`.
        named.or_else(|| kernel.stack_pointer_of(task)?.checked_add(8))?
    };
    let sp = kernel.read_pointer(at, "thread.usersp").ok()?.0;
    (1..1 << 47).contains(&sp).then_some(sp)
}

/// The structure that ends here, if it holds user registers.
fn read(kernel: &Kernel, end: Gva) -> Option<Stored> {
    let mut bytes = [0; MAX_FRAME_BYTES];
    let used = if kernel.linux().is_64_bit {
        MAX_FRAME_BYTES
    } else {
        PT_REGS_32[0].count.saturating_mul(4)
    };
    let bytes = bytes.get_mut(..used)?;
    let start = Gva(end.0.checked_sub(u64::try_from(used).ok()?)?);
    kernel.read(start, bytes, "pt_regs").ok()?;
    let stored = if kernel.linux().is_64_bit { parse_64(bytes)? } else { parse_32(bytes)? };
    Some(Stored { at: start, ..stored })
}

fn parse_64(bytes: &[u8]) -> Option<Stored> {
    let stored = decode_64(bytes)?;
    let of = &stored.cpu.segments;
    let segments =
        matches!(of.cs.selector, Some(CODE_64 | CODE_COMPAT)) && of.ss.selector == Some(DATA_64);
    (segments && is_user_state(&stored.cpu, 1 << 56)).then_some(stored)
}

fn decode_64(bytes: &[u8]) -> Option<Stored> {
    let words: Vec<u64> = bytes.chunks_exact(8).map(little_endian).collect();
    let word = |index: usize| words.get(index).copied();
    let regs = &PT_REGS_64;
    let mut cpu = x86::Registers {
        rip: Some(word(regs.ip)?),
        rflags: Some(word(regs.flags)?),
        system_call: Some(word(regs.orig_ax)?),
        ..x86::Registers::default()
    };
    // FRED has event data above the selectors.
    cpu.segments.cs.selector = selector(word(regs.cs)?);
    cpu.segments.ss.selector = selector(word(regs.ss)?);
    cpu.set_gpr(Gpr::Rsp, word(regs.sp)?);
    for (index, gpr) in regs.general {
        cpu.set_gpr(*gpr, word(*index)?);
    }
    Some(Stored { cpu, at: Gva(0), is_partial: false })
}

/// Registers as the SYSCALL instruction itself leaves them: the return address in RCX and
/// the flags in R11; the kernel put the stack pointer elsewhere.
fn read_partial(kernel: &Kernel, end: Gva, stack_pointer: u64) -> Option<Stored> {
    let mut bytes = [0; MAX_FRAME_BYTES];
    let start = Gva(end.0.checked_sub(bytes.len() as u64)?);
    kernel.read(start, &mut bytes, "pt_regs").ok()?;
    let mut stored = Stored { at: start, is_partial: true, ..decode_64(&bytes)? };
    let cpu = &mut stored.cpu;
    cpu.rflags = cpu.gpr(Gpr::R11);
    cpu.set_gpr(Gpr::Rsp, stack_pointer);
    cpu.segments.cs.selector = Some(CODE_64);
    cpu.segments.ss.selector = Some(DATA_64);
    is_user_state(cpu, 1 << 47).then_some(stored)
}

/// All variants end alike; where the two data segments lie tells which it is.
fn parse_32(bytes: &[u8]) -> Option<Stored> {
    let words: Vec<u64> = bytes.chunks_exact(4).map(little_endian).collect();
    let is_data = |word: u64| DATA_32.contains(&(word & 0xffff));
    PT_REGS_32.iter().find_map(|layout| {
        let frame = words.get(words.len().checked_sub(layout.count)?..)?;
        let [_, _, _, _, _, _, _, ds, es, rest @ ..] = frame else { return None };
        let (extra, [orig_ax, ip, cs, flags, sp, ss]) = rest.split_last_chunk::<6>()?;
        if !is_data(*ds) || !is_data(*es) {
            return None;
        }
        let with =
            |word: u64| SegmentRegister { selector: selector(word), ..SegmentRegister::default() };
        let extra = |index: usize| extra.get(index).map(|word| with(*word)).unwrap_or_default();
        let mut cpu = x86::Registers {
            rip: Some(*ip),
            rflags: Some(*flags),
            system_call: Some(sign_extended(*orig_ax)),
            segments: SegmentRegisters {
                cs: with(*cs),
                ss: with(*ss),
                ds: with(*ds),
                es: with(*es),
                fs: extra(0),
                gs: extra(1),
                ..SegmentRegisters::default()
            },
            ..x86::Registers::default()
        };
        cpu.set_gpr(Gpr::Rsp, *sp);
        for (index, gpr) in layout.general {
            cpu.set_gpr(*gpr, *frame.get(*index)?);
        }
        let segments = CODE_32.contains(&(cs & 0xffff)) && is_data(*ss);
        let is_user = segments && is_user_state(&cpu, 1 << 32);
        is_user.then_some(Stored { cpu, at: Gva(0), is_partial: false })
    })
}

/// A selector in the low bits of a word.
pub(super) fn selector(word: u64) -> Option<u16> {
    u16::try_from(word & 0xffff).ok()
}

/// Whether a thread runs 32-bit code on a 64-bit kernel.
pub(super) fn is_compat(cpu: &x86::Registers) -> bool {
    cpu.segments.cs.selector == Some(CODE_COMPAT)
}

/// Code and stack in the user's half, flags that a processor can have and that
/// user mode cannot be without (interrupts on).
fn is_user_state(cpu: &x86::Registers, top: u64) -> bool {
    const INTERRUPTS: u64 = 1 << 9;
    let (Some(flags), Some(rip), Some(rsp)) = (cpu.rflags, cpu.rip, cpu.gpr(Gpr::Rsp)) else {
        return false;
    };
    let flags_are_sane = flags & FLAGS_ALWAYS != 0 && flags & INTERRUPTS != 0 && flags < FLAGS_END;
    flags_are_sane && rip < top && rsp < top
}

/// "No system call" is -1 in both widths.
fn sign_extended(word: u64) -> u64 {
    if word >> 31 & 1 == 1 { word | !0xffff_ffff } else { word }
}
