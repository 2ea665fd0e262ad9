//! `UNWIND_INFO` and its codes.

use vmss2core_mem::Gva;

use super::{Function, Registers, read_function};
use crate::windows::View;
use crate::windows::modules::Module;

pub(super) const RSP: u8 = 4;
const CHAINED: u8 = 4;

/// Unwind data of a function.
pub(super) struct Info {
    version: u8,
    prolog_len: u8,
    frame_register: u8,
    /// In bytes.
    frame_offset: u64,
    codes: Vec<u8>,
    /// The function that this is a part of.
    next: Option<Function>,
}

/// One operation of a prolog.
struct Code {
    /// Offset of the instruction after it in the function.
    done_at: u64,
    operation: Operation,
}

enum Operation {
    Push(u8),
    Allocate(u64),
    SetFrame,
    Save(u8, u64),
    /// Codes without effect on what is followed: vector registers, epilogs.
    Nothing,
    /// The processor pushed a frame; with an error code, if true.
    MachineFrame(bool),
}

impl Info {
    pub(super) fn read(view: &View, module: &Module, rva: u32) -> Option<Self> {
        let at = module.base.0.checked_add(u64::from(rva))?;
        let head = view.bytes(Gva(at), 4)?;
        let [first, prolog_len, count, frame] = head.first_chunk().copied()?;
        let version = first & 7;
        if !(1..=2).contains(&version) {
            return None;
        }
        let codes = view.bytes(Gva(at.checked_add(4)?), usize::from(count).checked_mul(2)?)?;
        let flags = first >> 3;
        let behind = u64::from(count.div_ceil(2)).saturating_mul(4).saturating_add(4);
        let next = if flags & CHAINED == 0 {
            None
        } else {
            Some(read_function(view, Gva(at.checked_add(behind)?))?)
        };
        let (frame_register, frame_offset) = (frame & 15, u64::from(frame & 0xf0));
        Some(Self { version, prolog_len, frame_register, frame_offset, codes, next })
    }

    pub(super) fn frame_register(&self) -> Option<u8> {
        (self.frame_register != 0).then_some(self.frame_register)
    }

    pub(super) fn chained(&self) -> Option<Function> {
        self.next
    }

    /// Undoes what was executed up to an offset in the function, all if there is
    /// none. True if a machine frame was undone, with which all registers are
    /// those of who was interrupted.
    pub(super) fn undo(
        &self,
        view: &View,
        registers: &mut Registers,
        executed: Option<u64>,
    ) -> Option<bool> {
        let executed = executed.filter(|at| *at < u64::from(self.prolog_len));
        let is_done = |code: &Code| executed.is_none_or(|at| code.done_at <= at);
        let codes: Vec<Code> = self.parse()?.into_iter().filter(is_done).collect();
        let has_frame = codes.iter().any(|code| matches!(code.operation, Operation::SetFrame));
        let frame_base = registers.get(self.frame_register).wrapping_sub(self.frame_offset);
        // A part that continues another may rely on the frame that was set there.
        let uses_frame = self.frame_register != 0 && (has_frame || executed.is_none());
        let base = if uses_frame { frame_base } else { registers.rsp() };
        for code in codes {
            match code.operation {
                Operation::Push(register) => {
                    let value = registers.pop(view)?;
                    registers.set(register, value);
                }
                Operation::Allocate(len) => registers.set_rsp(registers.rsp().wrapping_add(len)),
                Operation::SetFrame => registers.set_rsp(frame_base),
                Operation::Save(register, at) => {
                    let value = view.uint(Gva(base.wrapping_add(at)), 8)?;
                    registers.set(register, value);
                }
                Operation::Nothing => {}
                Operation::MachineFrame(has_code) => {
                    machine_frame(view, registers, has_code)?;
                    return Some(true);
                }
            }
        }
        Some(false)
    }

    fn parse(&self) -> Option<Vec<Code>> {
        let (slots, _) = self.codes.as_chunks::<2>();
        let mut rest = slots.iter();
        let mut codes = Vec::new();
        while let Some([done_at, operation]) = rest.next() {
            let mut number = || rest.next().map(|slot| u64::from(u16::from_le_bytes(*slot)));
            let info = operation >> 4;
            let operation = match (operation & 15, self.version) {
                (0, _) => Operation::Push(info),
                (1, _) if info == 0 => Operation::Allocate(number()? << 3),
                (1, _) => Operation::Allocate(number()? | number()? << 16),
                (2, _) => Operation::Allocate((u64::from(info) << 3).saturating_add(8)),
                (3, _) => Operation::SetFrame,
                (4, _) => Operation::Save(info, number()? << 3),
                (5, _) => Operation::Save(info, number()? | number()? << 16),
                // Where epilogs are: version 2 only.
                (6, 2) => Operation::Nothing,
                (6 | 8, _) | (7, 2) => {
                    number()?;
                    Operation::Nothing
                }
                (7 | 9, _) => {
                    number()?;
                    number()?;
                    Operation::Nothing
                }
                (10, _) => Operation::MachineFrame(info == 1),
                _ => return None,
            };
            codes.push(Code { done_at: u64::from(*done_at), operation });
        }
        Some(codes)
    }
}

/// RIP, CS, RFLAGS, RSP, SS, below them perhaps an error code.
fn machine_frame(view: &View, registers: &mut Registers, has_code: bool) -> Option<()> {
    let at = registers.rsp().wrapping_add(if has_code { 8 } else { 0 });
    let rip = view.uint(Gva(at), 8)?;
    let rsp = view.uint(Gva(at.wrapping_add(24)), 8)?;
    registers.rip = rip;
    registers.set_rsp(rsp);
    Some(())
}
