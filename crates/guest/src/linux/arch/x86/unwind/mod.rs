//! Kernel stacks of x86: which function called which.
//!
//! 64-bit kernels carry unwind tables for themselves and for their modules (ORC),
//! or keep frame pointers as 32-bit ones do. Old ones do neither: their functions are
//! left by what their code does to the stack (`flow`). Where all end early, the words of
//! the stack that a call may have left are listed as guesses: some are return
//! addresses of calls that have long ended.

use vmss2core_machine::paging::PagingMode;
use vmss2core_machine::x86::Gpr;
use vmss2core_machine::{Privilege, VcpuView, x86};
use vmss2core_mem::{Found, Gva};

use crate::linux::{Kernel, LinuxError, Task};
use crate::model::{Backtrace, Frame, FrameKind, StackEnd};

mod calls;
mod code;
mod context;
mod entry;
mod facts;
mod flow;
mod frame_pointer;
mod frameless;
mod fuzz;
mod guess;
mod orc;
mod preserved;
mod recover;
mod start;
#[cfg(test)]
mod tests;
mod walk;

use context::Stack;
pub(in crate::linux) use facts::CodeFacts;
pub(crate) use fuzz::stacks as fuzz_stacks;
pub(in crate::linux::arch::x86) use preserved::Entered;
pub(in crate::linux) use start::stack_sizes;
use walk::walk;

/// Where the registers of a CPU are from that executes a second kernel.
const AT_CRASH: &str = "registers that the CPU left when the kernel crashed";

/// More frames than any kernel stack has room for.
const MOST_FRAMES: usize = 512;

/// Registers while a stack is unwound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Registers {
    ip: u64,
    general: [Option<u64>; 16],
}

impl Registers {
    fn get(&self, gpr: Gpr) -> Option<u64> {
        self.general.get(gpr as usize).copied().flatten()
    }

    fn set(&mut self, gpr: Gpr, value: Option<u64>) {
        if let Some(slot) = self.general.get_mut(gpr as usize) {
            *slot = value;
        }
    }

    fn sp(&self) -> Option<u64> {
        self.get(Gpr::Rsp)
    }
}

/// The outcome of one step up the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The caller.
    Caller(Registers),
    /// The kind of code that was interrupted.
    Interrupted(Registers),
    /// User mode.
    User { ip: u64, sp: u64 },
    /// There is no caller.
    Bottom,
    /// The method does not know how to go on.
    Lost(&'static str),
}

impl Kernel {
    /// The kernel stack of a task: of a running one from the vCPU that runs it.
    /// What has ended has none.
    pub fn backtrace(&self, task: &Task) -> Result<Backtrace, LinuxError> {
        if let Some(index) = task.on_vcpu {
            return self.backtrace_of_vcpu(index);
        }
        let stack = Stack::new(self, Some(task.gva), task.stack);
        if let Some(registers) = self.at_crash(task).as_ref().and_then(start::of_vcpu) {
            return Ok(walk(&stack, &registers, FrameKind::Registers, AT_CRASH));
        }
        let (registers, how) = self.sleeping(task)?;
        Ok(walk(&stack, &registers, FrameKind::Return, how))
    }

    /// The registers with which a task that does not run goes on in the kernel: its
    /// instruction and stack pointers and those that functions preserve, as the switch
    /// to another task saved them. Only the stack pointer if the rest makes no sense.
    /// What has ended has none.
    pub fn sleeping_registers(
        &self,
        task: &Task,
    ) -> Result<Found<vmss2core_machine::Registers>, LinuxError> {
        if let Some(registers) = self.at_crash(task) {
            return Ok(Found::new(registers.into(), AT_CRASH));
        }
        let (registers, how) = self.sleeping(task)?;
        let rip = Some(registers.ip).filter(|ip| *ip != 0);
        let general = registers.general;
        let found = x86::Registers { rip, general, ..x86::Registers::default() };
        Ok(Found::new(found.into(), how))
    }

    fn sleeping(&self, task: &Task) -> Result<(Registers, &'static str), LinuxError> {
        let has_ended = task.state.is_some_and(|state| matches!(state.letter, 'Z' | 'X'));
        if has_ended || task.stack == Some(Gva(0)) {
            return Err(LinuxError::NoStack { tid: task.tid });
        }
        start::of_sleeping(self, task)
    }

    /// The kernel stack that a vCPU is on; without frames if it is in user mode.
    pub fn backtrace_of_vcpu(&self, index: u32) -> Result<Backtrace, LinuxError> {
        let registers = self
            .registers_of(index)
            .and_then(vmss2core_machine::Registers::x86)
            .and_then(start::of_vcpu);
        let registers = registers.ok_or_else(|| {
            if self.linux().has_left(index) {
                LinuxError::LeftForSecondKernel { vcpu: index }
            } else {
                LinuxError::NoRegisters { vcpu: index }
            }
        })?;
        if self.is_outside_of_system(index) {
            return Err(LinuxError::NotStarted { vcpu: index });
        }
        if self.privilege_of(index) == Some(Privilege::User) {
            let sp = Gva(registers.sp().unwrap_or_default());
            let end = StackEnd::User { ip: Gva(registers.ip), sp };
            return Ok(Backtrace { end, how: "registers of the vCPU", ..Backtrace::default() });
        }
        let stack = self.stack_of_vcpu(index);
        let has_left = self.linux().has_left(index);
        let how = if has_left { AT_CRASH } else { "registers of the vCPU" };
        Ok(walk(&stack, &registers, FrameKind::Registers, how))
    }

    /// Whether a vCPU translates no addresses, though the kernel's own are virtual.
    fn is_outside_of_system(&self, index: u32) -> bool {
        let mode = self.vcpu(index).and_then(VcpuView::mode);
        mode == Some(PagingMode::IDENTITY) && self.space().mode() != PagingMode::IDENTITY
    }

    /// The stack of the task that a vCPU runs; it can be on another one for a while.
    fn stack_of_vcpu(&self, index: u32) -> Stack<'_> {
        let task = self.current(index).ok().map(|task| task.value);
        let lowest = task.and_then(|task| self.object(task, "task_struct").pointer("stack").ok());
        Stack { vcpu: Some(index), ..Stack::new(self, task, lowest) }
    }
}
