//! Kernel stacks.

use vmss2core_mem::{Gva, Problem};

use crate::Which;

/// Whose stacks are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StacksOf {
    /// Of each vCPU.
    Processors,
    /// Of one processor, as the guest numbers them.
    Processor(u32),
    /// Of all threads of a process, or of all processes of a name.
    Process(Which),
    /// Of every task.
    All,
}

/// Stacks, and what was in the way of more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stacks {
    /// The stacks.
    pub stacks: Vec<Stack>,
    /// Missing, odd or broken parts.
    pub problems: Vec<Problem>,
}

/// A stack, with whose it is and the names of what is on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The vCPU that is on it.
    pub vcpu: Option<u32>,
    /// The processor as the guest numbers it: that one, or where the task ran last.
    pub cpu: Option<u32>,
    /// The task that it belongs to.
    pub owner: Option<StackOwner>,
    /// The frames and what follows them.
    pub backtrace: Backtrace,
    /// Of each frame, what its code is.
    pub places: Vec<Option<Place>>,
}

/// The task that a stack belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackOwner {
    /// Process.
    pub pid: u64,
    /// Thread.
    pub tid: Option<u64>,
    /// Its name, as its structure has it.
    pub name: String,
    /// The name that the guest's own tools show, where that is another one.
    pub long_name: Option<String>,
    /// State: the letter of `ps`, or the system's word for it.
    pub state: Option<String>,
    /// Address of its structure.
    pub address: Gva,
}

/// The functions on a stack, innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backtrace {
    /// The functions.
    pub frames: Vec<Frame>,
    /// Caller of the last one.
    pub end: StackEnd,
    /// How the frames were found.
    pub how: &'static str,
    /// Where the registers come from, if that is not plain.
    pub from: Option<&'static str>,
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
    /// Whether the instruction before `ip` is the call that the frame is about: a
    /// thread that has never run starts at a function's very first instruction,
    /// and a trampoline is returned to there.
    pub is_after_call: bool,
}

impl Frame {
    /// An address in the instruction that the frame is about. A return address
    /// may lie after the end of the function that made the call.
    pub fn code_address(&self) -> Gva {
        if self.is_after_call { Gva(self.ip.0.wrapping_sub(1)) } else { self.ip }
    }
}

/// How a frame was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// The registers of the processor.
    Registers,
    /// The return address of a call, or where a sleeping task goes on.
    Return,
    /// Interrupted by an interrupt or exception; from the registers it saved.
    Interrupted,
    /// A word on the stack that a call may have left.
    Guess,
}

/// End of a stack, below its last frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StackEnd {
    /// The program in user mode that called or was interrupted.
    User {
        /// Its next instruction.
        ip: Gva,
        /// Its stack pointer.
        sp: Gva,
    },
    /// The start of a thread of the kernel.
    #[default]
    Bottom,
    /// It is not known; the text says why.
    Lost(String),
}

/// Code at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// As debuggers of that system write it: `loop_add+0x1c [loop]`, `nt!KeBugCheckEx+0x12`.
    pub text: String,
    /// The function.
    pub symbol: Option<String>,
    /// Bytes from its start, or from that of the module if no function is known.
    pub offset: u64,
    /// The module, if it is not the kernel itself.
    pub module: Option<String>,
}
