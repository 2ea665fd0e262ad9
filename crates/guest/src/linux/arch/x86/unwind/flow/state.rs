//! Where a function's caller left the stack and its registers, seen from inside of it.

use vmss2core_machine::x86::Gpr;

use super::instruction::Effect;

/// Registers that C functions preserve, with 64 bits and with 32 (System V ABI).
pub(super) const PRESERVED_64: &[Gpr] =
    &[Gpr::Rbx, Gpr::Rbp, Gpr::R12, Gpr::R13, Gpr::R14, Gpr::R15];
pub(super) const PRESERVED_32: &[Gpr] = &[Gpr::Rbx, Gpr::Rbp, Gpr::Rsi, Gpr::Rdi];

/// State between two instructions of a function. Places on the stack are told by how many
/// bytes they lie below the return address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    word_len: i32,
    /// Of the stack pointer.
    pub(super) depth: Option<i32>,
    /// Of the frame pointer, if it is one.
    pub(super) frame: Option<i32>,
    /// Where the caller's values were saved; 0 for nowhere.
    slots: [i32; 16],
    /// A bit for each register that no longer has its caller's value, which was not saved.
    changed: u16,
}

/// Where the caller's value of a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The register still has it.
    Register,
    /// So many bytes below the return address.
    Stack(i32),
    /// Nowhere.
    Lost,
}

impl State {
    /// State at the first instruction.
    pub(super) fn entered(is_64_bit: bool) -> Self {
        let word_len = if is_64_bit { 8 } else { 4 };
        Self { word_len, depth: Some(0), frame: None, slots: [0; 16], changed: 0 }
    }

    /// Where the caller's value of a register is.
    pub(super) fn place(&self, gpr: Gpr) -> Place {
        match (self.slot(gpr), self.is_changed(gpr)) {
            (0, false) => Place::Register,
            (0, true) => Place::Lost,
            (slot, _) => Place::Stack(slot),
        }
    }

    /// State after an instruction that goes on to the next.
    pub(super) fn after(mut self, effect: Effect) -> Self {
        match effect {
            Effect::Push(register) => self.push(register),
            Effect::Pop(register) => self.pop(register),
            Effect::Set { to, from, plus } => self.set(to, from, plus),
            Effect::Store { from, base, plus } => self.store(from, base, plus),
            Effect::Leave => {
                self.depth = self.frame;
                self.pop(Some(Gpr::Rbp));
            }
            Effect::Write(register) => self.change(register),
            Effect::Exchange(one, other) => {
                self.change(one);
                self.change(other);
            }
            _ => {}
        }
        self
    }

    fn push(&mut self, register: Option<Gpr>) {
        self.depth = self.depth.and_then(|depth| depth.checked_add(self.word_len));
        if let Some((register, depth)) = register.zip(self.depth) {
            self.save(register, depth);
        }
    }

    fn pop(&mut self, register: Option<Gpr>) {
        let from = self.depth;
        self.depth = from.and_then(|depth| depth.checked_sub(self.word_len));
        let Some(register) = register else { return };
        let restores = from.is_some_and(|depth| depth > 0 && depth == self.slot(register));
        self.change(register);
        if restores {
            self.set_slot(register, 0);
        }
    }

    fn set(&mut self, to: Gpr, from: Gpr, plus: i64) {
        let base = match from {
            Gpr::Rsp => self.depth,
            Gpr::Rbp => self.frame,
            _ => None,
        };
        let plus = i32::try_from(plus).ok();
        let depth = base.zip(plus).and_then(|(base, plus)| base.checked_sub(plus));
        self.change(to);
        match to {
            Gpr::Rsp => self.depth = depth,
            Gpr::Rbp => self.frame = depth,
            _ => {}
        }
    }

    fn store(&mut self, from: Gpr, base: Gpr, plus: i64) {
        let base = match base {
            Gpr::Rsp => self.depth,
            Gpr::Rbp => self.frame,
            _ => None,
        };
        let plus = i32::try_from(plus).ok();
        if let Some(depth) = base.zip(plus).and_then(|(base, plus)| base.checked_sub(plus)) {
            self.save(from, depth);
        }
    }

    /// The first copy counts that is in the function's own part of the stack.
    fn save(&mut self, register: Gpr, depth: i32) {
        if depth > 0 && self.slot(register) == 0 && !self.is_changed(register) {
            self.set_slot(register, depth);
        }
    }

    fn change(&mut self, register: Gpr) {
        if self.slot(register) == 0 {
            self.changed |= bit(register);
        }
        match register {
            Gpr::Rsp => self.depth = None,
            Gpr::Rbp => self.frame = None,
            _ => {}
        }
    }

    fn is_changed(&self, register: Gpr) -> bool {
        self.changed & bit(register) != 0
    }

    fn slot(&self, register: Gpr) -> i32 {
        self.slots.get(register as usize).copied().unwrap_or(0)
    }

    fn set_slot(&mut self, register: Gpr, depth: i32) {
        if let Some(slot) = self.slots.get_mut(register as usize) {
            *slot = depth;
        }
    }
}

fn bit(register: Gpr) -> u16 {
    1_u16.checked_shl(register as u32).unwrap_or(0)
}
