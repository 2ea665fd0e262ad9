//! A structure as bytes, filled by offset.

/// Bytes that grow where they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    pub(crate) fn zeroed(len: u64) -> Self {
        Self(vec![0; usize::try_from(len).unwrap_or_default()])
    }

    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) -> &mut Self {
        let at = usize::try_from(at).unwrap_or_default();
        let end = at + bytes.len();
        if self.0.len() < end {
            self.0.resize(end, 0);
        }
        self.0.get_mut(at..end).unwrap_or_default().copy_from_slice(bytes);
        self
    }

    pub(crate) fn u8(&mut self, at: u64, value: u8) -> &mut Self {
        self.put(at, &[value])
    }

    pub(crate) fn u16(&mut self, at: u64, value: u64) -> &mut Self {
        let [a, b, ..] = value.to_le_bytes();
        self.put(at, &[a, b])
    }

    pub(crate) fn u32(&mut self, at: u64, value: u64) -> &mut Self {
        let [a, b, c, d, ..] = value.to_le_bytes();
        self.put(at, &[a, b, c, d])
    }

    pub(crate) fn u64(&mut self, at: u64, value: u64) -> &mut Self {
        self.put(at, &value.to_le_bytes())
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }
}
