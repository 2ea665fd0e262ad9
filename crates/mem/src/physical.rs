//! The guest's physical memory as sorted, disjoint segments.

use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use thiserror::Error;

use crate::cached::Pages;
use crate::{Gpa, PAGE_SIZE, ReadAt};

/// A run of guest physical memory that one source holds back to back.
#[derive(Clone)]
pub struct Segment {
    start: u64,
    len: u64,
    source: Arc<dyn ReadAt>,
    offset: u64,
}

impl Segment {
    /// First address of the segment.
    pub fn start(&self) -> Gpa {
        Gpa(self.start)
    }

    /// Length in bytes, never 0.
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// First address after the segment.
    pub fn end(&self) -> Gpa {
        Gpa(self.start.saturating_add(self.len))
    }

    /// Where the segment's bytes are read from, and at which offset they start.
    pub fn source(&self) -> (&dyn ReadAt, u64) {
        (self.source.as_ref(), self.offset)
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Segment({:#x}..{:#x} @ {:#x})",
            self.start,
            self.start.saturating_add(self.len),
            self.offset
        )
    }
}

/// Why a segment cannot be added.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapError {
    /// The segment runs past 2^64 in guest memory or in its source.
    #[error("memory segment at {start} of {len:#x} bytes does not fit a 64-bit address space")]
    TooLarge {
        /// Start of the refused segment.
        start: Gpa,
        /// Its length in bytes.
        len: u64,
    },
    /// The segment covers memory that an earlier one already holds.
    #[error("memory segment at {start} of {len:#x} bytes overlaps the one at {other}")]
    Overlap {
        /// Start of the refused segment.
        start: Gpa,
        /// Its length in bytes.
        len: u64,
        /// Start of the segment that was there before.
        other: Gpa,
    },
}

/// Why guest physical memory could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The checkpoint does not hold this address: a hole, or a missing part.
    #[error("guest physical address {gpa} is not in the checkpoint")]
    NotPresent {
        /// First missing address of the read.
        gpa: Gpa,
    },
    /// The file that holds the address could not be read.
    #[error("reading guest physical address {gpa}")]
    Io {
        /// Start of the piece that failed.
        gpa: Gpa,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// One part of a physical range: in a segment, or in none.
#[derive(Debug, Clone)]
pub enum Piece<'a> {
    /// Held by `segment`, starting `skip` bytes into it.
    Present {
        /// Start of the piece.
        gpa: Gpa,
        /// Length in bytes.
        len: u64,
        /// Who holds it.
        segment: &'a Segment,
        /// Distance from the start of the segment.
        skip: u64,
    },
    /// Held by nobody.
    Absent {
        /// Start of the piece.
        gpa: Gpa,
        /// Length in bytes.
        len: u64,
    },
}

/// The guest's physical memory: sorted disjoint segments, each read from
/// somewhere. What no segment covers is absent, which is not the same as zero.
///
/// A clone shares the segments, so it costs next to nothing.
///
/// Input formats only call [`map`](Self::map); [`pieces`](Self::pieces) is the
/// one place that splits a range at segment borders.
#[derive(Clone, Debug, Default)]
pub struct PhysicalMemory {
    segments: Arc<Vec<Segment>>,
    /// The first read that failed although the bytes are there, of all clones.
    failure: Arc<OnceLock<ReadFailure>>,
    /// Pages that were read lately, if they are kept.
    pages: Option<Arc<Pages>>,
}

/// A read that failed: the disk is broken, the share is gone, the file was cut.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the guest's memory at {gpa} could not be read: {why}")]
pub struct ReadFailure {
    /// Start of the piece.
    pub gpa: Gpa,
    /// The error of the operating system.
    pub why: String,
}

impl PhysicalMemory {
    /// Memory without any segment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `len` bytes at `start`, to be read from `source` at `offset` on.
    ///
    /// An empty segment is accepted and forgotten. A segment that overlaps an
    /// earlier one is refused, and nothing changes.
    pub fn map(
        &mut self,
        start: Gpa,
        len: u64,
        source: Arc<dyn ReadAt>,
        offset: u64,
    ) -> Result<(), MapError> {
        if len == 0 {
            return Ok(());
        }
        let end = start.0.checked_add(len).ok_or(MapError::TooLarge { start, len })?;
        offset.checked_add(len).ok_or(MapError::TooLarge { start, len })?;
        let at = self.segments.partition_point(|s| s.end() <= start);
        if let Some(other) = self.segments.get(at).filter(|s| s.start < end) {
            return Err(MapError::Overlap { start, len, other: other.start() });
        }
        let segment = Segment { start: start.0, len, source, offset };
        Arc::make_mut(&mut self.segments).insert(at, segment);
        // What was absent of a page may be there now.
        self.pages = self.pages.as_ref().map(|_| Pages::new());
        Ok(())
    }

    /// This memory with a cache of the pages that were read lately, for a debugger's
    /// many small reads: at most 4 MiB, shared by all clones.
    #[must_use]
    pub fn cached(&self) -> Self {
        Self { pages: Some(Pages::new()), ..self.clone() }
    }

    /// All segments, sorted by address.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Number of bytes held.
    pub fn len_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.len).fold(0, u64::saturating_add)
    }

    /// First address after the last segment, 0 if there is none.
    pub fn end(&self) -> Gpa {
        self.segments.last().map_or(Gpa(0), Segment::end)
    }

    /// The held ranges with adjacent segments joined, sorted.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for segment in self.segments.iter() {
            match ranges.last_mut() {
                Some(last) if last.end == segment.start => last.end = segment.end().0,
                _ => ranges.push(segment.start..segment.end().0),
            }
        }
        ranges
    }

    /// Whether every byte of the range is held.
    pub fn contains(&self, gpa: Gpa, len: u64) -> bool {
        self.pieces(gpa, len).all(|piece| matches!(piece, Piece::Present { .. }))
    }

    /// Splits a range at segment borders; the pieces cover it without gaps. A
    /// range that would wrap around ends at the last address.
    pub fn pieces(&self, gpa: Gpa, len: u64) -> impl Iterator<Item = Piece<'_>> {
        let end = gpa.0.saturating_add(len);
        let mut at = gpa.0;
        let mut index = self.segments.partition_point(|s| s.end().0 <= at);
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let gpa = Gpa(at);
            let segment = self.segments.get(index).filter(|s| s.start < end);
            let Some(segment) = segment.filter(|s| s.start <= at) else {
                at = segment.map_or(end, |s| s.start);
                return Some(Piece::Absent { gpa, len: at.saturating_sub(gpa.0) });
            };
            at = segment.end().0.min(end);
            index = index.saturating_add(1);
            Some(Piece::Present {
                gpa,
                len: at.saturating_sub(gpa.0),
                segment,
                skip: gpa.0.saturating_sub(segment.start),
            })
        })
    }

    /// Fills `buf` with the memory at `gpa`. Fails at the first absent byte;
    /// what `buf` holds then is not defined.
    pub fn read(&self, gpa: Gpa, buf: &mut [u8]) -> Result<(), MemoryError> {
        if self.read_kept(gpa, buf) { Ok(()) } else { self.read_pieces(gpa, buf) }
    }

    /// Reads out of the pages that are kept what lies in one of them. A page that the
    /// checkpoint does not hold whole is not kept.
    fn read_kept(&self, gpa: Gpa, buf: &mut [u8]) -> bool {
        let Some(pages) = &self.pages else { return false };
        let is_in_page = buf.len() as u64 <= PAGE_SIZE.saturating_sub(gpa.page_offset());
        is_in_page && pages.read(gpa, buf, |page, bytes| self.read_pieces(page, bytes).is_ok())
    }

    fn read_pieces(&self, gpa: Gpa, buf: &mut [u8]) -> Result<(), MemoryError> {
        let mut rest = buf;
        for piece in self.pieces(gpa, rest.len() as u64) {
            let (Piece::Present { len, .. } | Piece::Absent { len, .. }) = piece;
            // A wrapped range is shorter than the buffer, never longer.
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(to_usize(len));
            self.read_piece(&piece, head)?;
            rest = tail;
        }
        if rest.is_empty() { Ok(()) } else { Err(MemoryError::NotPresent { gpa: Gpa(u64::MAX) }) }
    }

    /// Fills `buf` with the memory at `gpa`, absent bytes as zero, and returns
    /// how many were absent.
    pub fn read_or_zero(&self, gpa: Gpa, buf: &mut [u8]) -> Result<u64, MemoryError> {
        buf.fill(0);
        let mut absent = 0_u64;
        let mut rest = buf;
        for piece in self.pieces(gpa, rest.len() as u64) {
            let (Piece::Present { len, .. } | Piece::Absent { len, .. }) = piece;
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(to_usize(len));
            match self.read_piece(&piece, head) {
                Err(MemoryError::NotPresent { .. }) => absent = absent.saturating_add(len),
                other => other?,
            }
            rest = tail;
        }
        Ok(absent.saturating_add(rest.len() as u64))
    }

    /// The first read that failed although the checkpoint has the bytes. Whoever looks
    /// for something and does not find it asks here whether that says anything.
    pub fn failure(&self) -> Option<&ReadFailure> {
        self.failure.get()
    }

    fn read_piece(&self, piece: &Piece<'_>, buf: &mut [u8]) -> Result<(), MemoryError> {
        match *piece {
            Piece::Absent { gpa, .. } => Err(MemoryError::NotPresent { gpa }),
            Piece::Present { gpa, segment, skip, .. } => segment
                .source
                .read_exact_at(segment.offset.saturating_add(skip), buf)
                .map_err(|source| self.failed(gpa, source)),
        }
    }

    fn failed(&self, gpa: Gpa, source: io::Error) -> MemoryError {
        self.failure.get_or_init(|| ReadFailure { gpa, why: source.to_string() });
        MemoryError::Io { gpa, source }
    }

    /// The little-endian `u32` at `gpa`.
    pub fn read_u32(&self, gpa: Gpa) -> Result<u32, MemoryError> {
        let mut bytes = [0; 4];
        self.read(gpa, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// The little-endian `u64` at `gpa`.
    pub fn read_u64(&self, gpa: Gpa) -> Result<u64, MemoryError> {
        let mut bytes = [0; 8];
        self.read(gpa, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// A piece of a buffer is never longer than the buffer.
fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::cast_possible_truncation, reason = "small test numbers")]

    use super::*;
    use crate::Zeroes;

    fn memory(parts: &[(u64, &[u8])]) -> PhysicalMemory {
        let mut memory = PhysicalMemory::new();
        for (start, bytes) in parts {
            memory.map(Gpa(*start), bytes.len() as u64, Arc::new(bytes.to_vec()), 0).unwrap();
        }
        memory
    }

    #[test]
    fn a_read_crosses_adjacent_segments() {
        let memory = memory(&[(4, b"efgh"), (0, b"abcd")]);
        let mut buf = [0; 6];
        memory.read(Gpa(1), &mut buf).unwrap();
        assert_eq!(&buf, b"bcdefg");
        assert_eq!(memory.ranges(), vec![0..8]);
    }

    #[test]
    fn a_read_stops_at_the_first_absent_byte() {
        let memory = memory(&[(0, b"abcd"), (8, b"ijkl")]);
        let error = memory.read(Gpa(2), &mut [0; 8]).unwrap_err();
        assert!(matches!(error, MemoryError::NotPresent { gpa: Gpa(4) }));
        let mut buf = [1; 8];
        assert_eq!(memory.read_or_zero(Gpa(2), &mut buf).unwrap(), 4);
        assert_eq!(&buf, b"cd\0\0\0\0ij");
    }

    #[test]
    fn overlap_and_wrap_are_refused() {
        let mut memory = memory(&[(4, b"efgh")]);
        for (start, len) in [(0, 5), (4, 4), (5, 1), (7, 9), (0, 100)] {
            let source = Arc::new(Zeroes);
            let refused = memory.map(Gpa(start), len, source, 0);
            assert!(
                matches!(refused, Err(MapError::Overlap { other: Gpa(4), .. })),
                "{start}+{len}"
            );
        }
        let wrap = memory.map(Gpa(u64::MAX), 2, Arc::new(Zeroes), 0);
        assert!(matches!(wrap, Err(MapError::TooLarge { .. })));
        assert_eq!(memory.segments().len(), 1);
    }

    #[test]
    fn a_read_at_the_top_of_the_address_space_ends() {
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(u64::MAX - 7), 7, Arc::new(Zeroes), 0).unwrap();
        assert!(memory.read(Gpa(u64::MAX - 7), &mut [0; 7]).is_ok());
        assert!(memory.read(Gpa(u64::MAX - 3), &mut [0; 16]).is_err());
        assert_eq!(memory.read_or_zero(Gpa(u64::MAX - 3), &mut [0; 16]).unwrap(), 13);
    }

    #[test]
    fn pages_that_are_kept_are_read_once_and_say_the_same() {
        struct Counted(std::sync::atomic::AtomicU64);
        impl ReadAt for Counted {
            fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                (offset..).zip(buf).for_each(|(at, byte)| *byte = at as u8);
                Ok(())
            }
        }
        let source = Arc::new(Counted(0.into()));
        let mut plain = PhysicalMemory::new();
        // The second page ends in its middle.
        plain.map(Gpa(0x1000), 0x1800, source.clone(), 7).unwrap();
        let cached = plain.cached();
        let (mut want, mut got) = ([0; 64], [0; 64]);
        for at in [0x1000, 0x1fc0, 0x1fc1, 0x1ffc, 0x2000, 0x27c0, 0x27c1, 0xfff, 0x3000] {
            assert_eq!(
                plain.read(Gpa(at), &mut want).is_ok(),
                cached.clone().read(Gpa(at), &mut got).is_ok(),
                "{at:#x}"
            );
            assert_eq!(want, got, "{at:#x}");
        }
        let before = source.0.load(std::sync::atomic::Ordering::Relaxed);
        for at in 0x1000..0x1f00 {
            cached.read(Gpa(at), &mut got).unwrap();
        }
        assert_eq!(source.0.load(std::sync::atomic::Ordering::Relaxed), before);
    }

    struct Broken;

    impl ReadAt for Broken {
        fn read_exact_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Err(io::Error::other("bad sector"))
        }
    }

    #[test]
    fn a_read_that_fails_is_remembered_and_one_of_absent_memory_is_not() {
        let mut memory = memory(&[(0, b"abcd")]);
        memory.map(Gpa(8), 8, Arc::new(Broken), 0).unwrap();
        let clone = memory.clone();
        assert!(memory.read(Gpa(2), &mut [0; 4]).is_err());
        assert_eq!(memory.failure(), None);
        assert!(clone.read_or_zero(Gpa(2), &mut [0; 10]).is_err());
        assert!(clone.read(Gpa(12), &mut [0; 1]).is_err());
        let failure = memory.failure().unwrap().to_string();
        assert_eq!(failure, "the guest's memory at 0x8 could not be read: bad sector");
    }

    /// Against a flat copy: random segments, random reads.
    #[test]
    fn reads_agree_with_a_flat_copy() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let mut flat: Vec<Option<u8>> = vec![None; 256];
            let mut memory = PhysicalMemory::new();
            for _ in 0..8 {
                let (start, len) = (random(200), random(56));
                let skip = random(9);
                let bytes: Vec<u8> = (0..len + skip).map(|_| random(256) as u8).collect();
                let free = flat[start as usize..(start + len) as usize].iter().all(Option::is_none);
                let mapped = memory.map(Gpa(start), len, Arc::new(bytes.clone()), skip).is_ok();
                assert_eq!(mapped, free, "{start}+{len}");
                if mapped {
                    for i in 0..len {
                        flat[(start + i) as usize] = Some(bytes[(skip + i) as usize]);
                    }
                }
            }
            for _ in 0..50 {
                let (start, len) = (random(200), random(56));
                let want = &flat[start as usize..(start + len) as usize];
                let mut buf = vec![0; len as usize];
                let absent = memory.read_or_zero(Gpa(start), &mut buf).unwrap();
                assert_eq!(absent, want.iter().filter(|b| b.is_none()).count() as u64);
                let zeroed: Vec<u8> = want.iter().map(|b| b.unwrap_or(0)).collect();
                assert_eq!(buf, zeroed);
                assert_eq!(memory.read(Gpa(start), &mut buf).is_ok(), absent == 0);
            }
        }
    }
}
