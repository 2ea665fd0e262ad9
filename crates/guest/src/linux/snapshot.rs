//! Many members of a structure, read in one go.
//!
//! A member by itself costs a walk of the page tables and two reads of a file;
//! a thousand tasks with twenty members each would take seconds.

use std::ops::Range;

use vmss2core_mem::{Gva, little_endian};

use super::{Kernel, LinuxError, Member};

/// Structures are smaller; a layout that says otherwise is damaged.
const MOST_BYTES: u64 = 256 << 10;

/// Which members of a structure are wanted.
#[derive(Debug)]
pub(super) struct Selection<'k> {
    kernel: &'k Kernel,
    structure: &'static str,
    /// From the first member to the last.
    span: Option<Range<u64>>,
}

/// A member that was selected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    offset: u64,
    size: u64,
    bits: Option<(u8, u8)>,
}

/// The bytes of a structure from the first selected member to the last.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    gva: Gva,
    first: u64,
    word_len: u64,
    bytes: Vec<u8>,
}

impl<'k> Selection<'k> {
    pub(super) fn of(kernel: &'k Kernel, structure: &'static str) -> Self {
        Self { kernel, structure, span: None }
    }

    /// A number; `a|b` tries one name after the other. `size` is what it has if the
    /// layout does not tell.
    pub(super) fn number(&mut self, path: &str, size: u64) -> Result<Field, LinuxError> {
        let member = self.kernel.object(Gva(0), self.structure).member(path)?;
        let field = Field::new(member, size);
        let end = field.offset.checked_add(field.size).filter(|end| *end <= MOST_BYTES);
        let end = end.ok_or_else(|| LinuxError::UnknownMember {
            structure: self.structure.to_owned(),
            member: path.to_owned(),
        })?;
        self.widen(field.offset..end);
        Ok(field)
    }

    fn widen(&mut self, range: Range<u64>) {
        let span = self.span.clone().unwrap_or_else(|| range.clone());
        self.span = Some(span.start.min(range.start)..span.end.max(range.end));
    }

    /// A pointer.
    pub(super) fn pointer(&mut self, path: &str) -> Result<Field, LinuxError> {
        let word_len = self.kernel.word_len();
        let field = Field { size: word_len, bits: None, ..self.number(path, word_len)? };
        self.widen(field.offset..field.offset.saturating_add(word_len));
        Ok(field)
    }

    /// A `list_head`: two pointers.
    pub(super) fn list(&mut self, path: &str) -> Result<Field, LinuxError> {
        let len = self.kernel.word_len().saturating_mul(2);
        let field = Field { size: len, bits: None, ..self.number(path, len)? };
        self.widen(field.offset..field.offset.saturating_add(len));
        Ok(field)
    }

    /// Reads the selected members of one structure.
    pub(super) fn read(&self, gva: Gva) -> Result<Snapshot, LinuxError> {
        let span = self.span.clone().unwrap_or_default();
        let len = span.end.saturating_sub(span.start);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let start = Gva(gva.0.wrapping_add(span.start));
        self.kernel.read(start, &mut bytes, self.structure)?;
        let word_len = self.kernel.word_len();
        Ok(Snapshot { gva, first: span.start, word_len, bytes })
    }
}

impl Field {
    fn new(member: Member, size: u64) -> Self {
        let size = member.size_bytes.unwrap_or(size);
        Self { offset: member.offset_bytes, size, bits: member.bits }
    }

    /// Where it lies in its structure.
    pub(super) fn offset(self) -> u64 {
        self.offset
    }
}

impl Snapshot {
    /// Where the structure lies.
    pub(super) fn gva(&self) -> Gva {
        self.gva
    }

    /// The bytes of a member.
    pub(super) fn bytes(&self, field: Field) -> &[u8] {
        self.at(field.offset, field.size)
    }

    /// A number of at most 8 bytes.
    pub(super) fn number(&self, field: Field) -> u64 {
        let value = little_endian(self.at(field.offset, field.size.min(8)));
        match field.bits {
            Some((shift, width)) => {
                let mask =
                    1_u64.checked_shl(width.into()).map_or(u64::MAX, |bit| bit.saturating_sub(1));
                value.unbounded_shr(shift.into()) & mask
            }
            None => value,
        }
    }

    /// A number that has 32 bits in every kernel.
    pub(super) fn number_32(&self, field: Field) -> u32 {
        u32::try_from(self.number(field) & 0xffff_ffff).unwrap_or(0)
    }

    /// A pointer.
    pub(super) fn pointer(&self, field: Field) -> Gva {
        Gva(self.number(field))
    }

    /// A pointer that is not null.
    pub(super) fn target(&self, field: Field) -> Option<Gva> {
        Some(self.pointer(field)).filter(|gva| gva.0 != 0)
    }

    /// The next node of a list.
    pub(super) fn next(&self, list: Field) -> Gva {
        Gva(little_endian(self.at(list.offset, self.word_len)))
    }

    /// The previous node of a list.
    pub(super) fn prev(&self, list: Field) -> Gva {
        Gva(little_endian(self.at(list.offset.wrapping_add(self.word_len), self.word_len)))
    }

    /// Empty if it was not selected.
    fn at(&self, offset: u64, len: u64) -> &[u8] {
        let start = offset.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let range = start.zip(usize::try_from(len).ok());
        let range = range.and_then(|(start, len)| Some(start..start.checked_add(len)?));
        range.and_then(|range| self.bytes.get(range)).unwrap_or_default()
    }
}
