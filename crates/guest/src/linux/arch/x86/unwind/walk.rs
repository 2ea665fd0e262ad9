//! Goes up a stack, by whatever way the kernel offers.

use vmss2core_mem::Gva;

use super::context::Stack;
use super::recover::Trampolines;
use super::{Backtrace, Frame, FrameKind, MOST_FRAMES, Registers, StackEnd, Step};
use super::{calls, flow, frame_pointer, guess, orc};

const UNKNOWN_START: &str = "what the task saved when it went to sleep is not understood";
const GUESSED: &str = "words on the stack that a call may have left";
const BROKEN_END: &str = "code that nothing calls, though it is not where the stack begins";

/// The frames of a stack from some registers on.
pub(super) fn walk(
    stack: &Stack<'_>,
    start: &Registers,
    kind: FrameKind,
    how: &'static str,
) -> Backtrace {
    let mut walk = Walk { stack, trampolines: Trampolines::of(stack.kernel), frames: Vec::new() };
    let (end, how) = if start.ip == 0 {
        (StackEnd::Lost(UNKNOWN_START.into()), how)
    } else {
        walk.push(start, kind);
        walk.unwind_by_any(start, how)
    };
    if !matches!(end, StackEnd::Lost(_)) {
        return Backtrace { frames: walk.frames, end, how, from: None };
    }
    let last = walk.frames.last().map_or(start.sp(), |frame| Some(frame.sp.0));
    let how = if walk.guess(last.unwrap_or_default()) { GUESSED } else { how };
    Backtrace { frames: walk.frames, end, how, from: None }
}

struct Walk<'k> {
    stack: &'k Stack<'k>,
    trampolines: Trampolines,
    frames: Vec<Frame>,
}

impl Walk<'_> {
    fn unwind_by_any(&mut self, start: &Registers, how: &'static str) -> (StackEnd, &'static str) {
        let stack = self.stack;
        match orc::Tables::of(stack.kernel) {
            Ok(tables) => {
                let end =
                    self.unwind(start, &|registers, frame| tables.step(stack, registers, frame));
                (end, "ORC unwind tables")
            }
            Err(_) if self.keeps_frame_pointers(start) => {
                let step = |registers: &Registers, frame: &Frame| {
                    frame_pointer::step(stack, registers, frame)
                };
                (self.unwind(start, &step), "frame pointers")
            }
            Err(why) => {
                let step =
                    |registers: &Registers, frame: &Frame| flow::step(stack, registers, frame);
                match self.unwind(start, &step) {
                    StackEnd::Lost(_) if self.frames.len() < 2 => {
                        (StackEnd::Lost(format!("{why}, and no frame pointer leads on")), how)
                    }
                    end => (end, "the code of functions"),
                }
            }
        }
    }

    /// Kernels with 64 bits have had ORC for as long as they compile without
    /// frame pointers; a frame pointer that leads to where a call returns is one.
    fn keeps_frame_pointers(&self, start: &Registers) -> bool {
        if !self.stack.kernel.keeps_frame_pointers() {
            return false;
        }
        let Some(first) = self.frames.first() else { return false };
        match frame_pointer::step(self.stack, start, first) {
            Step::Caller(caller) => {
                let code = &self.stack.code;
                code.holds(caller.ip) && calls::end_at(code, caller.ip)
            }
            Step::Interrupted(_) | Step::User { .. } => true,
            // A thread that has never run has no frame yet.
            Step::Bottom => !first.is_after_call && first.kind == FrameKind::Return,
            Step::Lost(_) => false,
        }
    }

    /// Goes up by one method as far as it leads.
    fn unwind(&mut self, start: &Registers, step: &dyn Fn(&Registers, &Frame) -> Step) -> StackEnd {
        let mut registers = *start;
        while let Some(frame) = self.frames.last().filter(|_| self.frames.len() < MOST_FRAMES) {
            let kind;
            (registers, kind) = match step(&registers, frame) {
                Step::Caller(caller) => (caller, FrameKind::Return),
                Step::Interrupted(interrupted) => (interrupted, FrameKind::Interrupted),
                Step::User { ip, sp } => return StackEnd::User { ip: Gva(ip), sp: Gva(sp) },
                Step::Bottom if self.stack.is_at_top(frame.sp.0) => return StackEnd::Bottom,
                Step::Bottom => return StackEnd::Lost(BROKEN_END.into()),
                Step::Lost(why) => return StackEnd::Lost(why.into()),
            };
            if let Err(why) = self.add(&mut registers, kind) {
                return StackEnd::Lost(why);
            }
        }
        StackEnd::Lost(format!("more than {MOST_FRAMES} frames"))
    }

    /// Adds a frame that a step has led to, if it can be one.
    fn add(&mut self, registers: &mut Registers, kind: FrameKind) -> Result<(), String> {
        let slot = registers.sp().unwrap_or_default().wrapping_sub(self.stack.kernel.word_len());
        match self.trampolines.recover(self.stack, registers.ip, slot) {
            Ok(ip) => registers.ip = ip,
            Err(why) => {
                let sp = Gva(registers.sp().unwrap_or_default());
                self.frames.push(Frame { ip: Gva(registers.ip), sp, kind, is_after_call: false });
                return Err(why.into());
            }
        }
        if !self.stack.code.holds(registers.ip) {
            return Err(format!("a return address {} that is not in code", Gva(registers.ip)));
        }
        self.push(registers, kind);
        Ok(())
    }

    fn push(&mut self, registers: &Registers, kind: FrameKind) {
        let sp = Gva(registers.sp().unwrap_or_default());
        let is_after_call = kind == FrameKind::Return && !self.is_start(registers.ip);
        self.frames.push(Frame { ip: Gva(registers.ip), sp, kind, is_after_call });
    }

    /// Whether a function starts at an address, and is not merely what lies after
    /// a call that never returns.
    fn is_start(&self, ip: u64) -> bool {
        let starts = || self.stack.kernel.symbolize(Gva(ip)).is_some_and(|place| place.offset == 0);
        !calls::end_at(&self.stack.code, ip) && starts()
    }

    /// Lists what is left of the stack word by word; whether there is anything.
    fn guess(&mut self, sp: u64) -> bool {
        let before = self.frames.len();
        let words = guess::words(self.stack.kernel, &self.stack.code, sp..self.stack.top(sp));
        self.frames.extend(words.take(MOST_FRAMES.saturating_sub(before)));
        self.frames.len() > before
    }
}
