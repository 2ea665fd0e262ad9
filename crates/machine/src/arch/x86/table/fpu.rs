//! x87 and vector registers, taken from an FXSAVE or XSAVE area (Intel SDM volume
//! 1, chapters 10.5 and 13.4).

use crate::arch::x86::xsave::{AVX, X87_STACK as STACK, XSTATE_BV, x87_tags};
use crate::arch::x86::{FpuState, Registers};

/// gdb's names for what controls x87, in its order.
pub(super) const CONTROLS: [&str; 8] =
    ["fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"];

const XMM: usize = 160;
const MXCSR: usize = 24;
/// Of the standard format (CPUID.0DH.2: EBX is 576 on every processor with AVX).
const YMM_HIGH: usize = 576;

/// The low `len` bytes at an offset of the legacy area.
fn legacy(of: &Registers, at: usize, len: usize) -> Option<u128> {
    number(of.fpu.as_ref()?.fxsave()?, at, len)
}

fn number(area: &[u8], at: usize, len: usize) -> Option<u128> {
    let bytes = area.get(at..at.checked_add(len)?)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u128::from(*byte)))
}

/// `st0` to `st7`.
pub(super) fn stack(of: &Registers, index: usize) -> Option<u128> {
    legacy(of, STACK.saturating_add(index.saturating_mul(16)), 10)
}

/// One of [`CONTROLS`].
pub(super) fn control(of: &Registers, index: usize) -> Option<u128> {
    match CONTROLS.get(index).copied()? {
        "fctrl" => legacy(of, 0, 2),
        "fstat" => legacy(of, 2, 2),
        "ftag" => tags(of),
        "fop" => legacy(of, 6, 2),
        "fioff" => legacy(of, 8, 4),
        "fiseg" => legacy(of, 12, 2),
        "fooff" => legacy(of, 16, 4),
        _ => legacy(of, 20, 2),
    }
}

fn tags(of: &Registers) -> Option<u128> {
    x87_tags(of.fpu.as_ref()?.fxsave()?).map(u128::from)
}

/// `xmm0` and on.
pub(super) fn xmm(of: &Registers, index: usize) -> Option<u128> {
    legacy(of, XMM.saturating_add(index.saturating_mul(16)), 16)
}

pub(super) fn mxcsr(of: &Registers, _: usize) -> Option<u128> {
    legacy(of, MXCSR, 4)
}

/// Upper half of `ymm0` and on; `None` if the state does not reach so far.
pub(super) fn ymm_high(of: &Registers, index: usize) -> Option<u128> {
    let FpuState::Xsave(area) = of.fpu.as_ref().filter(|state| state.has_avx())? else {
        return None;
    };
    let held = number(area, XSTATE_BV, 8)?;
    // Without its bit it is in its initial state, which is zero.
    if held & u128::from(AVX) == 0 {
        return Some(0);
    }
    number(area, YMM_HIGH.saturating_add(index.saturating_mul(16)), 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_area(change: impl FnOnce(&mut [u8])) -> Registers {
        let mut area = vec![0; 832];
        change(&mut area);
        Registers { fpu: Some(FpuState::Xsave(area)), ..Registers::default() }
    }

    #[test]
    fn tags_follow_from_values() {
        // TOP is 6: st0 is physical register 6.
        let of = with_area(|area| {
            area[2..4].copy_from_slice(&(6_u16 << 11).to_le_bytes());
            area[4] = 0b1100_0000;
            area[STACK..STACK + 10].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f]);
        });
        // Physical 7 (st1) is zero, 6 (st0) is 1.0, the others are empty.
        assert_eq!(tags(&of), Some(0b01_00_11_11_11_11_11_11));
    }

    #[test]
    fn what_is_in_its_initial_state_is_zero_and_what_is_not_there_is_missing() {
        let of = with_area(|area| area[YMM_HIGH] = 1);
        assert_eq!(ymm_high(&of, 0), Some(0));
        let of = with_area(|area| (area[YMM_HIGH + 16], area[XSTATE_BV]) = (7, 4));
        assert_eq!(ymm_high(&of, 1), Some(7));
        assert_eq!(ymm_high(&Registers::default(), 1), None);
        let fpu = Some(FpuState::Xsave(vec![0; 20]));
        let of = Registers { fpu, ..Registers::default() };
        assert_eq!((xmm(&of, 0), mxcsr(&of, 0)), (None, None));
    }
}
