//! Where the unwinding of a stack starts, and registers that lie on one.

use vmss2core_machine::x86;
use vmss2core_machine::x86::Gpr;
use vmss2core_mem::Gva;

use super::code::Code;
use super::{Registers, Step};
use crate::linux::arch::x86::registers::{PT_REGS_32, PT_REGS_64, PtRegs};
use crate::linux::{Kernel, LinuxError, Task};

/// Registers of a vCPU.
pub(super) fn of_vcpu(vcpu: &x86::Registers) -> Option<Registers> {
    Some(Registers { ip: vcpu.rip?, general: vcpu.general })
}

/// Registers that a task that does not run saved when it was switched away from.
///
/// `thread.sp` points to a `struct inactive_task_frame` (since 4.9,
/// `arch/x86/include/asm/switch_to.h`): callee-saved registers, then the address
/// at which the task goes on.
pub(super) fn of_sleeping(
    kernel: &Kernel,
    task: &Task,
) -> Result<(Registers, &'static str), LinuxError> {
    let sp = kernel.object(task.gva, "task_struct").pointer("thread.sp")?;
    let code = Code::of(kernel);
    let frame = FRAMES.iter().filter(|frame| frame.word_len == kernel.word_len());
    let mut found = frame.filter_map(|frame| frame.read(kernel, sp));
    if let Some(registers) = found.find(|registers| code.holds(registers.ip)) {
        return Ok((registers, "registers of the sleeping task"));
    }
    let mut registers = Registers::default();
    registers.set(Gpr::Rsp, Some(sp.0));
    Ok((registers, "stack pointer of the sleeping task"))
}

/// A form of `struct inactive_task_frame`: registers by word.
struct InactiveFrame {
    word_len: u64,
    registers: &'static [Option<Gpr>],
}

/// With 64 bits; with 32 bits as it is since 5.1, with flags, and before.
const FRAMES: [InactiveFrame; 3] = [
    InactiveFrame {
        word_len: 8,
        registers: &[
            Some(Gpr::R15),
            Some(Gpr::R14),
            Some(Gpr::R13),
            Some(Gpr::R12),
            Some(Gpr::Rbx),
            Some(Gpr::Rbp),
        ],
    },
    InactiveFrame {
        word_len: 4,
        registers: &[None, Some(Gpr::Rsi), Some(Gpr::Rdi), Some(Gpr::Rbx), Some(Gpr::Rbp)],
    },
    InactiveFrame {
        word_len: 4,
        registers: &[Some(Gpr::Rsi), Some(Gpr::Rdi), Some(Gpr::Rbx), Some(Gpr::Rbp)],
    },
];

impl InactiveFrame {
    fn read(&self, kernel: &Kernel, sp: Gva) -> Option<Registers> {
        let mut registers = Registers::default();
        let mut at = sp;
        for gpr in self.registers {
            let value = kernel.read_pointer(at, "saved registers").ok()?.0;
            if let Some(gpr) = gpr {
                registers.set(*gpr, Some(value));
            }
            at = at.checked_add(self.word_len)?;
        }
        registers.ip = kernel.read_pointer(at, "saved registers").ok()?.0;
        registers.set(Gpr::Rsp, Some(at.checked_add(self.word_len)?.0));
        Some(registers)
    }
}

/// Sizes that kernel stacks can have, the likeliest first: what the kernel says, then
/// what it is without sanitizers, then the rest.
pub(in crate::linux) fn stack_sizes(kernel: &Kernel) -> Vec<u64> {
    let known = known_size(kernel);
    let usual: [u64; 4] = if kernel.linux().is_64_bit {
        [16 << 10, 8 << 10, 32 << 10, 4 << 10]
    } else {
        [8 << 10, 16 << 10, 4 << 10, 32 << 10]
    };
    known.into_iter().chain(usual.into_iter().filter(|size| Some(*size) != known)).collect()
}

/// The size of kernel stacks if the kernel says it, or else all that it can be.
pub(super) fn possible_sizes(kernel: &Kernel) -> Vec<u64> {
    known_size(kernel).map_or_else(|| stack_sizes(kernel), |size| vec![size])
}

fn known_size(kernel: &Kernel) -> Option<u64> {
    let known = kernel.layout().size_of("thread_union").map(|size| size.value);
    known.filter(|size| size.is_power_of_two() && (4 << 10..=64 << 10).contains(size))
}

/// The registers of a program that entry code saved here.
pub(super) fn user_registers(kernel: &Kernel, at: u64) -> Option<Step> {
    const ALWAYS_SET: u64 = 2;
    let layout = registers_layout(kernel);
    let words = words(kernel, at, layout.count)?;
    let word = |index: usize| words.get(index).copied();
    let flags = word(layout.flags)?;
    // `__USER_DS`, with 64 bits and with 32.
    let is_user = is_code_selector(word(layout.cs)?)
        && word(layout.cs)? & 3 == 3
        && matches!(word(layout.ss)? & 0xffff, 0x2b | 0x7b)
        && flags & ALWAYS_SET != 0
        && flags >> 22 == 0;
    is_user.then_some(Step::User { ip: word(layout.ip)?, sp: word(layout.sp)? })
}

/// The registers of a 64-bit kernel itself that entry code saved here.
pub(super) fn kernel_registers(kernel: &Kernel, at: u64) -> Option<Registers> {
    const ALWAYS_SET: u64 = 2;
    let words = words(kernel, at, PT_REGS_64.count)?;
    let word = |index: usize| words.get(index).copied();
    let flags = word(PT_REGS_64.flags)?;
    // `__KERNEL_CS` and `__KERNEL_DS`; processors may leave 0 for the latter.
    let is_kernel = word(PT_REGS_64.cs)? == 0x10
        && matches!(word(PT_REGS_64.ss)?, 0 | 0x18)
        && flags & ALWAYS_SET != 0
        && flags >> 22 == 0;
    match saved_registers(kernel, at) {
        Step::Interrupted(registers) if is_kernel => Some(registers),
        _ => None,
    }
}

/// How entry code saves registers.
pub(super) fn registers_layout(kernel: &Kernel) -> &'static PtRegs {
    if kernel.linux().is_64_bit { &PT_REGS_64 } else { &PT_REGS_32 }
}

/// Goes to what was interrupted when these registers were saved.
pub(super) fn saved_registers(kernel: &Kernel, at: u64) -> Step {
    let layout = registers_layout(kernel);
    let words = words(kernel, at, layout.count);
    let word = |index: usize| words.as_ref().and_then(|words| words.get(index)).copied();
    let (Some(ip), Some(cs), Some(sp)) = (word(layout.ip), word(layout.cs), word(layout.sp)) else {
        return Step::Lost("saved registers that cannot be read");
    };
    if !is_code_selector(cs) {
        return Step::Lost("saved registers that make no sense");
    }
    if cs & 3 == 3 {
        return Step::User { ip, sp };
    }
    let mut registers = Registers { ip, ..Registers::default() };
    for (index, gpr) in layout.general {
        registers.set(*gpr, word(*index));
    }
    // A 32-bit processor saves no stack pointer for what was the kernel already.
    let above = at.wrapping_add((layout.sp as u64).wrapping_mul(kernel.word_len()));
    registers.set(Gpr::Rsp, Some(if kernel.linux().is_64_bit { sp } else { above }));
    Step::Interrupted(registers)
}

/// `__KERNEL_CS`, `__USER32_CS` and `__USER_CS`, with 64 bits and with 32
/// (`arch/x86/include/asm/segment.h`). The bits from 16 on are event data on
/// processors with FRED, and nothing on 32-bit ones.
pub(super) fn is_code_selector(cs: u64) -> bool {
    matches!(cs & 0xffff, 0x10 | 0x23 | 0x33 | 0x60 | 0x73)
}

fn words(kernel: &Kernel, at: u64, count: usize) -> Option<Vec<u64>> {
    let word_len = kernel.word_len();
    let word = |index: usize| {
        let at = Gva(at.checked_add((index as u64).checked_mul(word_len)?)?);
        Some(kernel.read_pointer(at, "saved registers").ok()?.0)
    };
    // The last two are there only if the privilege changed.
    let most: Vec<u64> = (0..count).map_while(word).collect();
    (most.len() > count.saturating_sub(2)).then_some(most)
}
