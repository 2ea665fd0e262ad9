//! Kernel memory that is read piece by piece from front to back.

use vmss2core_mem::Gva;

use crate::linux::Kernel;

/// Bytes read at a time.
const LEN: u64 = 64 << 10;

/// The last part of memory that was read.
pub(super) struct Window<'k> {
    kernel: &'k Kernel,
    start: u64,
    bytes: Vec<u8>,
}

impl<'k> Window<'k> {
    pub(super) fn new(kernel: &'k Kernel) -> Self {
        Self { kernel, start: 0, bytes: Vec::new() }
    }

    /// Bytes at an address, if all are there.
    pub(super) fn get(&mut self, at: Gva, len: usize) -> Option<&[u8]> {
        if self.held(at, len).is_none() {
            self.read(at, len)?;
        }
        self.held(at, len)
    }

    /// The little-endian number of so many bytes at an address.
    pub(super) fn uint(&mut self, at: Gva, len: u64) -> Option<u64> {
        let mut wide = [0; 8];
        let bytes = self.get(at, usize::try_from(len).ok()?)?;
        wide.iter_mut().zip(bytes).for_each(|(wide, byte)| *wide = *byte);
        Some(u64::from_le_bytes(wide))
    }

    fn held(&self, at: Gva, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(at.0.checked_sub(self.start)?).ok()?;
        self.bytes.get(start..start.checked_add(len)?)
    }

    /// Reads what is asked for, and what follows it if that is there.
    fn read(&mut self, at: Gva, len: usize) -> Option<()> {
        let until = at.0.checked_add(LEN)? & !(LEN - 1);
        let ahead = usize::try_from(until.saturating_sub(at.0)).ok()?;
        for len in [ahead.max(len), len] {
            self.bytes.resize(len, 0);
            if self.kernel.space().read(at, &mut self.bytes).is_ok() {
                self.start = at.0;
                return Some(());
            }
        }
        self.bytes.clear();
        None
    }
}
