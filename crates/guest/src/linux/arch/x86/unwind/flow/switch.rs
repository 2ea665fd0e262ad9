//! Where a task that was switched away from goes on, in kernels before 4.9.
//!
//! Before then the switch was code in the middle of the scheduler (`switch_to`,
//! `arch/x86/include/asm/switch_to.h`, `include/asm-i386/system.h`): it put words on the
//! stack, the stack pointer into `thread.sp` of the old task, and took that of the new one
//! from the same place. That pair of instructions is what is looked for. With 64 bits a call
//! of `__switch_to` follows, which every task that comes back returns from; with 32 bits
//! `thread.ip` says where it goes on, and is set by the next instruction.

use std::ops::Range;

use vmss2core_machine::x86::Gpr;
use vmss2core_mem::Gva;

use super::instruction::{self, Effect, Instruction, decode};
use crate::linux::Kernel;

/// Bytes of code that are looked at together.
const CHUNK: u64 = 64 << 10;
/// A chunk has the start of the next one, so that what crosses the border is seen.
const OVERLAP: u64 = 256;
/// Instructions from the switch of stacks to the end of the switch.
const MOST_INSTRUCTIONS: usize = 24;
/// A kernel has the switch once or twice.
const MOST_SWITCHES: usize = 8;
/// `call` in a sequence that fills the processor's buffer of returns skips so much.
const SHORT_CALL: u64 = 64;
/// No member of a task lies further from its start.
const TASK_LEN: i64 = 0x8000;

/// A place in the code where tasks are switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::linux) struct Switch {
    /// Where a task's stack pointer is in its `task_struct`.
    pub(in crate::linux::arch::x86::unwind) sp: u64,
    /// Where a task goes on.
    label: u64,
    /// Where that is in its `task_struct`, if it is not the same for all.
    ip: Option<u64>,
}

impl Switch {
    /// Places of the task at `task`: its stack pointer and where it goes on.
    pub(in crate::linux::arch::x86::unwind) fn of_task(
        &self,
        kernel: &Kernel,
        task: Gva,
    ) -> Option<(u64, u64)> {
        let word = |at: u64| Some(kernel.read_pointer(task.checked_add(at)?, "thread").ok()?.0);
        let ip = match self.ip {
            Some(at) => word(at)?,
            None => self.label,
        };
        Some((word(self.sp)?, ip))
    }
}

/// The words that a task takes off its stack first when it goes on at an address, and where
/// that ends.
pub(in crate::linux::arch::x86::unwind) fn popped(
    kernel: &Kernel,
    label: u64,
) -> Option<(Vec<Option<Gpr>>, u64)> {
    let mut code = vec![0; usize::try_from(OVERLAP).ok()?];
    kernel.read(Gva(label), &mut code, "code").ok()?;
    let mut registers = Vec::new();
    for (at, found) in instructions(kernel, &code, label).take(MOST_INSTRUCTIONS) {
        match found.effect {
            Effect::Pop(register) => registers.push(register),
            _ if !registers.is_empty() => return Some((registers, at)),
            Effect::Call(_) | Effect::Jump(_) | Effect::End | Effect::Push(_) => return None,
            _ => {}
        }
    }
    None
}

/// The places in a range of the kernel's code where tasks are switched.
pub(in crate::linux::arch::x86::unwind) fn find(kernel: &Kernel, text: Range<u64>) -> Vec<Switch> {
    let mut found = Vec::new();
    scan(kernel, text, &mut |start, bytes| {
        for at in stores(kernel, bytes) {
            let switch =
                bytes.get(at..).and_then(|code| read(kernel, code, start.wrapping_add(at as u64)));
            if let Some(switch) = switch.filter(|switch| !found.contains(switch))
                && found.len() < MOST_SWITCHES
            {
                found.push(switch);
            }
        }
    });
    found
}

/// The functions in `text` that calls in a range of the kernel's code name, in order.
pub(in crate::linux::arch::x86::unwind) fn called(
    kernel: &Kernel,
    range: Range<u64>,
    text: &Range<u64>,
) -> Vec<u64> {
    const CALL: u8 = 0xe8;
    let is_64_bit = kernel.linux().is_64_bit;
    let mut found = Vec::new();
    scan(kernel, range, &mut |start, bytes| {
        for (at, code) in bytes.windows(5).enumerate() {
            if code.first() != Some(&CALL) {
                continue;
            }
            let at = start.wrapping_add(at as u64);
            if let Some(Instruction { effect: Effect::Call(Some(to)), .. }) =
                decode(code, at, is_64_bit)
                && text.contains(&to)
            {
                found.push(to);
            }
        }
    });
    found.sort_unstable();
    found.dedup();
    found
}

/// Where the entry code of system calls puts the stack pointer among the variables of its
/// CPU, if it puts it nowhere else: it makes room for registers and pushes nothing.
pub(in crate::linux::arch::x86::unwind) fn left_stack_pointer(
    kernel: &Kernel,
    entry: Gva,
) -> Option<u64> {
    /// `mov %rsp,%gs:...`
    const STORE: [u8; 5] = [0x65, 0x48, 0x89, 0x24, 0x25];
    let mut code = vec![0; usize::try_from(OVERLAP).ok()?];
    kernel.read(entry, &mut code, "entry code").ok()?;
    let mut left = None;
    for (at, found) in instructions(kernel, &code, entry.0).take(MOST_INSTRUCTIONS) {
        let bytes = code.get(usize::try_from(at.checked_sub(entry.0)?).ok()?..)?;
        if let Some(place) = bytes.strip_prefix(&STORE).and_then(<[u8]>::first_chunk) {
            left = Some(i64::from(i32::from_le_bytes(*place)).cast_unsigned());
        }
        match found.effect {
            Effect::Set { to: Gpr::Rsp, from: Gpr::Rsp, plus } if plus < 0 => return left,
            Effect::Push(_) | Effect::Call(_) | Effect::End => return None,
            _ => {}
        }
    }
    None
}

/// Shows the readable parts of a range.
fn scan(kernel: &Kernel, range: Range<u64>, visit: &mut dyn FnMut(u64, &[u8])) {
    const PAGE: u64 = 4096;
    let mut at = range.start;
    let mut buf = vec![0; usize::try_from(CHUNK.saturating_add(OVERLAP)).unwrap_or(0)];
    while at < range.end {
        let left = range.end.saturating_sub(at);
        let len = left.min(CHUNK.saturating_add(OVERLAP));
        let bytes = buf.split_at_mut(usize::try_from(len).unwrap_or(0)).0;
        let is_there = kernel.read(Gva(at), bytes, "code").is_ok();
        if is_there {
            visit(at, bytes);
        }
        // What is left out of a large image is left out in pages.
        at = at.saturating_add(if is_there { CHUNK } else { PAGE });
    }
}

/// Where instructions begin that store the stack pointer at a distance from a register.
fn stores<'b>(kernel: &Kernel, bytes: &'b [u8]) -> impl Iterator<Item = usize> + 'b {
    let is_64_bit = kernel.linux().is_64_bit;
    let is_one = move |at: &usize| {
        let Some(code) = bytes.get(*at..) else { return false };
        match code {
            [0x48 | 0x49, 0x89, modrm, ..] if is_64_bit => modrm & 0xf8 == 0xa0,
            [0x89, modrm, ..] if !is_64_bit => modrm & 0xf8 == 0xa0,
            _ => false,
        }
    };
    (0..bytes.len()).filter(is_one)
}

/// The switch that begins with the store of a stack pointer.
fn read(kernel: &Kernel, code: &[u8], at: u64) -> Option<Switch> {
    let mut all = instructions(kernel, code, at);
    let Effect::Store { from: Gpr::Rsp, plus: stored, .. } = all.next()?.1.effect else {
        return None;
    };
    let Effect::LoadStackPointer { base: Some(_), plus } = all.next()?.1.effect else {
        return None;
    };
    let sp =
        u64::try_from(plus).ok().filter(|_| stored == plus && (0..TASK_LEN).contains(&plus))?;
    for (at, found) in all.take(MOST_INSTRUCTIONS) {
        match found.effect {
            Effect::StoreNumber { base: Some(_), plus, number } => {
                let ip = u64::try_from(plus).ok().filter(|_| (0..TASK_LEN).contains(&plus))?;
                return Some(Switch { sp, label: number, ip: Some(ip) });
            }
            Effect::Call(Some(to)) => {
                let label = at.wrapping_add(found.len as u64);
                let is_short = to.wrapping_sub(label) < SHORT_CALL;
                return (!is_short).then_some(Switch { sp, label, ip: None });
            }
            Effect::Jump(_) | Effect::End | Effect::Pop(_) | Effect::Call(None) => return None,
            _ => {}
        }
    }
    None
}

/// Instructions one after the other, and where each lies.
fn instructions<'c>(
    kernel: &Kernel,
    mut code: &'c [u8],
    mut at: u64,
) -> impl Iterator<Item = (u64, Instruction)> + 'c {
    let is_64_bit = kernel.linux().is_64_bit;
    std::iter::from_fn(move || {
        let head = code.get(..code.len().min(instruction::LONGEST))?;
        let found = decode(head, at, is_64_bit)?;
        let here = at;
        code = code.get(found.len..)?;
        at = at.wrapping_add(found.len as u64);
        Some((here, found))
    })
}
