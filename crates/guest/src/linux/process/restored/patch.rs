//! Bytes in place of a file's own.

/// Bytes that are not the file's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Where they lie.
    pub offset: u64,
    /// The bytes themselves.
    pub bytes: PatchBytes,
}

/// The bytes of a patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchBytes {
    /// These.
    Given(Vec<u8>),
    /// So many zeroes in place of what is missing.
    Zeroes(u64),
}

impl Patch {
    pub(super) fn given(offset: u64, bytes: Vec<u8>) -> Self {
        Self { offset, bytes: PatchBytes::Given(bytes) }
    }

    pub(super) fn zeroes(range: &std::ops::Range<u64>) -> Self {
        let len = range.end.saturating_sub(range.start);
        Self { offset: range.start, bytes: PatchBytes::Zeroes(len) }
    }

    /// Offset after its last byte.
    pub fn end(&self) -> u64 {
        let len = match &self.bytes {
            PatchBytes::Given(bytes) => bytes.len() as u64,
            PatchBytes::Zeroes(len) => *len,
        };
        self.offset.saturating_add(len)
    }

    /// Copies what it has from an offset on; returns how many bytes that were.
    fn copy(&self, offset: u64, to: &mut [u8]) -> usize {
        let skip = offset.saturating_sub(self.offset);
        match &self.bytes {
            PatchBytes::Given(bytes) => {
                let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                let from = bytes.get(skip..).unwrap_or_default();
                let len = from.len().min(to.len());
                for (to, from) in to.iter_mut().zip(from) {
                    *to = *from;
                }
                len
            }
            PatchBytes::Zeroes(zeroes) => {
                let left = usize::try_from(zeroes.saturating_sub(skip)).unwrap_or(usize::MAX);
                let len = left.min(to.len());
                to.iter_mut().take(len).for_each(|to| *to = 0);
                len
            }
        }
    }
}

/// Patches in order; where two overlap the later one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Patches(Vec<Patch>);

impl Patches {
    /// Later ones lie over earlier ones.
    pub(super) fn of(patches: Vec<Patch>) -> Self {
        Self(patches)
    }

    pub(super) fn all(&self) -> &[Patch] {
        &self.0
    }

    /// Copies what is given for an offset and after it, without a gap; returns how many
    /// bytes that were, or else how many of the file's own bytes come first.
    pub(super) fn copy(&self, offset: u64, to: &mut [u8]) -> Result<usize, usize> {
        let covers = |patch: &&Patch| patch.offset <= offset && offset < patch.end();
        let last = self.0.iter().enumerate().rev().find(|(_, patch)| covers(patch));
        // Up to where something else lies over it.
        let after = last.map_or(0, |(index, _)| index.saturating_add(1));
        let over = self.0.iter().skip(after).map(|patch| patch.offset);
        let next = over.filter(|start| *start > offset).min();
        let free = next.map_or(u64::MAX, |next| next.saturating_sub(offset));
        let len = to.len().min(usize::try_from(free).unwrap_or(usize::MAX));
        match last {
            Some((_, patch)) => Ok(patch.copy(offset, to.get_mut(..len).unwrap_or_default())),
            None => Err(len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_patches_lie_over_earlier_ones() {
        let patches = Patches::of(vec![
            Patch::given(4, b"abcdefgh".to_vec()),
            Patch::zeroes(&(6..8)),
            Patch::given(7, b"X".to_vec()),
        ]);
        let mut whole = [b'.'; 16];
        let mut at = 0;
        while at < whole.len() {
            at += match patches.copy(at as u64, &mut whole[at..]) {
                Ok(len) | Err(len) => len,
            };
        }
        assert_eq!(&whole, b"....ab\0Xefgh....");
        assert_eq!(patches.copy(u64::MAX, &mut [0; 4]), Err(4));
    }
}
