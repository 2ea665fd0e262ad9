//! The layout of XSAVE areas (Intel SDM volume 1: 13.4, areas; 13.6, initial
//! states). Every area here is in the standard format, in which each component
//! has a place of its own.

/// Bytes of the FXSAVE image that every area begins with.
pub const FXSAVE_BYTES: usize = 512;
/// Where the header says which components are not in their initial state.
pub const XSTATE_BV: usize = 512;
/// Where the header ends and the components begin.
pub const COMPONENTS_START: usize = 576;

/// Bit of the x87 registers.
pub const X87: u64 = 1;
/// Bit of the XMM registers.
pub const SSE: u64 = 1 << 1;
/// Bit of the upper halves of the YMM registers.
pub const AVX: u64 = 1 << 2;
/// An area of this length has room for the upper halves of the YMM registers.
pub const END_OF_AVX: usize = 832;

const MXCSR: usize = 24;
/// `FCW` and `MXCSR` of a processor that was just initialised.
const INITIAL_FCW: u16 = 0x37f;
const INITIAL_MXCSR: u32 = 0x1f80;

/// Where the x87 registers begin in an FXSAVE image, 16 bytes apart.
pub const X87_STACK: usize = 32;

/// The x87 tag word, which follows from the values: two bits for each physical register,
/// 0 valid, 1 zero, 2 special, 3 empty. An FXSAVE image has one, "not empty".
pub fn x87_tags(fxsave: &[u8]) -> Option<u16> {
    let [low, high] = *fxsave.get(2..)?.first_chunk()?;
    let top = usize::from(u16::from_le_bytes([low, high]) >> 11 & 7);
    let in_use = fxsave.get(4)?;
    (0..8_usize).try_fold(0, |tags, physical| {
        let index = physical.saturating_add(8).saturating_sub(top) % 8;
        let at = index.saturating_mul(16).saturating_add(X87_STACK);
        let tag = if in_use >> physical & 1 == 0 { 3 } else { x87_tag(fxsave.get(at..)?)? };
        Some(tags | tag << physical.saturating_mul(2))
    })
}

fn x87_tag(register: &[u8]) -> Option<u16> {
    let (mantissa, rest) = register.split_first_chunk()?;
    let mantissa = u64::from_le_bytes(*mantissa);
    let exponent = u16::from_le_bytes(*rest.first_chunk()?) & 0x7fff;
    Some(match exponent {
        0 if mantissa == 0 => 1,
        0 | 0x7fff => 2,
        _ if mantissa >> 63 == 0 => 2,
        _ => 0,
    })
}

/// Place and size of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its bit in the header.
    pub number: usize,
    /// Where it begins in the standard format; 0 for supervisor components,
    /// which have no place there.
    pub offset: usize,
    /// Its size in bytes.
    pub len: usize,
    /// Whether it is at a multiple of 64 bytes in the compacted format.
    pub aligned: bool,
}

impl Component {
    const fn new(number: usize, offset: usize, len: usize, aligned: bool) -> Self {
        Self { number, offset, len, aligned }
    }

    /// Its bit in the header; none of a number that the header has no bit for.
    pub fn bit(&self) -> u64 {
        u32::try_from(self.number).ok().and_then(|number| 1_u64.checked_shl(number)).unwrap_or(0)
    }
}

/// Values of Intel's processors in CPUID leaf 0xd; AMD's have PKRU elsewhere.
pub const COMPONENTS: [Component; 14] = [
    Component::new(2, 576, 256, false),
    Component::new(3, 960, 64, false),
    Component::new(4, 1024, 64, false),
    Component::new(5, 1088, 64, false),
    Component::new(6, 1152, 512, false),
    Component::new(7, 1664, 1024, false),
    Component::new(8, 0, 128, false),
    Component::new(9, 2688, 8, false),
    Component::new(10, 0, 8, false),
    Component::new(11, 0, 16, false),
    Component::new(12, 0, 24, false),
    Component::new(15, 0, 808, false),
    Component::new(17, 2752, 64, true),
    Component::new(18, 2816, 8192, true),
];

/// Sets the registers of the FXSAVE image to their initial state whose bits are
/// clear in `present`: what lies in memory for them is not defined.
pub fn initialise_legacy(area: &mut [u8], present: u64) {
    if present & X87 == 0 {
        put(area, 0, &[0; MXCSR]);
        put(area, 0, &INITIAL_FCW.to_le_bytes());
        put(area, 32, &[0; 128]);
    }
    if present & SSE == 0 {
        put(area, 160, &[0; 256]);
    }
    // MXCSR belongs to SSE and AVX: XRSTOR initialises it only without both.
    if present & (SSE | AVX) == 0 {
        put(area, MXCSR, &INITIAL_MXCSR.to_le_bytes());
    }
}

/// Overwrites what lies at an offset, as far as the area goes.
pub fn put(area: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in area.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}
