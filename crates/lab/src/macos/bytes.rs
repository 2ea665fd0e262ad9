//! Bytes filled by offset.

/// Bytes that grow where they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    pub(super) fn put(&mut self, at: u64, bytes: &[u8]) -> &mut Self {
        let at = usize::try_from(at).unwrap_or_default();
        let end = at + bytes.len();
        if self.0.len() < end {
            self.0.resize(end, 0);
        }
        self.0.get_mut(at..end).unwrap_or_default().copy_from_slice(bytes);
        self
    }

    pub(super) fn u32(&mut self, at: u64, value: u32) -> &mut Self {
        self.put(at, &value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, at: u64, value: u64) -> &mut Self {
        self.put(at, &value.to_le_bytes())
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }
}
