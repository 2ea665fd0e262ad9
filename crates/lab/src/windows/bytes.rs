//! A structure as bytes, filled by offset.

/// Bytes that grow where they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    pub(super) fn zeroed(len: u64) -> Self {
        Self(vec![0; usize::try_from(len).unwrap_or_default()])
    }

    pub(super) fn put(&mut self, at: u64, bytes: &[u8]) -> &mut Self {
        let at = usize::try_from(at).unwrap_or_default();
        let end = at + bytes.len();
        if self.0.len() < end {
            self.0.resize(end, 0);
        }
        self.0.get_mut(at..end).unwrap_or_default().copy_from_slice(bytes);
        self
    }

    pub(super) fn u8(&mut self, at: u64, value: u8) -> &mut Self {
        self.put(at, &[value])
    }

    pub(super) fn u16(&mut self, at: u64, value: u64) -> &mut Self {
        let [a, b, ..] = value.to_le_bytes();
        self.put(at, &[a, b])
    }

    pub(super) fn u32(&mut self, at: u64, value: u64) -> &mut Self {
        let [a, b, c, d, ..] = value.to_le_bytes();
        self.put(at, &[a, b, c, d])
    }

    pub(super) fn u64(&mut self, at: u64, value: u64) -> &mut Self {
        self.put(at, &value.to_le_bytes())
    }
}

/// UTF-16, as Windows writes it.
pub(super) fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The next multiple of `to`, a power of two.
pub(super) fn align(value: u64, to: u64) -> u64 {
    (value + to - 1) & !(to - 1)
}
