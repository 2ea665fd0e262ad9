//! Where a thread that entered the kernel left its user registers: `struct
//! pt_regs` at the top of its kernel stack.
//!
//! How large stacks are and how much lies above the structure depends on the
//! kernel's configuration: nothing, 16 bytes with `CONFIG_X86_FRED` (also on
//! processors without FRED), 8 or 16 on 32-bit kernels. All combinations are
//! tried on many threads, and the one that shows user registers most often is
//! taken. 32-bit kernels up to 2.6.29 stored fewer segment registers.

use vmss2core_machine::x86::Gpr;
use vmss2core_mem::{Found, Gva};

use super::UserRegisters;
use super::raw::{PT_REGS_32, PT_REGS_64};
use crate::linux::stack::stack_sizes;
use crate::linux::{Kernel, LinuxError, Task};

/// User code and stack segments of x86-64: 64-bit code, 32-bit code.
const CODE_64: u64 = 0x33;
pub(super) const CODE_COMPAT: u64 = 0x23;
const DATA_64: u64 = 0x2b;
/// The same of a 32-bit kernel, and what they were in 2.4.
const CODE_32: [u64; 2] = [0x73, 0x23];
const DATA_32: [u64; 2] = [0x7b, 0x2b];

const PADS_64: [u64; 2] = [0, 16];
const PADS_32: [u64; 3] = [8, 0, 16];
/// Threads that are asked; more would not change the answer.
const MAX_ASKED: usize = 256;
/// Longest `pt_regs`: that of x86-64.
const MAX_FRAME_BYTES: usize = 8 * PT_REGS_64.count;
/// 15 to 17 words: `ds es fs gs` lost its last ones the older the kernel is.
const WORDS_32: [usize; 3] = [PT_REGS_32.count, 16, 15];

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

/// The registers of a thread that is in the kernel. `place` is what
/// [`calibrate`] found; kernels up to 4.x also say where the stack ends.
pub(super) fn of_task(
    kernel: &Kernel,
    place: Option<FramePlace>,
    task: &Task,
) -> Result<Found<UserRegisters>, LinuxError> {
    let by_stack = task.stack.and_then(|stack| Some(place?.end(stack)));
    let object = kernel.object(task.gva, "task_struct");
    let by_pointer = object.pointer("thread.sp0|thread.rsp0|thread.esp0").ok();
    let ends = [by_stack, by_pointer];
    for end in ends.iter().flatten() {
        if let Some(values) = read(kernel, *end) {
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

/// The structure that ends here, if it holds user registers.
fn read(kernel: &Kernel, end: Gva) -> Option<UserRegisters> {
    let mut bytes = [0; MAX_FRAME_BYTES];
    let used =
        if kernel.linux().is_64_bit { MAX_FRAME_BYTES } else { WORDS_32[0].saturating_mul(4) };
    let bytes = bytes.get_mut(..used)?;
    let start = Gva(end.0.checked_sub(u64::try_from(used).ok()?)?);
    kernel.read(start, bytes, "pt_regs").ok()?;
    if kernel.linux().is_64_bit { parse_64(bytes) } else { parse_32(bytes) }
}

fn parse_64(bytes: &[u8]) -> Option<UserRegisters> {
    let values = decode_64(bytes)?;
    let segments = matches!(values.cs, CODE_64 | CODE_COMPAT) && values.ss == DATA_64;
    (segments && is_user_state(&values, 1 << 56)).then_some(values)
}

fn decode_64(bytes: &[u8]) -> Option<UserRegisters> {
    let words: Vec<u64> = bytes.chunks_exact(8).map(little_endian).collect();
    let word = |index: usize| words.get(index).copied();
    let regs = &PT_REGS_64;
    let mut values = UserRegisters {
        rip: word(regs.ip)?,
        rflags: word(regs.flags)?,
        orig_rax: word(regs.orig_ax)?,
        // FRED has event data above the selectors.
        cs: word(regs.cs)? & 0xffff,
        ss: word(regs.ss)? & 0xffff,
        ..UserRegisters::default()
    };
    values.set_gpr(Gpr::Rsp, word(regs.sp)?);
    for (index, gpr) in regs.general {
        values.set_gpr(*gpr, word(*index)?);
    }
    Some(values)
}

/// What the SYSCALL instruction itself leaves: the return address in RCX and
/// the flags in R11; the kernel put the stack pointer elsewhere.
fn read_partial(kernel: &Kernel, end: Gva, stack_pointer: u64) -> Option<UserRegisters> {
    let mut bytes = [0; MAX_FRAME_BYTES];
    let start = Gva(end.0.checked_sub(bytes.len() as u64)?);
    kernel.read(start, &mut bytes, "pt_regs").ok()?;
    let mut values = decode_64(&bytes)?;
    values.rflags = values.gpr(Gpr::R11);
    values.set_gpr(Gpr::Rsp, stack_pointer);
    (values.cs, values.ss) = (CODE_64, DATA_64);
    values.is_partial = true;
    is_user_state(&values, 1 << 47).then_some(values)
}

/// All variants end alike; where the two data segments lie tells which it is.
fn parse_32(bytes: &[u8]) -> Option<UserRegisters> {
    let words: Vec<u64> = bytes.chunks_exact(4).map(little_endian).collect();
    let is_data = |word: u64| DATA_32.contains(&(word & 0xffff));
    WORDS_32.iter().find_map(|count| {
        let frame = words.get(words.len().checked_sub(*count)?..)?;
        let [_, _, _, _, _, _, _, ds, es, rest @ ..] = frame else { return None };
        let (extra, [orig_ax, ip, cs, flags, sp, ss]) = rest.split_last_chunk::<6>()?;
        if !is_data(*ds) || !is_data(*es) {
            return None;
        }
        let selector = |index: usize| extra.get(index).map_or(0, |word| word & 0xffff);
        let mut values = UserRegisters {
            rip: *ip,
            rflags: *flags,
            orig_rax: sign_extended(*orig_ax),
            cs: cs & 0xffff,
            ss: ss & 0xffff,
            ds: ds & 0xffff,
            es: es & 0xffff,
            fs: selector(0),
            gs: selector(1),
            ..UserRegisters::default()
        };
        values.set_gpr(Gpr::Rsp, *sp);
        for (index, gpr) in PT_REGS_32.general {
            values.set_gpr(*gpr, *frame.get(*index)?);
        }
        let segments = CODE_32.contains(&values.cs) && DATA_32.contains(&values.ss);
        (segments && is_user_state(&values, 1 << 32)).then_some(values)
    })
}

/// Code and stack in the user's half, flags that a processor can have and that
/// user mode cannot be without (interrupts on).
fn is_user_state(values: &UserRegisters, top: u64) -> bool {
    const INTERRUPTS: u64 = 1 << 9;
    let flags = values.rflags;
    let flags_are_sane = flags & FLAGS_ALWAYS != 0 && flags & INTERRUPTS != 0 && flags < FLAGS_END;
    flags_are_sane && values.rip < top && values.gpr(Gpr::Rsp) < top
}

/// "No system call" is -1 in both widths.
fn sign_extended(word: u64) -> u64 {
    if word >> 31 & 1 == 1 { word | !0xffff_ffff } else { word }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
