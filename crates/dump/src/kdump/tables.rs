//! The bitmaps and the page descriptors, written as the pages come.
//!
//! Both grow with the guest: 24 bytes for a page of it are 6 GiB for a guest of
//! 1 TiB. So no more of them is kept than goes out in one write.

use std::ops::Range;

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use super::sink::Sink;
use crate::DumpError;
use vmss2core_formats::kdump::Descriptor;

/// Bytes of bitmap in one write.
const BITMAP_BYTES: usize = 1 << 16;
/// Descriptors in one write.
const DESCRIPTORS: usize = 1 << 15;

/// A bitmap whose bits are set in ascending order. What has no bit set is not
/// written and stays a hole.
pub(super) struct Bitmap {
    offset: u64,
    /// Which piece of [`BITMAP_BYTES`] is in `bytes`.
    piece: u64,
    bytes: Vec<u8>,
    is_dirty: bool,
}

impl Bitmap {
    /// A bitmap that lies at `offset` in the file.
    pub(super) fn new(offset: u64) -> Self {
        Self { offset, piece: 0, bytes: vec![0; BITMAP_BYTES], is_dirty: false }
    }

    /// Sets the bits of these pages.
    pub(super) fn set(&mut self, pfns: Range<u64>, sink: &dyn Sink) -> Result<(), DumpError> {
        const BITS: u64 = BITMAP_BYTES as u64 * 8;
        let mut at = pfns.start;
        while at < pfns.end {
            let piece = at / BITS;
            if piece != self.piece {
                self.flush(sink)?;
                self.piece = piece;
            }
            let end = pfns.end.min(piece.saturating_add(1).saturating_mul(BITS));
            self.set_here(at % BITS..end.saturating_sub(piece.saturating_mul(BITS)));
            at = end;
        }
        Ok(())
    }

    fn set_here(&mut self, bits: Range<u64>) {
        let (first, last) = (bits.start / 8, bits.end / 8);
        let (low, high) = (0xff_u8 << (bits.start % 8), !(0xff_u8 << (bits.end % 8)));
        let index = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX);
        let mut or = |byte: u64, mask: u8| {
            if let Some(byte) = self.bytes.get_mut(index(byte)) {
                *byte |= mask;
            }
        };
        if first == last {
            or(first, low & high);
        } else {
            or(first, low);
            or(last, high);
            if let Some(between) = self.bytes.get_mut(index(first.saturating_add(1))..index(last)) {
                between.fill(0xff);
            }
        }
        self.is_dirty = true;
    }

    /// Writes what is not written yet.
    pub(super) fn flush(&mut self, sink: &dyn Sink) -> Result<(), DumpError> {
        if !self.is_dirty {
            return Ok(());
        }
        // Up to the last bit that is set: after this bitmap begins another.
        let len =
            self.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
        let bytes = self.bytes.get(..len).unwrap_or_default();
        let start = self.piece.saturating_mul(BITMAP_BYTES as u64);
        sink.write_at(self.offset.saturating_add(start), bytes)?;
        self.bytes.fill(0);
        self.is_dirty = false;
        Ok(())
    }
}

/// The descriptors of the pages that are stored, in ascending order.
pub(super) struct Descriptors {
    offset: u64,
    end: u64,
    waiting: Vec<Descriptor>,
    count: u64,
}

impl Descriptors {
    /// Descriptors that may take this part of the file.
    pub(super) fn new(place: Range<u64>) -> Self {
        Self {
            offset: place.start,
            end: place.end,
            waiting: Vec::with_capacity(DESCRIPTORS),
            count: 0,
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The next `pages` pages lie at `offset`, all at the same.
    pub(super) fn push(
        &mut self,
        offset: u64,
        size: u32,
        flags: u32,
        pages: u64,
        sink: &dyn Sink,
    ) -> Result<(), DumpError> {
        let descriptor = Descriptor {
            offset: U64::new(offset),
            size: U32::new(size),
            flags: U32::new(flags),
            page_flags: U64::ZERO,
        };
        let mut left = pages;
        while left > 0 {
            let room = DESCRIPTORS.saturating_sub(self.waiting.len());
            let some = usize::try_from(left).unwrap_or(usize::MAX).min(room);
            self.waiting.resize(self.waiting.len().saturating_add(some), descriptor);
            self.count = self.count.saturating_add(some as u64);
            left = left.saturating_sub(some as u64);
            if self.waiting.len() == DESCRIPTORS {
                self.flush(sink)?;
            }
        }
        Ok(())
    }

    /// Writes what is not written yet.
    pub(super) fn flush(&mut self, sink: &dyn Sink) -> Result<(), DumpError> {
        let bytes = self.waiting.as_slice().as_bytes();
        // Pages are counted before they are read. A guest that goes on running
        // in the meantime would have another number of them.
        if bytes.len() as u64 > self.end.saturating_sub(self.offset) {
            return Err(DumpError::Changed);
        }
        sink.write_at(self.offset, bytes)?;
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        self.waiting.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A file in memory that no two pieces may overlap in.
    #[derive(Default)]
    struct Memory(Mutex<Vec<Option<u8>>>);

    impl Sink for Memory {
        fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DumpError> {
            let mut file = self.0.lock().unwrap();
            let start = usize::try_from(offset).unwrap();
            let len = file.len().max(start + bytes.len());
            file.resize(len, None);
            for (at, byte) in (start..).zip(bytes) {
                assert_eq!(file[at].replace(*byte), None, "written twice: {at:#x}");
            }
            Ok(())
        }

        fn keeps_order(&self) -> bool {
            true
        }
    }

    fn bits(ranges: &[(u64, u64)]) -> Vec<u64> {
        let (memory, mut bitmap) = (Memory::default(), Bitmap::new(100));
        for (start, end) in ranges {
            bitmap.set(*start..*end, &memory).unwrap();
        }
        bitmap.flush(&memory).unwrap();
        let file = memory.0.into_inner().unwrap();
        assert!(file.iter().take(100).all(Option::is_none));
        let is_set = |bit: &u64| {
            let byte = file.get(100 + usize::try_from(bit / 8).unwrap()).copied().flatten();
            byte.is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
        };
        (0..(file.len() as u64) * 8).filter(is_set).collect()
    }

    #[test]
    fn each_bit_that_was_set_is_set_and_no_other() {
        const PIECE: u64 = BITMAP_BYTES as u64 * 8;
        for ranges in [
            &[(0, 1)][..],
            &[(7, 8), (8, 9)][..],
            &[(3, 5)][..],
            &[(1, 8), (9, 16), (17, 1000)][..],
            &[(8, 16)][..],
            &[(5, 5), (5, 6)][..],
            &[(PIECE - 1, PIECE)][..],
            &[(PIECE - 3, PIECE + 3)][..],
            &[(0, PIECE)][..],
            &[(2, 4), (PIECE * 3 + 1, PIECE * 3 + 70)][..],
            &[(PIECE, PIECE * 2), (PIECE * 2, PIECE * 2 + 1)][..],
        ] {
            let want: Vec<u64> = ranges.iter().flat_map(|(start, end)| *start..*end).collect();
            assert!(bits(ranges) == want, "{ranges:?}");
        }
    }

    #[test]
    fn descriptors_follow_one_another() {
        let (memory, mut table) = (Memory::default(), Descriptors::new(48..u64::MAX));
        let many = DESCRIPTORS as u64 * 2 + 5;
        table.push(0x1000, 4096, 0, 1, &memory).unwrap();
        table.push(0x2000, 17, 0x20, many, &memory).unwrap();
        table.push(0x3000, 1, 1, 1, &memory).unwrap();
        table.flush(&memory).unwrap();
        assert_eq!(table.count(), many + 2);
        let file: Vec<u8> = memory.0.into_inner().unwrap().into_iter().flatten().collect();
        assert_eq!(file.len() as u64, (many + 2) * 24);
        let size_of = |index: u64| file[usize::try_from(index * 24 + 8).unwrap()];
        assert_eq!((size_of(0), size_of(1), size_of(many), size_of(many + 1)), (0, 17, 17, 1));
        assert_eq!(
            file[..24],
            [[0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x10], [0; 10]].concat()[..]
                .iter()
                .copied()
                .chain([0; 4])
                .collect::<Vec<u8>>()
        );
    }

    #[test]
    fn more_descriptors_than_there_is_room_for_are_refused() {
        let (memory, mut table) = (Memory::default(), Descriptors::new(0..48));
        table.push(0x1000, 1, 0, 2, &memory).unwrap();
        table.flush(&memory).unwrap();
        table.push(0x1000, 1, 0, 1, &memory).unwrap();
        assert!(matches!(table.flush(&memory), Err(DumpError::Changed)));
    }
}
