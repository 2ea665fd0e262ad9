//! The ELF header and the program headers, as the System V ABI has them ("Object Files",
//! "Program Header"), for both word sizes and both byte orders.

use std::mem::offset_of;
use std::ops::Range;

use vmss2core_formats::elf::{ET_CORE, ET_REL, Ehdr32, Ehdr64, PT_NOTE, Phdr32, Phdr64};

use crate::OpenError;
use crate::source::Source;

/// Program headers that are looked at most.
const MAX_SEGMENTS: u64 = 4096;

/// The parts of the header that are needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// `e_type`.
    pub(super) kind: u64,
    /// `EI_CLASS` is 2: 64 bits.
    is_wide: bool,
    /// `EI_DATA` is 2: the highest byte first.
    is_big: bool,
    /// `e_phoff`, `e_phentsize` and `e_phnum`.
    segments: (u64, u64, u64),
}

impl Header {
    /// `ET_REL`.
    pub(super) const RELOCATABLE: u64 = ET_REL as u64;
    /// `ET_CORE`.
    pub(super) const CORE: u64 = ET_CORE as u64;

    /// Reads the header of an ELF file; `None` if it is cut off or broken.
    pub(super) fn read(source: &Source) -> Result<Option<Self>, OpenError> {
        let head = source.start(size_of::<Ehdr64>())?;
        let (Some(class), Some(order)) = (head.get(4), head.get(5)) else { return Ok(None) };
        if !matches!((class, order), (1 | 2, 1 | 2)) {
            return Ok(None);
        }
        let (is_wide, is_big) = (*class == 2, *order == 2);
        let mut header = Self { kind: 0, is_wide, is_big, segments: (0, 0, 0) };
        let (at, len, count) = if is_wide {
            (
                offset_of!(Ehdr64, e_phoff),
                offset_of!(Ehdr64, e_phentsize),
                offset_of!(Ehdr64, e_phnum),
            )
        } else {
            (
                offset_of!(Ehdr32, e_phoff),
                offset_of!(Ehdr32, e_phentsize),
                offset_of!(Ehdr32, e_phnum),
            )
        };
        let places = [(at, if is_wide { 8 } else { 4 }), (len, 2), (count, 2)];
        let read = |(at, len): (usize, usize)| header.number(&head, at, len);
        let (Some(kind), [Some(at), Some(len), Some(count)]) =
            (read((offset_of!(Ehdr64, e_type), 2)), places.map(read))
        else {
            return Ok(None);
        };
        (header.kind, header.segments) = (kind, (at, len, count));
        Ok(Some(header))
    }

    /// The number of `len` bytes at `at`.
    pub(super) fn number(&self, bytes: &[u8], at: usize, len: usize) -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(len)?)?;
        let add = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.is_big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }

    /// Where in the file the notes are.
    pub(super) fn notes(&self, source: &Source) -> Vec<Range<u64>> {
        let (offset, file_len) = if self.is_wide {
            ((offset_of!(Phdr64, p_offset), 8), (offset_of!(Phdr64, p_filesz), 8))
        } else {
            ((offset_of!(Phdr32, p_offset), 4), (offset_of!(Phdr32, p_filesz), 4))
        };
        let (first, len, count) = self.segments;
        let len_bytes = usize::try_from(len).unwrap_or_default().min(64);
        let mut found = Vec::new();
        for index in 0..count.min(MAX_SEGMENTS) {
            let mut segment = vec![0; len_bytes];
            let at = index.checked_mul(len).and_then(|skip| first.checked_add(skip));
            // What is cut off tells nothing.
            let Some(Ok(())) = at.map(|at| source.read(at, &mut segment)) else { break };
            let read = |(at, len)| self.number(&segment, at, len);
            if read((0, 4)) == Some(PT_NOTE.into())
                && let (Some(start), Some(len)) = (read(offset), read(file_len))
            {
                found.push(start..start.saturating_add(len));
            }
        }
        found
    }
}
