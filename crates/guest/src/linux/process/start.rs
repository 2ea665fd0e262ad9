//! The start of a program: the auxiliary vector and its arguments.

use super::super::{Kernel, Object};
use super::fields::word;

/// `AT_VECTOR_SIZE` is 44 words or so; room for twice that.
const MAX_AUXV: usize = 768;
/// No type has a higher number: `AT_MINSIGSTKSZ` is 51.
const MAX_TYPE: u64 = 255;
const AT_NULL: u64 = 0;
const AT_ENTRY: u64 = 9;

/// The auxiliary vector, and how long its words are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Auxv {
    /// Types and values up to and with `AT_NULL`; empty if there is none.
    pub(super) pairs: Vec<(u64, u64)>,
    /// Bytes of a word; `None` if there is no vector.
    pub(super) word_len: Option<usize>,
}

impl Auxv {
    /// The start of a process.
    pub(super) fn of(kernel: &Kernel, mm: Object<'_>) -> Self {
        let Ok(gva) = mm.address_of("saved_auxv") else { return Self::default() };
        let said = mm.member("saved_auxv").ok().and_then(|member| member.size_bytes);
        let len = said.and_then(|len| usize::try_from(len).ok()).filter(|len| *len > 16);
        // Where the size is not known, what comes after ends it with AT_NULL before.
        let mut bytes = vec![0; len.unwrap_or(352).min(MAX_AUXV)];
        if kernel.read(gva, &mut bytes, "mm_struct.saved_auxv").is_err() {
            return Self::default();
        }
        let widths: &[usize] = if kernel.linux().is_64_bit { &[8, 4] } else { &[4] };
        widths.iter().find_map(|word_len| Self::parse(&bytes, *word_len)).unwrap_or_default()
    }

    /// The vector, if with words of this length it looks like one.
    fn parse(bytes: &[u8], word_len: usize) -> Option<Self> {
        let mut pairs = Vec::new();
        for at in (0..bytes.len()).step_by(word_len.saturating_mul(2)) {
            let kind = word(bytes, at, word_len)?;
            let value = word(bytes, at.saturating_add(word_len), word_len)?;
            if kind > MAX_TYPE {
                return None;
            }
            pairs.push((kind, value));
            if kind == AT_NULL {
                break;
            }
        }
        let has_entry = pairs.iter().any(|(kind, _)| *kind == AT_ENTRY);
        let ends = pairs.last().is_some_and(|(kind, _)| *kind == AT_NULL);
        (has_entry && ends).then_some(Self { pairs, word_len: Some(word_len) })
    }

    /// The value of a type.
    pub(super) fn value(&self, kind: u64) -> Option<u64> {
        self.pairs.iter().find(|(found, _)| *found == kind).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(pairs: &[(u64, u64)], word_len: usize) -> Vec<u8> {
        let words = pairs.iter().flat_map(|(kind, value)| [*kind, *value]);
        let mut bytes: Vec<u8> =
            words.flat_map(|word| word.to_le_bytes()[..word_len].to_vec()).collect();
        bytes.resize(352, 0);
        bytes
    }

    #[test]
    fn the_width_of_a_vector_shows_in_its_types() {
        let pairs =
            [(33, 0xf7fa_0000), (16, 0x1234), (3, 0x0804_8034), (AT_ENTRY, 0x0804_9000), (0, 0)];
        let narrow = vector(&pairs, 4);
        assert_eq!(Auxv::parse(&narrow, 8), None);
        assert_eq!(Auxv::parse(&narrow, 4).unwrap().pairs, pairs);
        let wide = vector(&pairs, 8);
        assert_eq!(Auxv::parse(&wide, 8).unwrap().pairs, pairs);
    }

    #[test]
    fn what_does_not_end_or_names_no_entry_is_no_vector() {
        assert_eq!(Auxv::parse(&vector(&[], 8), 8), None);
        assert_eq!(Auxv::parse(&[3, 0, 0, 0, 9, 0, 0, 0].repeat(50), 4), None);
        assert_eq!(Auxv::parse(&[0xff; 352], 8), None);
    }
}
