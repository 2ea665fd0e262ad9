//! Call instructions: what lies before a return address.

use vmss2core_mem::Gva;

use super::code::Code;

/// The longest form: opcode, ModRM, SIB and a displacement of 32 bits.
const LONGEST: usize = 7;
pub(super) const CALL_RELATIVE: u8 = 0xe8;
const JUMP_RELATIVE: u8 = 0xe9;
const JUMP_SHORT: u8 = 0xeb;

/// Whether the bytes before an address can be a call.
pub(super) fn end_at(code: &Code<'_>, ip: u64) -> bool {
    let before = bytes_before(code, ip);
    is_indirect(before) || target_in(code, before, ip).is_some()
}

/// Bytes before an address, zeros where nothing can be read.
fn bytes_before(code: &Code<'_>, ip: u64) -> [u8; LONGEST] {
    let mut bytes = [0; LONGEST];
    for len in (2..=LONGEST).rev() {
        let start = ip.wrapping_sub(len as u64);
        let (_, last) = bytes.split_at_mut(LONGEST.saturating_sub(len));
        if code.kernel().space().read(Gva(start), last).is_ok() {
            return bytes;
        }
        bytes = [0; LONGEST];
    }
    bytes
}

/// The target of the call before an address, if the instruction names the place.
pub(super) fn target(code: &Code<'_>, ip: u64) -> Option<u64> {
    target_in(code, bytes_before(code, ip), ip)
}

/// The target of a call, or where that does nothing but jump to.
pub(super) fn function(code: &Code<'_>, ip: u64) -> Option<u64> {
    let target = target(code, ip)?;
    Some(jump(code, target).unwrap_or(target))
}

/// Where the instruction at an address jumps to.
fn jump(code: &Code<'_>, at: u64) -> Option<u64> {
    let mut bytes = [0; 5];
    code.kernel().space().read(Gva(at), &mut bytes).ok()?;
    let (len, distance) = match bytes {
        [JUMP_RELATIVE, distance @ ..] => (5, i32::from_le_bytes(distance)),
        [JUMP_SHORT, distance, ..] => (2, i32::from(distance.cast_signed())),
        _ => return None,
    };
    at.checked_add(len)?.checked_add_signed(distance.into())
}

/// A call to a place that the instruction names, which has to be code.
fn target_in(code: &Code<'_>, before: [u8; LONGEST], ip: u64) -> Option<u64> {
    let [_, _, CALL_RELATIVE, distance @ ..] = before else { return None };
    let distance = i32::from_le_bytes(distance);
    let mask = if code.kernel().linux().is_64_bit { u64::MAX } else { u32::MAX.into() };
    let target = ip.wrapping_add_signed(distance.into()) & mask;
    (distance != 0 && code.holds(target)).then_some(target)
}

/// A call through a register or a pointer in memory (`FF /2`).
fn is_indirect(before: [u8; LONGEST]) -> bool {
    (0..LONGEST).any(|start| {
        let Some([0xff, modrm, operand @ ..]) = before.get(start..) else { return false };
        (modrm >> 3) & 7 == 2 && operand_len(*modrm, operand.first()) == operand.len()
    })
}

/// Bytes that follow ModRM (Intel SDM volume 2, 2.1.5).
pub(super) fn operand_len(modrm: u8, next: Option<&u8>) -> usize {
    let (mode, rm) = (modrm >> 6, modrm & 7);
    let sib = next.filter(|_| mode != 3 && rm == 4);
    let displacement = match (mode, sib.map_or(rm, |sib| sib & 7)) {
        (0, 5) | (2, _) => 4,
        (1, _) => 1,
        _ => 0,
    };
    usize::from(sib.is_some()).saturating_add(displacement)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends_in_call(bytes: &[u8]) -> bool {
        let mut before = [0x90; LONGEST];
        before[LONGEST - bytes.len()..].copy_from_slice(bytes);
        is_indirect(before)
    }

    /// As GNU as assembles them, from `call *%rax` to `call *0x12345678(,%rax,8)`.
    #[test]
    fn indirect_calls_of_every_length_are_known() {
        let calls: [&[u8]; 10] = [
            &[0xff, 0xd0],
            &[0x41, 0xff, 0xd3],
            &[0xff, 0x10],
            &[0xff, 0x50, 0x18],
            &[0xff, 0x14, 0x24],
            &[0xff, 0x54, 0x24, 0x08],
            &[0xff, 0x15, 0x78, 0x56, 0x34, 0x12],
            &[0xff, 0x90, 0x80, 0x00, 0x00, 0x00],
            &[0xff, 0x94, 0x24, 0x80, 0x00, 0x00, 0x00],
            &[0xff, 0x14, 0xc5, 0x78, 0x56, 0x34, 0x12],
        ];
        for call in calls {
            assert!(ends_in_call(call), "{call:x?}");
        }
    }

    #[test]
    fn other_instructions_are_no_calls() {
        let others: [&[u8]; 7] = [
            &[0xff, 0xe0],                         // jmp *%rax
            &[0xff, 0xf0],                         // push %rax
            &[0x66, 0x90],                         // nop
            &[0xff, 0x50],                         // half a call
            &[0xff, 0x15, 0x78, 0x56],             // a part of one
            &[0xc3],                               // ret
            &[0xff, 0x35, 0x78, 0x56, 0x34, 0x12], // push 0x12345678(%rip)
        ];
        for other in others {
            assert!(!ends_in_call(other), "{other:x?}");
        }
    }
}
