//! Stacks of processors and of threads that wait.
//!
//! 64-bit code is unwound by the unwind data of its images, 32-bit code by frame
//! pointers. Where neither leads on, words that may be return addresses are shown
//! as what they are: guesses.

mod candidates;

use std::collections::HashSet;

use vmss2core_machine::x86::Gpr;
use vmss2core_mem::Gva;

use super::registers;
use super::unwind::{self, Left, Registers};
use crate::model::{Backtrace, Frame, FrameKind, StackEnd};
use crate::windows::{Kernel, Thread, WindowsError};
use candidates::Stack;

/// Deeper stacks are cut.
const MAX_FRAMES: usize = 512;

fn frame_at(ip: Gva, sp: Gva, kind: FrameKind) -> Frame {
    let is_after_call = matches!(kind, FrameKind::Return | FrameKind::Guess);
    Frame { ip, sp, kind, is_after_call }
}

impl Kernel {
    /// The stack of Windows' processor of this number. Windows' own registers of
    /// it are taken if it has crashed, else those of the vCPU.
    pub fn backtrace_of_cpu(&self, number: u32) -> Result<Backtrace, WindowsError> {
        let cpu = self.cpu(number)?;
        let bounds = cpu.thread.and_then(|thread| self.thread(thread, None).stack);
        if self.windows().bugcheck.is_some()
            && let Some(saved) = registers::saved(self, cpu)
        {
            let stack = Stack::around(saved.rsp(), bounds);
            return Ok(self.backtrace(saved, &stack, "the registers that Windows saved"));
        }
        let vcpu = cpu.vcpu.as_ref().map(|vcpu| vcpu.value);
        let known = vcpu.and_then(|vcpu| self.registers(vcpu)?.x86());
        let Some((registers, vcpu)) = known.and_then(|vcpu| Some((registers::of(vcpu)?, vcpu)))
        else {
            return Err(WindowsError::NoRegisters { cpu: number, why: self.why_foreign() });
        };
        let from = "the registers of the vCPU";
        let ring = vcpu.segments.cs.selector.map(|selector| selector & 3);
        if ring == Some(3) {
            let end = StackEnd::User { ip: Gva(registers.rip), sp: Gva(registers.rsp()) };
            return Ok(Backtrace { end, from: Some(from), ..Backtrace::default() });
        }
        let stack = Stack::around(registers.rsp(), bounds);
        Ok(self.backtrace(registers, &stack, from))
    }

    fn why_foreign(&self) -> String {
        let foreign = &self.windows().foreign;
        match foreign.first() {
            Some(one) => format!("{} had a vCPU ({})", one.holder, one.how),
            None => "no vCPU of the checkpoint was found to be it".to_owned(),
        }
    }

    /// The stack of a thread that waits.
    pub fn backtrace_of_thread(&self, thread: &Thread) -> Result<Backtrace, WindowsError> {
        if let Some(cpu) = thread.cpu {
            return self.backtrace_of_cpu(cpu);
        }
        let none =
            || WindowsError::NoStack { tid: thread.tid.unwrap_or_default(), thread: thread.gva };
        let kernel_stack = thread.kernel_stack.ok_or_else(none)?;
        let switched = registers::switched(self, kernel_stack).ok_or_else(none)?;
        let stack = Stack::around(kernel_stack.0, thread.stack);
        Ok(self.backtrace(switched, &stack, "the stack that the thread waits on"))
    }

    fn backtrace(&self, registers: Registers, stack: &Stack, from: &'static str) -> Backtrace {
        let how = if self.is_64_bit() { "unwind data of the images" } else { "frame pointers" };
        let mut found = Backtrace { how, from: Some(from), ..Backtrace::default() };
        let kind =
            if from.starts_with("the stack") { FrameKind::Return } else { FrameKind::Registers };
        let (ip, sp) = (Gva(registers.rip), Gva(registers.rsp()));
        found.frames.push(frame_at(ip, sp, kind));
        let last = if self.is_64_bit() {
            self.follow_unwind_data(registers, kind, &mut found)
        } else {
            Some(self.follow_frame_pointers(registers, stack, &mut found))
        };
        if let Some(last) = last {
            found.frames.extend(candidates::scan(self, stack, last, MAX_FRAMES));
        }
        found
    }

    /// Adds frames; returns from where on to look for guesses if the end was not
    /// reached.
    fn follow_unwind_data(
        &self,
        mut registers: Registers,
        mut kind: FrameKind,
        found: &mut Backtrace,
    ) -> Option<Gva> {
        let mut seen = HashSet::new();
        while found.frames.len() < MAX_FRAMES && seen.insert((registers.rip, registers.rsp())) {
            let reached = match kind {
                FrameKind::Return | FrameKind::Guess => Left::Called,
                FrameKind::Registers | FrameKind::Interrupted => Left::Interrupted,
            };
            let at = Gva(registers.rip);
            let Some(module) = self.modules().at(at) else {
                found.end = StackEnd::Lost(format!("{at} is in no image of the kernel"));
                return Some(Gva(registers.rsp()));
            };
            let (left, entered) = match unwind::step(self.view(), module, &registers, reached) {
                Ok(left) => left,
                Err(why) => {
                    found.end = StackEnd::Lost(why);
                    return Some(Gva(registers.rsp()));
                }
            };
            let (ip, sp) = (Gva(left.rip), Gva(left.rsp()));
            // Below the first function of a thread there is nothing.
            if ip.0 == 0 {
                return None;
            }
            if !self.view().is_kernel(ip) {
                found.end = StackEnd::User { ip, sp };
                return None;
            }
            kind = match entered {
                Left::Called => FrameKind::Return,
                Left::Interrupted => FrameKind::Interrupted,
            };
            found.frames.push(frame_at(ip, sp, kind));
            registers = left;
        }
        found.end = StackEnd::Lost("the stack leads back to itself, or is too deep".to_owned());
        None
    }

    fn follow_frame_pointers(
        &self,
        registers: Registers,
        stack: &Stack,
        found: &mut Backtrace,
    ) -> Gva {
        let mut sp = registers.rsp();
        let mut frame = registers.get(Gpr::Rbp as u8);
        while found.frames.len() < MAX_FRAMES
            && frame >= sp
            && stack.contains(frame)
            && frame.is_multiple_of(4)
        {
            let read = |at: u64| self.view().uint(Gva(at), 4);
            let Some(above) = frame.checked_add(8) else { break };
            let ip = frame.checked_add(4).and_then(read);
            let Some((next, ip)) = read(frame).zip(ip) else { break };
            if !candidates::is_code(self, Gva(ip)) {
                break;
            }
            sp = above;
            found.frames.push(frame_at(Gva(ip), Gva(sp), FrameKind::Return));
            frame = next;
        }
        found.end = StackEnd::Lost("frame pointers lead no further".to_owned());
        Gva(sp)
    }
}
