//! Text and sizes as Windows has them.

/// UTF-16, as Windows writes it.
pub(super) fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The next multiple of `to`, a power of two.
pub(super) fn align(value: u64, to: u64) -> u64 {
    (value + to - 1) & !(to - 1)
}
