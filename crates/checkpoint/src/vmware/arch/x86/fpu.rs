//! x87, SSE and later registers: `fpu:fxstate` and the `xsave:` tags.
//!
//! Source: tags of real files. `fxstate` is an FXSAVE image (in 2012 a tag for
//! each byte, later a block), `xheader` the header of an XSAVE area, `subleaf`
//! a component of it by the number that CPUID leaf 0xd has for it.

use std::collections::BTreeMap;

use vmss2core_machine::x86::FpuState;
use vmss2core_machine::x86::xsave::{
    COMPONENTS, COMPONENTS_START, Component, FXSAVE_BYTES, SSE, X87, XSTATE_BV, initialise_legacy,
    put,
};

/// Values that were read for one processor.
#[derive(Default)]
pub(in crate::vmware) struct FpuTags {
    /// Bytes of the FXSAVE image.
    image: BTreeMap<u32, u8>,
    /// `XSTATE_BV` of the header.
    present: Option<u64>,
    components: BTreeMap<u32, Vec<u8>>,
}

impl FpuTags {
    pub(in crate::vmware) fn byte(&mut self, at: u32, byte: u8) {
        self.image.entry(at).or_insert(byte);
    }

    /// Takes a whole image; `None` if its length is not that of one.
    pub(in crate::vmware) fn image(&mut self, bytes: &[u8]) -> Option<()> {
        let image: &[u8; FXSAVE_BYTES] = bytes.try_into().ok()?;
        (0..).zip(image).for_each(|(at, byte)| self.byte(at, *byte));
        Some(())
    }

    /// Takes a header; `None` if it is none.
    pub(in crate::vmware) fn header(&mut self, bytes: &[u8]) -> Option<()> {
        let present =
            bytes.first_chunk().filter(|_| bytes.len() == COMPONENTS_START - XSTATE_BV)?;
        self.present.get_or_insert(u64::from_le_bytes(*present));
        Some(())
    }

    /// Takes a component; `None` if it has another size than processors give it.
    pub(in crate::vmware) fn component(&mut self, number: u32, bytes: &[u8]) -> Option<()> {
        let known = COMPONENTS.iter().find(|place| u32::try_from(place.number) == Ok(number));
        if known.is_some_and(|place| place.len != bytes.len()) {
            return None;
        }
        self.components.entry(number).or_insert_with(|| bytes.to_vec());
        Some(())
    }

    /// The state, if there is one. `xcr0` says which components the guest has
    /// switched on, `uses_xsave` whether it uses XSAVE at all: without it the
    /// header means nothing.
    pub(in crate::vmware) fn state(&self, xcr0: Option<u64>, uses_xsave: bool) -> Option<FpuState> {
        let legacy: Vec<u8> =
            (0..).map_while(|at| self.image.get(&at).copied()).take(FXSAVE_BYTES).collect();
        let legacy: [u8; FXSAVE_BYTES] = legacy.try_into().ok()?;
        match self.present.filter(|_| uses_xsave) {
            None => Some(FpuState::Fxsave(Box::new(legacy))),
            Some(present) => Some(FpuState::Xsave(self.area(&legacy, present, xcr0))),
        }
    }

    fn area(&self, legacy: &[u8], present: u64, xcr0: Option<u64>) -> Vec<u8> {
        let mut area = vec![0; COMPONENTS_START];
        put(&mut area, 0, legacy);
        initialise_legacy(&mut area, present);
        let mut kept = present & (X87 | SSE);
        let enabled = xcr0.unwrap_or_default() | present;
        let places = COMPONENTS.iter().filter(|place| place.offset != 0);
        for place in places.filter(|place| enabled & place.bit() != 0) {
            let end = place.offset.saturating_add(place.len);
            if present & place.bit() == 0 {
                area.resize(end, 0);
                continue;
            }
            // In use, but not there: an area that goes on would claim that it is in
            // its initial state.
            let Some(bytes) = self.bytes_of(place) else { break };
            area.resize(end, 0);
            put(&mut area, place.offset, bytes);
            kept |= place.bit();
        }
        put(&mut area, XSTATE_BV, &kept.to_le_bytes());
        area
    }

    fn bytes_of(&self, place: &Component) -> Option<&Vec<u8>> {
        self.components.get(&u32::try_from(place.number).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(present: u64, components: &[(u32, usize)]) -> FpuTags {
        let mut tags = FpuTags::default();
        tags.image(&[0x55; 512]).unwrap();
        let mut header = [0; 64];
        header[..8].copy_from_slice(&present.to_le_bytes());
        tags.header(&header).unwrap();
        for (number, len) in components {
            tags.component(*number, &vec![u8::try_from(*number).unwrap(); *len]).unwrap();
        }
        tags
    }

    fn area(tags: &FpuTags, xcr0: u64) -> Vec<u8> {
        match tags.state(Some(xcr0), true) {
            Some(FpuState::Xsave(area)) => area,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn components_get_their_places() {
        let area = area(&tags(0x207, &[(2, 256), (9, 8)]), 0x207);
        assert_eq!(area.len(), 2696);
        assert!(area[576..832].iter().all(|byte| *byte == 2));
        assert!(area[832..2688].iter().all(|byte| *byte == 0));
        assert!(area[2688..].iter().all(|byte| *byte == 9));
        assert_eq!(area[512..520], 0x207_u64.to_le_bytes());
    }

    #[test]
    fn an_area_ends_before_what_is_in_use_but_missing() {
        let with_gap = area(&tags(0x207, &[(9, 8)]), 0x207);
        assert_eq!((with_gap.len(), with_gap[512]), (576, 3));
    }

    #[test]
    fn what_is_switched_on_and_not_in_use_is_zero() {
        let at_rest = area(&tags(3, &[(2, 256)]), 7);
        assert_eq!((at_rest.len(), at_rest[512]), (832, 3));
        assert!(at_rest[576..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn without_a_header_or_xsave_it_is_an_fxsave_image() {
        let fxsave = Some(FpuState::Fxsave(Box::new([0x55; 512])));
        assert_eq!(tags(0, &[]).state(None, false), fxsave);
        let mut cut = FpuTags::default();
        (0..511).for_each(|at| cut.byte(at, 0x55));
        assert_eq!(cut.state(None, true), None);
        cut.byte(511, 0x55);
        assert_eq!(cut.state(None, true), fxsave);
    }

    #[test]
    fn odd_sizes_are_refused() {
        let mut tags = FpuTags::default();
        assert_eq!(tags.image(&[0; 511]), None);
        assert_eq!(tags.header(&[0; 63]), None);
        assert_eq!(tags.component(2, &[0; 255]), None);
        assert_eq!(tags.component(30, &[0; 255]), Some(()));
    }
}
