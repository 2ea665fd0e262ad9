//! Where the unwinding of a stack starts, and registers that lie on one.

use vmss2core_machine::x86;
use vmss2core_machine::x86::Gpr;
use vmss2core_mem::Gva;

use super::code::Code;
use super::context::Stack;
use super::{Frame, FrameKind, Registers, Step, flow};
use crate::linux::arch::x86::registers::{PT_REGS_32, PT_REGS_64, PtRegs, left_stack_pointer};
use crate::linux::{Kernel, LinuxError, Task};

/// Registers of a vCPU.
pub(super) fn of_vcpu(vcpu: &x86::Registers) -> Option<Registers> {
    Some(Registers { ip: vcpu.rip?, general: vcpu.general })
}

/// Registers that a task that does not run saved when it was switched away from.
///
/// Since 4.9 `thread.sp` points to a `struct inactive_task_frame`
/// (`arch/x86/include/asm/switch_to.h`): callee-saved registers, then the address
/// at which the task goes on.
pub(super) fn of_sleeping(
    kernel: &Kernel,
    task: &Task,
) -> Result<(Registers, &'static str), LinuxError> {
    if let Some(registers) = of_switched(kernel, task) {
        return Ok((registers, "registers of the sleeping task"));
    }
    let sp = kernel.object(task.gva, "task_struct").pointer(STACK_POINTER)?;
    let code = Code::of(kernel);
    let frame = FRAMES.iter().filter(|frame| frame.word_len == kernel.word_len());
    let frame = frame.filter(|_| kernel.switches().is_empty());
    let mut found = frame.filter_map(|frame| frame.read(kernel, sp));
    if let Some(registers) = found.find(|registers| code.holds(registers.ip)) {
        return Ok((registers, "registers of the sleeping task"));
    }
    let mut registers = Registers::default();
    registers.set(Gpr::Rsp, Some(sp.0));
    Ok((registers, "stack pointer of the sleeping task"))
}

/// Names of the stack pointer in a `task_struct`: today's, and those before 2.6.25.
const STACK_POINTER: &str = "thread.sp|thread.rsp|thread.esp";

impl Kernel {
    /// Where the stack pointer of a task that does not run is saved.
    pub(in crate::linux::arch::x86) fn stack_pointer_of(&self, task: Gva) -> Option<Gva> {
        if let Some(switch) = self.switches().first() {
            return task.checked_add(switch.sp);
        }
        self.object(task, "task_struct").address_of(STACK_POINTER).ok()
    }
}

/// Before 4.9: as the code of the scheduler says, where what it left leads to a caller.
fn of_switched(kernel: &Kernel, task: &Task) -> Option<Registers> {
    let stack = Stack::new(kernel, Some(task.gva), task.stack);
    let mut found = kernel.switches().iter().filter_map(|switch| {
        let (sp, ip) = switch.of_task(kernel, task.gva)?;
        let registers = after_pops(&stack, sp, ip)?;
        let (ip, sp) = (Gva(registers.ip), Gva(registers.sp()?));
        let frame = Frame { ip, sp, kind: FrameKind::Return, is_after_call: true };
        flow::caller(&stack, &registers, &frame)?;
        Some(registers)
    });
    found.next()
}

/// The registers once a task that goes on has taken off its stack what the switch put there.
fn after_pops(stack: &Stack<'_>, sp: u64, ip: u64) -> Option<Registers> {
    let word_len = stack.kernel.word_len();
    let (popped, ip) = flow::switch::popped(stack.kernel, ip).filter(|_| stack.code.holds(ip))?;
    let mut registers = Registers { ip, ..Registers::default() };
    let mut at = sp;
    for register in popped {
        let value = stack.word(at)?;
        if let Some(register) = register {
            registers.set(register, Some(value));
        }
        at = at.checked_add(word_len)?;
    }
    registers.set(Gpr::Rsp, Some(at));
    Some(registers)
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
pub(super) fn user_registers(stack: &Stack<'_>, at: u64) -> Option<Step> {
    layouts(stack.kernel).iter().find_map(|layout| user_registers_as(stack, at, layout))
}

/// The same, if they lie there in this layout.
pub(super) fn user_registers_as(stack: &Stack<'_>, at: u64, layout: &PtRegs) -> Option<Step> {
    const ALWAYS_SET: u64 = 2;
    let words = words(stack.kernel, at, layout.count)?;
    let word = |index: usize| words.get(index).copied();
    let flags = word(layout.flags)?;
    // `__USER_DS`, with 64 bits and with 32.
    let is_user = is_code_selector(word(layout.cs)?)
        && word(layout.cs)? & 3 == 3
        && matches!(word(layout.ss)? & 0xffff, 0x2b | 0x7b)
        && flags & ALWAYS_SET != 0
        && flags >> 22 == 0
        && (stack.kernel.linux().is_64_bit || has_data_segments(&words));
    let (ip, mut sp) = (word(layout.ip)?, word(layout.sp)?);
    let is_call = word(layout.cs)? == USER_CS && word(layout.orig_ax)? >> 63 == 0;
    if let Some(place) = stack.kernel.left_stack_pointer().filter(|_| is_user && is_call) {
        let task = stack.task.unwrap_or_default();
        let Some(left) = left_stack_pointer(stack.kernel, task, stack.vcpu, place) else {
            return Some(Step::Lost("where a system call left the program's stack is not known"));
        };
        sp = left;
    }
    is_user.then_some(Step::User { ip, sp })
}

/// `__USER_CS` with 64 bits.
const USER_CS: u64 = 0x33;

/// The registers of the kernel itself that entry code saved here.
pub(super) fn kernel_registers(kernel: &Kernel, at: u64) -> Option<Registers> {
    layouts(kernel).iter().find_map(|layout| kernel_registers_as(kernel, at, layout))
}

fn kernel_registers_as(kernel: &Kernel, at: u64, layout: &PtRegs) -> Option<Registers> {
    const ALWAYS_SET: u64 = 2;
    let words = words(kernel, at, layout.count)?;
    let word = |index: usize| words.get(index).copied();
    let flags = word(layout.flags)?;
    // `__KERNEL_CS` and `__KERNEL_DS`; processors may leave 0 for the latter. A 32-bit one
    // saves no stack segment of the kernel, but entry code saves DS and ES.
    let cs = word(layout.cs)?;
    let is_kernel = if kernel.linux().is_64_bit {
        cs == 0x10 && matches!(word(layout.ss)?, 0 | 0x18)
    } else {
        matches!(cs & 0xffff, 0x60 | 0x10) && has_data_segments(&words)
    };
    let is_kernel = is_kernel && flags & ALWAYS_SET != 0 && flags >> 22 == 0;
    match saved_registers_as(kernel, at, layout) {
        Step::Interrupted(registers) if is_kernel => Some(registers),
        _ => None,
    }
}

/// Whether DS and ES, which 32-bit entry code saves after the general registers, are data
/// segments: what lies elsewhere is taken for registers of another layout else.
fn has_data_segments(words: &[u64]) -> bool {
    let both = words.get(7..9).unwrap_or_default();
    both.len() == 2 && both.iter().all(|word| matches!(word & 0xffff, 0x7b | 0x68 | 0x2b | 0x18))
}

/// How entry code saves registers: as the kernels of today do first.
pub(super) fn layouts(kernel: &Kernel) -> &'static [PtRegs] {
    if kernel.linux().is_64_bit { std::slice::from_ref(&PT_REGS_64) } else { &PT_REGS_32 }
}

/// How entry code of today saves registers.
pub(super) fn registers_layout(kernel: &Kernel) -> &'static PtRegs {
    if kernel.linux().is_64_bit { &PT_REGS_64 } else { &PT_REGS_32[0] }
}

/// Goes to what was interrupted when these registers were saved.
pub(super) fn saved_registers(kernel: &Kernel, at: u64) -> Step {
    saved_registers_as(kernel, at, registers_layout(kernel))
}

fn saved_registers_as(kernel: &Kernel, at: u64, layout: &PtRegs) -> Step {
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
