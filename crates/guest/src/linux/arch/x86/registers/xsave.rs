//! XSAVE areas: from the compacted format to the standard one.
//!
//! Intel SDM volume 1, 13.4 (areas and their two formats), 13.6 (initial
//! states). Debuggers read the standard format only, where each component has a
//! place of its own; the compacted one closes the gaps.

pub(super) use vmss2core_machine::x86::xsave::{COMPONENTS_START, FXSAVE_BYTES};

use vmss2core_machine::x86::FpuState;
use vmss2core_machine::x86::xsave::{
    COMPONENTS, Component, SSE, X87, XSTATE_BV, initialise_legacy, put,
};
use vmss2core_mem::little_endian;
use zerocopy::FromBytes;

use super::raw::XsaveHeader;

const COMPACTED: u64 = 1 << 63;
const MXCSR: usize = 24;
/// Largest area that is believed: AMX, the largest there is, needs 11,008.
pub(super) const MAX_AREA_BYTES: usize = 64 * 1024;

/// Where this machine's components lie.
#[derive(Clone, Debug)]
pub(super) struct Places(Vec<Component>);

impl Default for Places {
    fn default() -> Self {
        Self(COMPONENTS.to_vec())
    }
}

impl Places {
    /// With the kernel's own `xstate_offsets` and `xstate_sizes`, elements by
    /// component; what makes no sense there (no such component on this machine)
    /// keeps its usual place.
    pub(super) fn measured(offsets: &[u32], sizes: &[u32]) -> Self {
        let mut places = Self::default();
        for (number, (offset, size)) in offsets.iter().zip(sizes).enumerate().skip(2) {
            let (Ok(offset), Ok(len)) = (usize::try_from(*offset), usize::try_from(*size)) else {
                continue;
            };
            let fits = offset.checked_add(len).is_some_and(|end| end <= MAX_AREA_BYTES);
            if len == 0 || !fits || (offset != 0 && offset < COMPONENTS_START) {
                continue;
            }
            places.set(number, offset, len);
        }
        places
    }

    fn set(&mut self, number: usize, offset: usize, len: usize) {
        match self.0.iter_mut().find(|place| place.number == number) {
            // Supervisor components: the kernel has invented offsets for them.
            Some(place) if place.offset == 0 => place.len = len,
            Some(place) => (place.offset, place.len) = (offset, len),
            None => {}
        }
    }

    /// User components in order of their number, and so of the compacted format.
    fn iter(&self) -> impl Iterator<Item = &Component> {
        self.0.iter()
    }
}

/// The state in standard format. `area` is what lies in memory, at least 576
/// bytes to be an XSAVE area; less, or an area whose header makes no sense, is
/// taken for an FXSAVE image.
pub(super) fn standard(area: &[u8], places: &Places) -> Option<FpuState> {
    let legacy: [u8; FXSAVE_BYTES] = area.get(..FXSAVE_BYTES)?.try_into().ok()?;
    let Some(header) = header(area) else {
        return Some(FpuState::Fxsave(Box::new(legacy)));
    };
    let present = header.xstate_bv.get();
    let layout = header.xcomp_bv.get();
    let mut out = vec![0; COMPONENTS_START];
    put(&mut out, 0, &legacy);
    initialise_legacy(&mut out, present);
    let mut kept = present & (X87 | SSE);
    let mut at = COMPONENTS_START;
    for place in places.iter() {
        let bit = 1 << place.number;
        let Some(from) = source(place, layout, &mut at) else { continue };
        let Some(bytes) = area.get(from..from.saturating_add(place.len)) else { continue };
        if place.offset == 0 {
            continue;
        }
        // The place is there also if the component has its initial state, so
        // that debuggers know that the machine has it.
        out.resize(out.len().max(place.offset.saturating_add(place.len)), 0);
        if present & bit != 0 {
            put(&mut out, place.offset, bytes);
            kept |= bit;
        }
    }
    put(&mut out, XSTATE_BV, &kept.to_le_bytes());
    Some(FpuState::Xsave(out))
}

/// Where a component lies in an area with this layout; `None` if nowhere. `at`
/// counts how much of a compacted area is used.
fn source(place: &Component, layout: u64, at: &mut usize) -> Option<usize> {
    if layout & COMPACTED == 0 {
        return Some(place.offset);
    }
    if layout & (1 << place.number) == 0 {
        return None;
    }
    if place.aligned {
        *at = at.checked_next_multiple_of(64)?;
    }
    let from = *at;
    *at = at.saturating_add(place.len);
    Some(from)
}

/// The header, if it is one: bits that no processor sets are clear.
fn header(area: &[u8]) -> Option<XsaveHeader> {
    let bytes = area.get(FXSAVE_BYTES..COMPONENTS_START)?;
    let header = XsaveHeader::read_from_bytes(bytes).ok()?;
    let layout = header.xcomp_bv.get();
    let present = header.xstate_bv.get();
    let sane = header.reserved.iter().all(|word| word.get() == 0)
        && present >> 63 == 0
        && (layout == 0 || layout & COMPACTED != 0 && present & !layout & !3 == 0);
    sane.then_some(header)
}

/// Whether these 576 bytes look like the start of a saved state.
pub(super) fn looks_saved(area: &[u8]) -> bool {
    let control = area.get(..2).map(little_endian).unwrap_or_default();
    let mxcsr = area.get(MXCSR..MXCSR + 4).map(little_endian).unwrap_or_default();
    let mask = area.get(MXCSR + 4..MXCSR + 8).map(little_endian).unwrap_or_default();
    // Bits 6 and 7 to 15 of FCW: one is always set, the others never but X.
    let control_is_sane = control & 0xe0c0 == 0x40;
    let mask_is_sane = matches!(mask, 0 | 0xffbf | 0xffff | 0x2_ffff);
    control_is_sane && mxcsr != 0 && mxcsr & !0x2_ffff == 0 && mask_is_sane
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An area whose every byte says which component it belongs to.
    fn area(present: u64, layout: u64, components: &[(usize, usize, u8)]) -> Vec<u8> {
        let mut area = vec![0; 12_000];
        put(&mut area, 0, &0x37f_u16.to_le_bytes());
        put(&mut area, MXCSR, &0x1f80_u32.to_le_bytes());
        area[32..160].fill(0x87);
        area[160..416].fill(0x55);
        put(&mut area, XSTATE_BV, &present.to_le_bytes());
        put(&mut area, XSTATE_BV + 8, &layout.to_le_bytes());
        for (at, len, byte) in components {
            area[*at..*at + *len].fill(*byte);
        }
        area
    }

    fn expand(area: &[u8]) -> Vec<u8> {
        match standard(area, &Places::default()).unwrap() {
            FpuState::Xsave(area) => area,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_compacted_area_gets_its_gaps_back() {
        // AVX, opmask, ZMM_Hi256, Hi16_ZMM, PKRU and the AMX pair, of which
        // TILECFG is in its initial state.
        let layout = COMPACTED | 0x6_02e7;
        let present = 0x4_02e7;
        let mut at = 576_usize;
        let mut components = Vec::new();
        for (len, byte) in [(256, 2), (64, 5), (512, 6), (1024, 7), (8, 9)] {
            components.push((at, len, byte));
            at += len;
        }
        at = at.next_multiple_of(64);
        components.push((at, 64, 17));
        components.push((at + 64, 8192, 18));
        let out = expand(&area(present, layout, &components));
        assert_eq!(out.len(), 2816 + 8192);
        for (start, len, byte) in [
            (576, 256, 2),
            (832, 256, 0),
            (1088, 64, 5),
            (1152, 512, 6),
            (1664, 1024, 7),
            (2688, 8, 9),
            (2752, 64, 0),
            (2816, 8192, 18),
        ] {
            assert!(out[start..start + len].iter().all(|b| *b == byte), "{start}");
        }
        assert_eq!(little_endian(&out[512..520]), present);
        assert_eq!(little_endian(&out[520..528]), 0);
        assert_eq!(out[160], 0x55);
    }

    #[test]
    fn supervisor_components_take_room_and_are_left_out() {
        // AVX, CET_U (11) and TILECFG.
        let layout = COMPACTED | 0x2_0807;
        let components = [(576, 256, 2), (832, 16, 11), (896, 64, 17)];
        let out = expand(&area(0x2_0807, layout, &components));
        assert!(out[2752..2816].iter().all(|b| *b == 17));
        assert!(!out.contains(&11));
        assert_eq!(little_endian(&out[512..520]), 0x2_0007);
    }

    #[test]
    fn a_component_in_its_initial_state_reads_as_that() {
        let out = expand(&area(0, 0, &[(576, 256, 2)]));
        assert_eq!(little_endian(&out[..2]), 0x37f);
        assert_eq!(little_endian(&out[24..28]), 0x1f80);
        assert!(out[32..512].iter().all(|b| *b == 0), "x87 and SSE");
        assert!(out[576..832].iter().all(|b| *b == 0), "AVX");
        assert_eq!(little_endian(&out[512..520]), 0);
    }

    #[test]
    fn a_standard_area_keeps_its_places() {
        let out = expand(&area(7, 0, &[(576, 256, 2)]));
        assert!(out[576..832].iter().all(|b| *b == 2));
        assert_eq!(out[32], 0x87);
    }

    #[test]
    fn the_machine_may_have_components_elsewhere() {
        let mut offsets = [0_u32; 10];
        let mut sizes = [0_u32; 10];
        (offsets[2], sizes[2]) = (576, 256);
        (offsets[9], sizes[9]) = (832, 8);
        // Nonsense is not believed.
        (offsets[5], sizes[5]) = (u32::MAX, 64);
        let places = Places::measured(&offsets, &sizes);
        let place = |number| *places.iter().find(|place| place.number == number).unwrap();
        let component = |number, offset, len| Component { number, offset, len, aligned: false };
        assert_eq!(place(9), component(9, 832, 8));
        assert_eq!(place(5), component(5, 1088, 64));
    }

    #[test]
    fn what_is_no_xsave_area_is_an_fxsave_image() {
        let mut torn = area(7, 0, &[]);
        torn[540] = 1;
        for bytes in [&torn[..], &area(7, 0, &[])[..512], &area(1 << 63, 0, &[])] {
            let state = standard(bytes, &Places::default()).unwrap();
            assert!(matches!(state, FpuState::Fxsave(_)));
        }
        assert!(standard(&[0; 511], &Places::default()).is_none());
    }

    #[test]
    fn an_area_that_is_cut_off_keeps_what_is_there() {
        let whole = area(0x2e7, 0, &[(576, 256, 2)]);
        let FpuState::Xsave(out) = standard(&whole[..900], &Places::default()).unwrap() else {
            panic!("not an XSAVE area")
        };
        assert_eq!(out.len(), 832);
        assert_eq!(little_endian(&out[512..520]), 7);
    }

    #[test]
    fn a_saved_state_is_told_from_other_bytes() {
        assert!(looks_saved(&area(7, 0, &[])));
        assert!(!looks_saved(&[0; 576]));
        assert!(!looks_saved(&[0xff; 576]));
        assert!(!looks_saved(&[0x7f; 576]));
    }
}
