//! Floating point and vector state in the forms that files have.
//!
//! Intel SDM volume 1, chapters 10.5 (FXSAVE), 13.4 (XSAVE, standard format)
//! and 8.1.10 (FSAVE); bytes 464 to 471 are gdb's own use of the software area.

use vmss2core_machine::x86::FpuState;
use vmss2core_machine::x86::xsave::{
    COMPONENTS_START, FXSAVE_BYTES, SSE, X87, X87_STACK, XSTATE_BV, x87_tags,
};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

const FSAVE_BYTES: usize = 108;
/// x87, SSE, AVX, MPX, AVX-512 and PKRU: what gdb 13 can show. It warns about
/// an area that holds more.
const KNOWN_FEATURES: u64 = 0x2ff;
const LEGACY_FEATURES: u64 = X87 | SSE;
/// Feature groups with the size of an area that ends with them.
const GROUPS: [(u64, usize); 4] = [(0x04, 832), (0x18, 1088), (0xe0, 2688), (0x200, 2696)];

/// The FXSAVE image, with a usable `mxcsr_mask`.
pub(crate) fn fxsave(state: &FpuState) -> Option<[u8; FXSAVE_BYTES]> {
    let mut bytes: [u8; FXSAVE_BYTES] = state.fxsave()?.try_into().ok()?;
    if let Some(mask) = bytes.get_mut(28..32)
        && mask == [0; 4]
    {
        // Zero stands for the default mask (SDM 11.6.6).
        mask.copy_from_slice(&0xffff_u32.to_le_bytes());
    }
    Some(bytes)
}

/// The XSAVE area in standard format, cut to what gdb knows; `None` if there is
/// nothing beyond the FXSAVE image.
pub(crate) fn xstate(state: &FpuState, xcr0: Option<u64>) -> Option<Vec<u8>> {
    let FpuState::Xsave(area) = state else { return None };
    let present = u64_at(area, XSTATE_BV)?;
    let claimed = (xcr0.unwrap_or(present) | LEGACY_FEATURES) & KNOWN_FEATURES;
    let (features, size) = features_within(claimed, area.len());
    if size <= COMPONENTS_START {
        return None;
    }
    let mut note = area.get(..size)?.to_vec();
    put(&mut note, 0, &fxsave(state)?);
    put(&mut note, 464, &features.to_le_bytes());
    put(&mut note, XSTATE_BV, &(present & features).to_le_bytes());
    put(&mut note, 520, &[0; 8]);
    Some(note)
}

/// The groups of `claimed` whose place lies within `len` bytes, and the size of
/// an area with just them.
fn features_within(claimed: u64, len: usize) -> (u64, usize) {
    let mut features = claimed & LEGACY_FEATURES;
    let mut size = COMPONENTS_START;
    for (group, end) in GROUPS {
        if claimed & group != 0 && end <= len {
            features |= claimed & group;
            size = end;
        }
    }
    (features, size)
}

/// The 32-bit FSAVE image of the x87 part of an FXSAVE image.
pub(crate) fn fsave(fxsave: &[u8; FXSAVE_BYTES]) -> [u8; FSAVE_BYTES] {
    let word = |at: usize| u32::from(u16_at(fxsave, at));
    let reserved = 0xffff_0000;
    let head = [
        reserved | word(0),
        reserved | word(2),
        reserved | u32::from(x87_tags(fxsave).unwrap_or(u16::MAX)),
        u32_at(fxsave, 8),
        word(12) | (word(6) << 16),
        u32_at(fxsave, 16),
        reserved | word(20),
    ];
    let mut out = [0; FSAVE_BYTES];
    put(&mut out, 0, head.map(U32::new).as_bytes());
    for index in 0..8_usize {
        put(&mut out, index.saturating_mul(10).saturating_add(28), register(fxsave, index));
    }
    out
}

/// The 10 bytes of register st(`index`).
fn register(fxsave: &[u8; FXSAVE_BYTES], index: usize) -> &[u8] {
    let start = index.saturating_mul(16).saturating_add(X87_STACK);
    fxsave.get(start..start.saturating_add(10)).unwrap_or_default()
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in out.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at.saturating_add(2))
        .and_then(|b| b.try_into().ok())
        .map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at.saturating_add(4))
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.saturating_add(8)).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes)
}
