//! Registers of a program that entry code did not store, as functions of the kernel did on
//! the way to where its thread is.

use vmss2core_machine::x86::Gpr;
use vmss2core_mem::Gva;

use super::context::Stack;
use super::{Frame, FrameKind, MOST_FRAMES, Registers, Step, entry, flow, frame_pointer, start};
use crate::linux::{Kernel, Task};

/// What is known of the registers that functions preserve, as a thread had them when it
/// entered the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::linux::arch::x86) enum Entered {
    /// Entry code stored them with the others.
    Whole,
    /// It did not; those that functions stored, or have left alone.
    Part(Vec<(Gpr, u64)>),
}

impl Kernel {
    /// Follows the stack of a thread to the entry code that saved registers at `saved`;
    /// `None` if that does not succeed.
    pub(in crate::linux::arch::x86) fn entered(&self, task: &Task, saved: Gva) -> Option<Entered> {
        let stack = Stack { vcpu: task.on_vcpu, ..Stack::new(self, Some(task.gva), task.stack) };
        let (mut registers, mut kind) = match task.on_vcpu {
            Some(index) => {
                (start::of_vcpu(self.registers_of(index)?.x86()?)?, FrameKind::Registers)
            }
            None => (self.sleeping(task).ok()?.0, FrameKind::Return),
        };
        let code = registers.ip;
        for _ in 0..MOST_FRAMES {
            let is_after_call = kind == FrameKind::Return;
            let (ip, sp) = (Gva(registers.ip), registers.sp()?);
            let frame = Frame { ip, sp: Gva(sp), kind, is_after_call };
            (registers, kind) = match up(&stack, &registers, &frame) {
                Some(next) => next,
                None if code != 0 => return at_entry(&stack, &registers, saved),
                None => return None,
            };
        }
        None
    }
}

fn up(stack: &Stack<'_>, registers: &Registers, frame: &Frame) -> Option<(Registers, FrameKind)> {
    if let Some(caller) = flow::caller(stack, registers, frame) {
        return Some((caller, FrameKind::Return));
    }
    // Leads on, but to none of the other registers.
    let leads_on = stack.kernel.keeps_frame_pointers() && registers.get(Gpr::Rbp).is_some();
    match leads_on.then(|| frame_pointer::step(stack, registers, frame))? {
        Step::Caller(caller) => {
            stack.code.is_after_call(caller.ip).then_some((caller, FrameKind::Return))
        }
        Step::Interrupted(interrupted) => Some((interrupted, FrameKind::Interrupted)),
        _ => None,
    }
}

/// Whether entry code that functions return to with these registers stored all of them.
fn at_entry(stack: &Stack<'_>, registers: &Registers, saved: Gva) -> Option<Entered> {
    let value = |register: &Gpr| Some((*register, registers.get(*register)?));
    let preserved = flow::preserved(stack.kernel).iter();
    match entry::stored(stack, registers.sp()?, saved.0)? {
        entry::Stored::All => Some(Entered::Whole),
        entry::Stored::Part => Some(Entered::Part(preserved.filter_map(value).collect())),
    }
}
