//! Functions that the kernel leaves out of its unwind tables
//! (`STACK_FRAME_NON_STANDARD`, `include/linux/objtool.h`): `__crash_kexec`, which
//! starts a second kernel, is one.
//!
//! Their first instructions say how much they put on the stack. Instructions of which
//! that is not certain end the list, so that it may be too short; that a call of this
//! very function returns to what is found on the stack there proves that it is not.

use vmss2core_machine::x86::Gpr;
use vmss2core_mem::Gva;

use super::super::calls;
use super::super::context::Stack;
use super::super::{Registers, Step};

/// More instructions than lie before the first jump of any function.
const LONGEST: usize = 256;
const WORD: u64 = 8;
const RSP: u8 = 4;
const RBP: u8 = 5;

/// Stack use of a function so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Frame {
    /// Bytes below the return address.
    depth: u64,
    /// How far below the return address the caller's rbp lies, if it was saved.
    saved_bp: Option<u64>,
    /// How far below the return address rbp points, if it is a frame pointer.
    bp: Option<u64>,
}

/// Effect of an instruction on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Nothing,
    /// Saves a register, by its number.
    Push(u8),
    /// Lowers the stack pointer.
    Lower(u64),
    /// Makes rbp the frame pointer.
    SetFramePointer,
}

/// One step up from `ip`, in a function that no table describes; `None` if that is
/// not certain.
pub(super) fn step(stack: &Stack<'_>, registers: &Registers, ip: Gva) -> Option<Step> {
    let kernel = stack.kernel;
    let offset = kernel.symbolize(ip)?.offset;
    let start = ip.0.checked_sub(offset)?;
    let mut code = vec![0; usize::try_from(offset).ok()?.min(LONGEST)];
    kernel.read(Gva(start), &mut code, "code").ok()?;
    let frame = frame(&code)?;
    let slot = match frame.bp {
        Some(depth) => registers.get(Gpr::Rbp)?.checked_add(depth)?,
        None => registers.sp()?.checked_add(frame.depth)?,
    };
    let caller_ip = stack.word(slot)?;
    (calls::target(&stack.code, caller_ip) == Some(start)).then_some(())?;
    let mut caller = *registers;
    caller.ip = caller_ip;
    caller.set(Gpr::Rsp, Some(slot.checked_add(WORD)?));
    if let Some(below) = frame.saved_bp {
        caller.set(Gpr::Rbp, stack.word(slot.checked_sub(below)?));
    }
    Some(Step::Caller(caller))
}

/// Stack use of the instructions from a function's start on.
fn frame(mut code: &[u8]) -> Option<Frame> {
    let mut frame = Frame::default();
    if let [0xf3, 0x0f, 0x1e, 0xfa, rest @ ..] = code {
        code = rest;
    }
    // `call __fentry__`, where a tracer has not made it a nop.
    if let [0xe8, _, _, _, _, rest @ ..] = code {
        code = rest;
    }
    while let Some((len, effect)) = instruction(code) {
        let Some(rest) = code.get(len..) else { break };
        frame.apply(effect)?;
        code = rest;
    }
    Some(frame)
}

impl Frame {
    fn apply(&mut self, effect: Effect) -> Option<()> {
        match effect {
            Effect::Nothing => {}
            Effect::Push(register) => {
                self.depth = self.depth.checked_add(WORD)?;
                if register == RBP && self.saved_bp.is_none() {
                    self.saved_bp = Some(self.depth);
                }
            }
            Effect::Lower(bytes) => self.depth = self.depth.checked_add(bytes)?,
            Effect::SetFramePointer => self.bp = Some(self.depth),
        }
        Some(())
    }
}

/// The length of an instruction and what it does to the stack, for those that
/// compilers put before a function's first jump (Intel SDM volume 2).
fn instruction(code: &[u8]) -> Option<(usize, Effect)> {
    let found = match *code {
        [register @ 0x50..=0x57, ..] => (1, Effect::Push(register & 7)),
        [0x41, register @ 0x50..=0x57, ..] => (2, Effect::Push(register & 7 | 8)),
        [0x48, 0x83, 0xec, bytes @ 0..=0x7f, ..] => (4, Effect::Lower(bytes.into())),
        [0x48, 0x83, 0xc4, bytes @ 0x80..=0xff, ..] => {
            (4, Effect::Lower(i8::from_le_bytes([bytes]).unsigned_abs().into()))
        }
        [0x48, 0x81, 0xec, a, b, c, d, ..] if d < 0x80 => {
            (7, Effect::Lower(u32::from_le_bytes([a, b, c, d]).into()))
        }
        [0x48, 0x89, 0xe5, ..] => (3, Effect::SetFramePointer),
        _ => (other(code)?, Effect::Nothing),
    };
    Some(found)
}

/// The length of an instruction that goes on to the next and leaves the stack pointer
/// alone.
fn other(code: &[u8]) -> Option<usize> {
    // The per-CPU segment: where the guard against overflows of the stack lies.
    let prefixes = code.iter().take_while(|byte| **byte == 0x65).count();
    let rest = code.get(prefixes..)?;
    let (rex, rest) = match rest {
        [rex @ 0x40..=0x4f, rest @ ..] => (Some(*rex), rest),
        _ => (None, rest),
    };
    let len = after_prefixes(rest, rex.unwrap_or(0))?;
    prefixes.checked_add(usize::from(rex.is_some()))?.checked_add(len)
}

/// Targets that an instruction with a ModRM byte may write to.
#[derive(Clone, Copy)]
enum Writes {
    Nothing,
    /// The register that `reg` names.
    Reg,
    /// The register or memory that `rm` names.
    Rm,
}

/// The length from the opcode on.
fn after_prefixes(code: &[u8], rex: u8) -> Option<usize> {
    let (is_wide, reg_is_high, rm_is_high) = (rex & 8 != 0, rex & 4 != 0, rex & 1 != 0);
    let (opcode_len, writes, immediate_len) = match *code.first()? {
        0xb8..=0xbf => return Some(if is_wide { 9 } else { 5 }),
        0x01 | 0x09 | 0x21 | 0x29 | 0x31 | 0x88 | 0x89 => (1_usize, Writes::Rm, 0),
        0x03 | 0x0b | 0x23 | 0x2b | 0x33 | 0x63 | 0x8b | 0x8d => (1, Writes::Reg, 0),
        0x38..=0x3b | 0x84 | 0x85 => (1, Writes::Nothing, 0),
        0x80 | 0x83 | 0xc6 => (1, Writes::Rm, 1),
        0x81 | 0xc7 => (1, Writes::Rm, 4),
        0x0f => match *code.get(1)? {
            0x1f => (2, Writes::Nothing, 0),
            0xb6 | 0xb7 | 0xbe | 0xbf => (2, Writes::Reg, 0),
            _ => return None,
        },
        _ => return None,
    };
    let (modrm, operand) = code.get(opcode_len..)?.split_first()?;
    let names_sp = match writes {
        Writes::Nothing => false,
        Writes::Reg => modrm >> 3 & 7 == RSP && !reg_is_high,
        Writes::Rm => modrm >> 6 == 3 && modrm & 7 == RSP && !rm_is_high,
    };
    let len = 1_usize.saturating_add(calls::operand_len(*modrm, operand.first()));
    (!names_sp).then_some(opcode_len.saturating_add(len).saturating_add(immediate_len))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `__crash_kexec` of Debian's 6.1, as its compiler wrote it.
    const CRASH_KEXEC: [u8; 53] = [
        0xe8, 0x4b, 0x76, 0xf0, 0xff, // call __fentry__
        0x53, // push %rbx
        0xba, 0x01, 0x00, 0x00, 0x00, // mov $1,%edx
        0x48, 0x81, 0xec, 0xb0, 0x00, 0x00, 0x00, // sub $0xb0,%rsp
        0x65, 0x48, 0x8b, 0x04, 0x25, 0x28, 0x00, 0x00, 0x00, // mov %gs:0x28,%rax
        0x48, 0x89, 0x84, 0x24, 0xa8, 0x00, 0x00, 0x00, // mov %rax,0xa8(%rsp)
        0x31, 0xc0, // xor %eax,%eax
        0xf0, 0x0f, 0xb1, 0x15, 0xdb, 0x8d, 0x1d, 0x02, // lock cmpxchg %edx,...
        0x85, 0xc0, // test %eax,%eax
        0x75, 0x50, // jne
        0x54, 0x54, 0x54, 0x54, // what follows
    ];

    #[test]
    fn what_a_function_saves_and_keeps_is_its_frame() {
        let found = frame(&CRASH_KEXEC).unwrap();
        assert_eq!(found, Frame { depth: 0xb8, saved_bp: None, bp: None });
        let before_the_second = frame(&CRASH_KEXEC[..6]).unwrap();
        assert_eq!(before_the_second.depth, 8);
    }

    #[test]
    fn a_frame_pointer_is_known_with_where_the_former_one_lies() {
        let code = [
            0xf3, 0x0f, 0x1e, 0xfa, // endbr64
            0x0f, 0x1f, 0x44, 0x00, 0x00, // nop
            0x55, // push %rbp
            0x48, 0x89, 0xe5, // mov %rsp,%rbp
            0x41, 0x57, // push %r15
            0x48, 0x83, 0xe4, 0xf0, // and $-16,%rsp
            0x48, 0x83, 0xec, 0x18, // sub $0x18,%rsp
        ];
        let found = frame(&code).unwrap();
        assert_eq!((found.saved_bp, found.bp), (Some(8), Some(8)));
        assert_eq!(found.depth, 16, "what follows the alignment of a stack is not counted");
    }

    /// As GNU as assembles them.
    #[test]
    fn instructions_that_change_the_stack_pointer_are_never_passed_over() {
        let changes: [&[u8]; 9] = [
            &[0x48, 0x89, 0xc4, 0, 0, 0, 0],       // mov %rax,%rsp
            &[0x48, 0x8b, 0x20, 0, 0, 0, 0],       // mov (%rax),%rsp
            &[0x48, 0x8d, 0x64, 0x24, 0x08, 0, 0], // lea 8(%rsp),%rsp
            &[0x48, 0x29, 0xc4, 0, 0, 0, 0],       // sub %rax,%rsp
            &[0x48, 0x83, 0xe4, 0xf0, 0, 0, 0],    // and $-16,%rsp
            &[0x48, 0x81, 0xe4, 0, 0xff, 0xff, 0xff],
            &[0x48, 0x83, 0xc4, 0x08, 0, 0, 0], // add $8,%rsp
            &[0x58, 0, 0, 0, 0, 0, 0],          // pop %rax
            &[0xc8, 0x10, 0, 0, 0, 0, 0],       // enter $16,$0
        ];
        for change in changes {
            assert_eq!(instruction(change), None, "{change:x?}");
        }
        // add $-128,%rsp; mov %rsp,%rbx; mov %rax,%r12
        assert_eq!(instruction(&[0x48, 0x83, 0xc4, 0x80]), Some((4, Effect::Lower(128))));
        assert_eq!(instruction(&[0x48, 0x89, 0xe3]), Some((3, Effect::Nothing)));
        assert_eq!(instruction(&[0x49, 0x89, 0xc4]), Some((3, Effect::Nothing)));
    }
}
