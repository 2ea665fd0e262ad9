//! Kernel stacks: which function called which. How one is unwound is the processor's
//! (`arch`).

use vmss2core_mem::Gva;

mod wait;

/// How a frame was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// The registers of the vCPU.
    Registers,
    /// The return address of a call, or where a sleeping task goes on.
    Return,
    /// What an interrupt or exception interrupted, from the registers it saved.
    Interrupted,
    /// A word on the stack that a call may have left.
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
    /// Whether the instruction before `ip` is the call that the frame is about: a
    /// thread that has never run starts at a function's very first instruction,
    /// and a trampoline is returned to there.
    pub is_after_call: bool,
}

impl Frame {
    /// An address in the instruction that the frame is about. A return address
    /// may lie behind the end of the function that made the call.
    pub fn code_address(&self) -> Gva {
        if self.is_after_call { Gva(self.ip.0.wrapping_sub(1)) } else { self.ip }
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
