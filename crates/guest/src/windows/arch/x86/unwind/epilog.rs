//! Epilogs: they are not in unwind data, but have one of few forms, so the
//! instructions tell.

use vmss2core_mem::Gva;

use super::{Function, Registers, codes};
use crate::windows::View;
use crate::windows::modules::Module;

/// Longest epilog: one that frees the stack, pops all, and jumps.
const LONGEST: usize = 48;

/// Executes what is left of an epilog; `None` if the instruction is in none.
pub(super) fn leave(
    view: &View,
    module: &Module,
    (function, frame_register): (&Function, Option<u8>),
    registers: &Registers,
) -> Option<Registers> {
    let code = view.prefix(Gva(registers.rip), LONGEST);
    let mut left = *registers;
    let mut at = free(&code, frame_register, &mut left);
    loop {
        let rest = code.get(at..)?;
        if let Some((len, register)) = pop(rest) {
            let value = left.pop(view)?;
            left.set(register, value);
            at = len.saturating_add(at);
            continue;
        }
        let jumps = |distance: i64, len: u64| {
            let here = left.rip.wrapping_add(at as u64).wrapping_sub(module.base.0);
            let target = here.wrapping_add(len).wrapping_add_signed(distance);
            // A jump to its own start calls itself anew.
            target <= u64::from(function.begin) || target >= u64::from(function.end)
        };
        let ends = match rest {
            [0xc3, ..] | [0xc2, _, _, ..] | [0xf3, 0xc3, ..] => true,
            [0xeb, near, ..] => jumps(i64::from(i8::from_le_bytes([*near])), 2),
            [0xe9, a, b, c, d, ..] => jumps(i64::from(i32::from_le_bytes([*a, *b, *c, *d])), 5),
            // Through a pointer or a register: only after something of an epilog.
            [0xff, 0x25, ..] | [0x48, 0xff, 0x25, ..] => true,
            [0xff, 0xe0..=0xe7, ..] | [0x40..=0x4f, 0xff, 0xe0..=0xe7, ..] => at > 0,
            _ => false,
        };
        if !ends {
            return None;
        }
        left.ret(view)?;
        return Some(left);
    }
}

/// `add rsp, n` or `lea rsp, [frame + n]`: executes it, returns its length.
fn free(code: &[u8], frame_register: Option<u8>, left: &mut Registers) -> usize {
    let wide = |bytes: [u8; 4]| i64::from(i32::from_le_bytes(bytes));
    match *code {
        [0x48, 0x83, 0xc4, n, ..] => {
            left.set_rsp(left.rsp().wrapping_add_signed(i64::from(i8::from_le_bytes([n]))));
            4
        }
        [0x48, 0x81, 0xc4, a, b, c, d, ..] => {
            left.set_rsp(left.rsp().wrapping_add_signed(wide([a, b, c, d])));
            7
        }
        [rex @ (0x48 | 0x49), 0x8d, mode, n, ..] if mode >> 3 == 0b01_100 => {
            based(left, frame_register, (rex, mode), i64::from(i8::from_le_bytes([n])), 4)
        }
        [rex @ (0x48 | 0x49), 0x8d, mode, a, b, c, d, ..] if mode >> 3 == 0b10_100 => {
            based(left, frame_register, (rex, mode), wide([a, b, c, d]), 7)
        }
        _ => 0,
    }
}

fn based(
    left: &mut Registers,
    frame_register: Option<u8>,
    (rex, mode): (u8, u8),
    distance: i64,
    len: usize,
) -> usize {
    let register = (mode & 7) | (rex & 1) << 3;
    if frame_register != Some(register) || register & 7 == codes::RSP {
        return 0;
    }
    left.set_rsp(left.get(register).wrapping_add_signed(distance));
    len
}

/// `pop` of a register: its length and the register.
fn pop(code: &[u8]) -> Option<(usize, u8)> {
    match *code {
        [op @ 0x58..=0x5f, ..] => Some((1, op & 7)),
        [0x41, op @ 0x58..=0x5f, ..] => Some((2, op & 7 | 8)),
        _ => None,
    }
}
