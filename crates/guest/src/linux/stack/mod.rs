//! Kernel stacks: which function called which.
//!
//! 64-bit kernels carry unwind tables for themselves (ORC), 32-bit ones keep
//! frame pointers. Where both end early, the words of the stack that point into
//! code are listed as guesses: some are return addresses of calls that have long
//! ended.

use std::ops::Range;

use vmss2core_mem::{Gpr, Gva, X86Vcpu};

use super::{Kernel, LinuxError, Task};
use crate::Found;

mod code;
mod frame_pointer;
mod guess;
mod orc;
mod start;
#[cfg(test)]
mod tests;
mod wait;

use code::Code;
pub(super) use start::stack_sizes;

/// Where the registers of a CPU are from that executes a second kernel.
const AT_CRASH: &str = "registers that the CPU left when the kernel crashed";

/// More frames than any kernel stack has room for.
const MOST_FRAMES: usize = 512;

/// How a frame was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// The registers of the vCPU.
    Registers,
    /// The return address of a call, or where a sleeping task goes on.
    Return,
    /// What an interrupt or exception interrupted, from the registers it saved.
    Interrupted,
    /// A word on the stack that points into code.
    Guess,
}

/// One function on a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where in the code: the next instruction, or the one a call returns to.
    pub ip: Gva,
    /// The stack pointer in it; of a guess, where the word lies.
    pub sp: Gva,
    /// How it was found.
    pub kind: FrameKind,
}

impl Frame {
    /// An address in the instruction that the frame is about. A return address
    /// may lie behind the end of the function that made the call.
    pub fn code_address(&self) -> Gva {
        match self.kind {
            FrameKind::Return | FrameKind::Guess => Gva(self.ip.0.wrapping_sub(1)),
            FrameKind::Registers | FrameKind::Interrupted => self.ip,
        }
    }
}

/// What lies below the last frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StackEnd {
    /// The program in user mode that called or was interrupted.
    User {
        /// Its next instruction.
        ip: Gva,
        /// Its stack pointer.
        sp: Gva,
    },
    /// The start of a thread of the kernel.
    Bottom,
    /// It is not known; the text says why.
    Lost(String),
}

/// A kernel stack, innermost function first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backtrace {
    /// The functions.
    pub frames: Vec<Frame>,
    /// What called the last one.
    pub end: StackEnd,
    /// How the frames were found.
    pub how: &'static str,
}

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

/// What one step up the stack led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The caller.
    Caller(Registers),
    /// What was interrupted.
    Interrupted(Registers),
    /// User mode.
    User { ip: u64, sp: u64 },
    /// There is no caller.
    Bottom,
    /// The method does not know how to go on.
    Lost(&'static str),
}

impl Kernel<'_> {
    /// The kernel stack of a task: of a running one from the vCPU that runs it.
    /// What has ended has none.
    pub fn backtrace(&self, task: &Task) -> Result<Backtrace, LinuxError> {
        if let Some(index) = task.on_vcpu {
            return self.backtrace_of_vcpu(index);
        }
        let limits = task.stack.map(|stack| start::stack_range(self, stack));
        if let Some(registers) = self.at_crash(task).as_ref().and_then(start::of_vcpu) {
            return Ok(Walk::new(self, limits).run(&registers, FrameKind::Registers, AT_CRASH));
        }
        let (registers, how) = self.sleeping(task)?;
        Ok(Walk::new(self, limits).run(&registers, FrameKind::Return, how))
    }

    /// The registers with which a task that does not run goes on in the kernel: its
    /// instruction and stack pointers and those that functions preserve, as the switch
    /// to another task saved them. Only the stack pointer if the rest makes no sense.
    /// What has ended has none.
    pub fn sleeping_registers(&self, task: &Task) -> Result<Found<X86Vcpu>, LinuxError> {
        if let Some(registers) = self.at_crash(task) {
            return Ok(Found::new(registers, AT_CRASH));
        }
        let (registers, how) = self.sleeping(task)?;
        let rip = Some(registers.ip).filter(|ip| *ip != 0);
        Ok(Found::new(X86Vcpu { rip, general: registers.general, ..X86Vcpu::default() }, how))
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
        let registers = self.registers_of(index).and_then(start::of_vcpu);
        let registers = registers.ok_or_else(|| {
            if self.linux().has_left(index) {
                LinuxError::LeftForSecondKernel { vcpu: index }
            } else {
                LinuxError::NoRegisters { vcpu: index }
            }
        })?;
        if self.privilege_of(index) == Some(3) {
            let sp = Gva(registers.sp().unwrap_or_default());
            let end = StackEnd::User { ip: Gva(registers.ip), sp };
            return Ok(Backtrace { frames: Vec::new(), end, how: "registers of the vCPU" });
        }
        let how = if self.linux().has_left(index) { AT_CRASH } else { "registers of the vCPU" };
        Ok(Walk::new(self, None).run(&registers, FrameKind::Registers, how))
    }
}

/// A stack that is being walked.
struct Walk<'k> {
    kernel: &'k Kernel<'k>,
    code: Code<'k>,
    /// The stack, if its place is known.
    limits: Option<Range<u64>>,
    frames: Vec<Frame>,
}

impl<'k> Walk<'k> {
    fn new(kernel: &'k Kernel<'k>, limits: Option<Range<u64>>) -> Self {
        Self { kernel, code: Code::of(kernel), limits, frames: Vec::new() }
    }

    fn run(mut self, start: &Registers, kind: FrameKind, how: &'static str) -> Backtrace {
        push(&mut self.frames, start, kind);
        let (end, how) = match orc::Tables::of(self.kernel) {
            Some(tables) => {
                let step = |registers: &Registers, kind| tables.step(self.kernel, registers, kind);
                (unwind(&self.code, &mut self.frames, start, kind, &step), "ORC unwind tables")
            }
            None if self.keeps_frame_pointers(start, kind) => {
                let step =
                    |registers: &Registers, kind| frame_pointer::step(self.kernel, registers, kind);
                (unwind(&self.code, &mut self.frames, start, kind, &step), "frame pointers")
            }
            None => (StackEnd::Lost("the kernel has no unwind tables".into()), how),
        };
        let how = if matches!(end, StackEnd::Lost(_)) { self.guess(how) } else { how };
        Backtrace { frames: self.frames, end, how }
    }

    /// Kernels with 64 bits have had ORC for as long as they compile without
    /// frame pointers; a frame pointer that leads to code is one.
    fn keeps_frame_pointers(&self, start: &Registers, kind: FrameKind) -> bool {
        match frame_pointer::step(self.kernel, start, kind) {
            Step::Caller(caller) => self.code.holds(caller.ip),
            Step::Interrupted(_) | Step::User { .. } => true,
            Step::Bottom | Step::Lost(_) => false,
        }
    }

    /// Lists what is left of the stack word by word.
    fn guess(&mut self, how: &'static str) -> &'static str {
        let Some(last) = self.frames.last() else { return how };
        let range = match &self.limits {
            Some(limits) if limits.contains(&last.sp.0) => last.sp.0..limits.end,
            _ => last.sp.0..start::stack_top(self.kernel, last.sp.0),
        };
        let room = MOST_FRAMES.saturating_sub(self.frames.len());
        let before = self.frames.len();
        self.frames.extend(guess::words(self.kernel, &self.code, range).take(room));
        if self.frames.len() > before { "words on the stack that point into code" } else { how }
    }
}

fn push(frames: &mut Vec<Frame>, registers: &Registers, kind: FrameKind) {
    let sp = Gva(registers.sp().unwrap_or_default());
    frames.push(Frame { ip: Gva(registers.ip), sp, kind });
}

/// Goes up by one method as far as it leads.
fn unwind(
    code: &Code<'_>,
    frames: &mut Vec<Frame>,
    start: &Registers,
    kind: FrameKind,
    step: &dyn Fn(&Registers, FrameKind) -> Step,
) -> StackEnd {
    let (mut registers, mut kind) = (*start, kind);
    while frames.len() < MOST_FRAMES {
        (registers, kind) = match step(&registers, kind) {
            Step::Caller(caller) => (caller, FrameKind::Return),
            Step::Interrupted(interrupted) => (interrupted, FrameKind::Interrupted),
            Step::User { ip, sp } => return StackEnd::User { ip: Gva(ip), sp: Gva(sp) },
            Step::Bottom => return StackEnd::Bottom,
            Step::Lost(why) => return StackEnd::Lost(why.into()),
        };
        if !code.holds(registers.ip) {
            let at = Gva(registers.ip);
            return StackEnd::Lost(format!("a return address {at} that is not in code"));
        }
        push(frames, &registers, kind);
    }
    StackEnd::Lost(format!("more than {MOST_FRAMES} frames"))
}
