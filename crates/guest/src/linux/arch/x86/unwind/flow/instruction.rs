//! Instructions of x86: how long they are, and what they do to the stack, to registers and
//! to the way that code takes.
//!
//! Source: Intel SDM volume 2, 2.1 (formats) and appendix A (opcode maps). Limits: 16-bit
//! addresses, and what came after AVX2; kernels compute with neither.

use vmss2core_machine::x86::Gpr;

/// The longest instruction.
pub(super) const LONGEST: usize = 15;

/// An instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) len: usize,
    pub(super) effect: Effect,
}

/// Effect of an instruction, as far as it matters to unwinding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// None that matters.
    Nothing,
    /// A word on the stack: a register's value, or another.
    Push(Option<Gpr>),
    /// A word off the stack.
    Pop(Option<Gpr>),
    /// Puts a sum into a register; one of the two is the stack or the frame pointer.
    Set { to: Gpr, from: Gpr, plus: i64 },
    /// Stores a register at an address that another one leads to.
    Store { from: Gpr, base: Gpr, plus: i64 },
    /// Takes the stack pointer from memory: that of another stack in the same state.
    LoadStackPointer { base: Option<Gpr>, plus: i64 },
    /// `leave`.
    Leave,
    /// Changes a register.
    Write(Gpr),
    /// Changes two.
    Exchange(Gpr, Gpr),
    /// Stores a number that may be a place in the code.
    StoreNumber { base: Option<Gpr>, plus: i64, number: u64 },
    /// Calls a function; none if a pointer leads there.
    Call(Option<u64>),
    /// Goes on elsewhere.
    Jump(u64),
    /// Goes on elsewhere or here.
    Branch(u64),
    /// Goes on at one of the addresses in a table.
    JumpTable(u64),
    /// Goes on at what is not known, or never.
    End,
}

/// The instruction that `code` begins with, which lies at `at`; `None` for what is none.
pub(super) fn decode(code: &[u8], at: u64, is_64_bit: bool) -> Option<Instruction> {
    let mut cursor = Cursor { code, next: 0 };
    let prefixes = Prefixes::read(&mut cursor, is_64_bit)?;
    let opcode = Opcode::read(&mut cursor, is_64_bit)?;
    let operands = opcode.has_modrm(is_64_bit).then(|| Operands::read(&mut cursor, prefixes));
    let operands = match operands {
        Some(read) => Some(read?),
        None => None,
    };
    let reg = operands.map_or(0, |operands| operands.digit);
    let immediate = cursor.signed(opcode.immediate_len(reg, prefixes))?;
    let len = cursor.next;
    let end = at.wrapping_add(len as u64);
    let shape = Shape { opcode, prefixes, operands, immediate, end };
    (len <= LONGEST).then(|| Instruction { len, effect: shape.effect() })
}

struct Cursor<'c> {
    code: &'c [u8],
    next: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.code.get(self.next).copied()
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.next = self.next.saturating_add(1);
        Some(byte)
    }

    /// A little-endian number of up to 8 bytes.
    fn signed(&mut self, len: usize) -> Option<i64> {
        let mut bytes = [0; 8];
        for slot in bytes.iter_mut().take(len) {
            *slot = self.byte()?;
        }
        let unused = 64_u32.saturating_sub(u32::try_from(len).ok()?.saturating_mul(8));
        let high = u64::from_le_bytes(bytes).checked_shl(unused).unwrap_or(0);
        Some(high.cast_signed().checked_shr(unused).unwrap_or(0))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefixes {
    is_64_bit: bool,
    has_16_bit_operands: bool,
    has_other_addresses: bool,
    rex: Option<u8>,
}

impl Prefixes {
    fn read(cursor: &mut Cursor<'_>, is_64_bit: bool) -> Option<Self> {
        let mut found =
            Self { is_64_bit, has_16_bit_operands: false, has_other_addresses: false, rex: None };
        loop {
            match cursor.peek()? {
                0x66 => found.has_16_bit_operands = true,
                0x67 => found.has_other_addresses = true,
                0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 | 0xf2 | 0xf3 => {}
                _ => break,
            }
            cursor.byte()?;
        }
        found.rex = cursor.peek().filter(|byte| is_64_bit && byte & 0xf0 == 0x40);
        if found.rex.is_some() {
            cursor.byte()?;
        }
        // 16-bit addresses have other ModRM bytes.
        (is_64_bit || !found.has_other_addresses).then_some(found)
    }

    fn is_wide(self) -> bool {
        self.rex.is_some_and(|rex| rex & 8 != 0)
    }

    /// Bytes of an immediate operand.
    fn full(self) -> usize {
        if self.has_16_bit_operands && !self.is_wide() { 2 } else { 4 }
    }

    /// Whether operands are as wide as an address.
    fn is_word(self) -> bool {
        if self.is_64_bit { self.is_wide() } else { !self.has_16_bit_operands }
    }

    fn high(self, bit: u8) -> u8 {
        if self.rex.is_some_and(|rex| rex & bit != 0) { 8 } else { 0 }
    }
}

/// Where an opcode is in the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    One(u8),
    Two(u8),
    /// After 0F 38.
    Three,
    /// After 0F 3A.
    ThreeWithByte,
    /// Of vectors, with a ModRM byte; with an immediate byte too.
    Vector {
        has_byte: bool,
    },
}

impl Opcode {
    fn read(cursor: &mut Cursor<'_>, is_64_bit: bool) -> Option<Self> {
        let first = cursor.byte()?;
        // LDS and LES with 32 bits, which have no register as second operand.
        let is_vector = |next: u8| is_64_bit || next >> 6 == 3;
        match first {
            0x0f => match cursor.byte()? {
                0x38 => cursor.byte().map(|_| Self::Three),
                0x3a => cursor.byte().map(|_| Self::ThreeWithByte),
                second => Some(Self::Two(second)),
            },
            0xc4 if is_vector(cursor.peek()?) => {
                let map = cursor.byte()? & 0x1f;
                cursor.byte()?;
                Self::vector(map, cursor.byte()?)
            }
            0xc5 if is_vector(cursor.peek()?) => {
                cursor.byte()?;
                Self::vector(1, cursor.byte()?)
            }
            _ => Some(Self::One(first)),
        }
    }

    fn vector(map: u8, opcode: u8) -> Option<Self> {
        match map {
            // `vzeroupper` has no operands.
            1 if opcode == 0x77 => Some(Self::Two(0x77)),
            1 => {
                Some(Self::Vector { has_byte: matches!(opcode, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6) })
            }
            2 => Some(Self::Vector { has_byte: false }),
            3 => Some(Self::Vector { has_byte: true }),
            _ => None,
        }
    }

    fn has_modrm(self, is_64_bit: bool) -> bool {
        match self {
            Self::One(opcode @ 0..=0x3f) => opcode & 7 < 4,
            Self::One(0x62 | 0xc4 | 0xc5) => !is_64_bit,
            Self::One(opcode) => matches!(
                opcode,
                0x63 | 0x69 | 0x6b | 0x80..=0x8f | 0xc0 | 0xc1 | 0xc6 | 0xc7 | 0xd0..=0xd3
                    | 0xd8..=0xdf | 0xf6 | 0xf7 | 0xfe | 0xff
            ),
            Self::Two(opcode) => !matches!(
                opcode,
                0x05..=0x0c | 0x0e | 0x30..=0x37 | 0x77 | 0x80..=0x8f | 0xa0..=0xa2
                    | 0xa8..=0xaa | 0xc8..=0xcf
            ),
            Self::Three | Self::ThreeWithByte | Self::Vector { .. } => true,
        }
    }

    /// Bytes of the number at the end; `digit` is what a ModRM byte selects.
    fn immediate_len(self, digit: u8, prefixes: Prefixes) -> usize {
        let near = 4;
        let address = if prefixes.is_64_bit && !prefixes.has_other_addresses { 8 } else { 4 };
        match self {
            Self::One(opcode) => match opcode {
                0..=0x3f if opcode & 7 == 4 => 1,
                0..=0x3f if opcode & 7 == 5 => prefixes.full(),
                0x68 | 0x69 | 0x81 | 0xa9 | 0xc7 => prefixes.full(),
                0xb8..=0xbf if prefixes.is_wide() => 8,
                0xb8..=0xbf => prefixes.full(),
                0xe8 | 0xe9 => near,
                0x6a
                | 0x6b
                | 0x70..=0x80
                | 0x82
                | 0x83
                | 0xa8
                | 0xb0..=0xb7
                | 0xc0
                | 0xc1
                | 0xc6
                | 0xcd
                | 0xd4
                | 0xd5
                | 0xe0..=0xe7
                | 0xeb => 1,
                0xc2 | 0xca => 2,
                0xc8 => 3,
                0x9a | 0xea => prefixes.full().saturating_add(2),
                0xa0..=0xa3 => address,
                0xf6 if digit < 2 => 1,
                0xf7 if digit < 2 => prefixes.full(),
                _ => 0,
            },
            Self::Two(0x80..=0x8f) => near,
            Self::Two(0x0f | 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6) => 1,
            Self::ThreeWithByte | Self::Vector { has_byte: true } => 1,
            Self::Two(_) | Self::Three | Self::Vector { .. } => 0,
        }
    }
}

/// Operands that a ModRM byte names.
#[derive(Clone, Copy, Debug)]
struct Operands {
    /// The middle three bits as they are.
    digit: u8,
    /// The register that they name.
    reg: u8,
    other: Other,
}

#[derive(Clone, Copy, Debug)]
enum Other {
    Register(u8),
    /// By its base; none for an absolute address and for one of two registers.
    Memory {
        base: Option<u8>,
        plus: i64,
        is_scaled: bool,
    },
}

impl Operands {
    fn read(cursor: &mut Cursor<'_>, prefixes: Prefixes) -> Option<Self> {
        let modrm = cursor.byte()?;
        let (mode, digit, low) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
        let reg = digit | prefixes.high(4);
        if mode == 3 {
            return Some(Self { digit, reg, other: Other::Register(low | prefixes.high(1)) });
        }
        let sib = if low == 4 { Some(cursor.byte()?) } else { None };
        let has_index = sib.is_some_and(|sib| sib >> 3 & 7 | prefixes.high(2) != 4);
        let base = sib.map_or(low, |sib| sib & 7);
        let has_none = mode == 0 && base == 5;
        let plus = cursor.signed(match mode {
            0 if has_none => 4,
            0 => 0,
            1 => 1,
            _ => 4,
        })?;
        let base = (!has_none && !has_index).then_some(base | prefixes.high(1));
        let is_scaled = has_none && has_index;
        Some(Self { digit, reg, other: Other::Memory { base, plus, is_scaled } })
    }
}

/// An instruction in its parts.
struct Shape {
    opcode: Opcode,
    prefixes: Prefixes,
    operands: Option<Operands>,
    immediate: i64,
    /// The address after it.
    end: u64,
}

impl Shape {
    fn effect(&self) -> Effect {
        match self.opcode {
            Opcode::One(opcode) => self.of_one(opcode),
            Opcode::Two(opcode) => self.of_two(opcode),
            _ => Effect::Nothing,
        }
    }

    fn of_one(&self, opcode: u8) -> Effect {
        let low = opcode & 7 | self.prefixes.high(1);
        match opcode {
            0x50..=0x57 => Effect::Push(gpr(low)),
            0x58..=0x5f => Effect::Pop(gpr(low)),
            0x06 | 0x0e | 0x16 | 0x1e | 0x68 | 0x6a | 0x9c => Effect::Push(None),
            0x07 | 0x17 | 0x1f | 0x9d => Effect::Pop(None),
            // `pusha`, `popa`, `enter`: not of compilers.
            0x60 | 0x61 | 0xc8 => Effect::Write(Gpr::Rsp),
            0x70..=0x7f | 0xe0..=0xe3 => Effect::Branch(self.target()),
            0xe9 | 0xeb => Effect::Jump(self.target()),
            // Of the next instruction: this is how code asks where it is.
            0xe8 if self.immediate == 0 => Effect::Push(None),
            0xe8 => Effect::Call(Some(self.target())),
            0xc2 | 0xc3 | 0xca | 0xcb | 0xcf | 0xea | 0xcc => Effect::End,
            0xc9 => Effect::Leave,
            0x90 => Effect::Nothing,
            0x91..=0x97 => exchange(Some(Gpr::Rax), gpr(low)),
            0x40..=0x4f | 0xb8..=0xbf => written(gpr(low)),
            0xb0..=0xb7 => written(self.byte_register(low)),
            0xff => self.of_group_5(),
            _ => self.of_operands(opcode),
        }
    }

    fn of_two(&self, opcode: u8) -> Effect {
        match opcode {
            // UD1 and UD2, which do not go on, and returns from system calls.
            0x0b | 0xb9 | 0xff | 0x07 | 0x35 => Effect::End,
            0x80..=0x8f => Effect::Branch(self.target()),
            0xa0 | 0xa8 => Effect::Push(None),
            0xa1 | 0xa9 => Effect::Pop(None),
            0xa2 => Effect::Write(Gpr::Rbx),
            0xc8..=0xcf => written(gpr(opcode & 7 | self.prefixes.high(1))),
            0x02 | 0x03 | 0x40..=0x4f | 0xaf | 0xb6..=0xb8 | 0xbc..=0xbf => self.to_reg(false),
            0x20 | 0x21 | 0xa4 | 0xa5 | 0xab..=0xad | 0xb1 | 0xb3 | 0xba | 0xbb => {
                self.to_other(false)
            }
            0x90..=0x9f | 0xb0 => self.to_other(true),
            0xc0 | 0xc1 => self.to_both(opcode == 0xc0),
            _ => Effect::Nothing,
        }
    }

    /// Calls, jumps and pushes of what an operand says.
    fn of_group_5(&self) -> Effect {
        let Some(operands) = self.operands else { return Effect::End };
        match (operands.digit, operands.other) {
            (0 | 1, _) => self.to_other(false),
            (2 | 3, _) => Effect::Call(None),
            (4, Other::Memory { plus, is_scaled: true, .. }) => {
                Effect::JumpTable(self.address(plus))
            }
            (6, Other::Register(register)) => Effect::Push(gpr(register)),
            (6, Other::Memory { .. }) => Effect::Push(None),
            _ => Effect::End,
        }
    }

    fn of_operands(&self, opcode: u8) -> Effect {
        let digit = self.operands.map_or(0, |operands| operands.digit);
        match opcode {
            0x38..=0x3f | 0x84 | 0x85 => Effect::Nothing,
            0x80 | 0x82 | 0xf6 if digit == 7 || opcode == 0xf6 && digit != 2 && digit != 3 => {
                Effect::Nothing
            }
            0x81 | 0x83 if digit == 7 => Effect::Nothing,
            0x81 | 0x83 => self.sum(digit).unwrap_or_else(|| self.to_other(false)),
            0xf7 if digit != 2 && digit != 3 => Effect::Nothing,
            0x86 | 0x87 => self.to_both(opcode == 0x86),
            0x89 => self.store().unwrap_or_else(|| self.to_other(false)),
            0x8b => self.load().unwrap_or_else(|| self.to_reg(false)),
            0x8d => self.address_of().unwrap_or_else(|| self.to_reg(false)),
            // Of the operand, from the stack.
            0x8f => match self.operands.map(|operands| operands.other) {
                Some(Other::Register(register)) => Effect::Pop(gpr(register)),
                _ => Effect::Pop(None),
            },
            0xc7 => self.store_number().unwrap_or_else(|| self.to_other(false)),
            0..=0x3f if opcode & 7 < 2 => self.to_other(opcode & 1 == 0),
            0..=0x3f if opcode & 7 < 4 => self.to_reg(opcode & 1 == 0),
            0x63 if self.prefixes.is_64_bit => self.to_reg(false),
            0x69 | 0x6b => self.to_reg(false),
            0x8a => self.to_reg(true),
            0x80 | 0x82 | 0x88 | 0xc0 | 0xc6 | 0xd0 | 0xd2 | 0xf6 | 0xfe => self.to_other(true),
            0x8c | 0xc1 | 0xd1 | 0xd3 | 0xf7 => self.to_other(false),
            _ => Effect::Nothing,
        }
    }

    fn target(&self) -> u64 {
        self.address(self.end.wrapping_add_signed(self.immediate).cast_signed())
    }

    fn address(&self, value: i64) -> u64 {
        let mask = if self.prefixes.is_64_bit { u64::MAX } else { u32::MAX.into() };
        value.cast_unsigned() & mask
    }

    /// A register of one byte: without REX the second four are parts of the first.
    fn byte_register(&self, register: u8) -> Option<Gpr> {
        gpr(if self.prefixes.rex.is_none() { register & 3 } else { register })
    }

    fn register(&self, register: u8, is_byte: bool) -> Option<Gpr> {
        if is_byte { self.byte_register(register) } else { gpr(register) }
    }

    fn to_reg(&self, is_byte: bool) -> Effect {
        let reg = self.operands.and_then(|operands| self.register(operands.reg, is_byte));
        written(reg)
    }

    fn to_other(&self, is_byte: bool) -> Effect {
        match self.operands.map(|operands| operands.other) {
            Some(Other::Register(register)) => written(self.register(register, is_byte)),
            _ => Effect::Nothing,
        }
    }

    fn to_both(&self, is_byte: bool) -> Effect {
        let reg = self.operands.and_then(|operands| self.register(operands.reg, is_byte));
        match self.operands.map(|operands| operands.other) {
            Some(Other::Register(other)) => exchange(reg, self.register(other, is_byte)),
            _ => written(reg),
        }
    }

    /// Addition to a register and subtraction from it.
    fn sum(&self, digit: u8) -> Option<Effect> {
        let Other::Register(register) = self.operands?.other else { return None };
        let register = gpr(register).filter(|_| self.prefixes.is_word())?;
        let plus = match digit {
            0 => self.immediate,
            5 => self.immediate.checked_neg()?,
            _ => return None,
        };
        set(register, register, plus)
    }

    fn store(&self) -> Option<Effect> {
        let operands = self.operands.filter(|_| self.prefixes.is_word())?;
        let from = gpr(operands.reg)?;
        match operands.other {
            Other::Register(to) => set(gpr(to)?, from, 0),
            Other::Memory { base, plus, .. } => {
                Some(Effect::Store { from, base: gpr(base?)?, plus })
            }
        }
    }

    fn load(&self) -> Option<Effect> {
        let operands = self.operands.filter(|_| self.prefixes.is_word())?;
        let to = gpr(operands.reg)?;
        match operands.other {
            Other::Register(from) => set(to, gpr(from)?, 0),
            Other::Memory { base, plus, .. } if to == Gpr::Rsp => {
                let base = base.and_then(gpr);
                (base != Some(Gpr::Rsp)).then_some(Effect::LoadStackPointer { base, plus })
            }
            Other::Memory { .. } => None,
        }
    }

    fn address_of(&self) -> Option<Effect> {
        let operands = self.operands.filter(|_| self.prefixes.is_word())?;
        match operands.other {
            Other::Memory { base, plus, .. } => set(gpr(operands.reg)?, gpr(base?)?, plus),
            Other::Register(_) => None,
        }
    }

    fn store_number(&self) -> Option<Effect> {
        let operands = self.operands.filter(|_| self.prefixes.is_word())?;
        let Other::Memory { base, plus, .. } = operands.other else { return None };
        let number = self.address(self.immediate);
        Some(Effect::StoreNumber { base: base.and_then(gpr), plus, number })
    }
}

/// What matters of a sum: that the stack or the frame pointer is in it.
fn set(to: Gpr, from: Gpr, plus: i64) -> Option<Effect> {
    let matters = |gpr| matches!(gpr, Gpr::Rsp | Gpr::Rbp);
    (matters(to) || matters(from)).then_some(Effect::Set { to, from, plus })
}

fn gpr(number: u8) -> Option<Gpr> {
    Gpr::ALL.get(usize::from(number)).copied()
}

fn written(register: Option<Gpr>) -> Effect {
    register.map_or(Effect::Nothing, Effect::Write)
}

fn exchange(one: Option<Gpr>, other: Option<Gpr>) -> Effect {
    match (one, other) {
        (Some(one), Some(other)) => Effect::Exchange(one, other),
        (one, other) => written(one.or(other)),
    }
}

#[cfg(test)]
mod tests;
