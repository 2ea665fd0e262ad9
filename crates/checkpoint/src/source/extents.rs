//! Objects put together from ranges of others: a member of an archive, a file
//! cut into pieces, a sparse file.

use std::fs::File;
use std::io;
use std::sync::Arc;

use vmss2core_mem::ReadAt;

/// A run of bytes that lies in another object.
struct Extent {
    start: u64,
    len: u64,
    bytes: Arc<dyn ReadAt>,
    offset: u64,
}

/// A byte object made of extents of others in ascending order; what lies
/// between them is zero.
#[derive(Default)]
pub(crate) struct Extents {
    extents: Vec<Extent>,
    len: u64,
}

impl Extents {
    /// `len` bytes of `bytes` from `offset` on.
    pub(crate) fn window(bytes: Arc<dyn ReadAt>, offset: u64, len: u64) -> Self {
        Self { extents: vec![Extent { start: 0, len, bytes, offset }], len }
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Adds `len` bytes of `bytes`, from `offset` on, at the end. `None` if that
    /// passes 2^64.
    pub(crate) fn push(&mut self, bytes: Arc<dyn ReadAt>, offset: u64, len: u64) -> Option<()> {
        let end = self.len.checked_add(len)?;
        offset.checked_add(len)?;
        if len > 0 {
            self.extents.push(Extent { start: self.len, len, bytes, offset });
        }
        self.len = end;
        Some(())
    }

    /// Lengthens the object with zeroes. `None` if it is longer already.
    pub(crate) fn zero_until(&mut self, len: u64) -> Option<()> {
        (len >= self.len).then(|| self.len = len)
    }
}

impl ReadAt for Extents {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.fill(0);
        let first = self.extents.partition_point(|e| e.start.saturating_add(e.len) <= offset);
        for extent in self.extents.iter().skip(first).take_while(|e| e.start < end) {
            let from = extent.start.max(offset);
            let to = extent.start.saturating_add(extent.len).min(end);
            let within = |at: u64| usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
            let part = buf.get_mut(within(from)..within(to)).ok_or(io::ErrorKind::InvalidInput)?;
            extent.bytes.read_exact_at(
                extent.offset.saturating_add(from.saturating_sub(extent.start)),
                part,
            )?;
        }
        Ok(())
    }

    /// Only an object that is one extent lies in one file from end to end, and
    /// whoever asks here wants to clone what follows as well.
    fn file_at(&self, offset: u64) -> Option<(&File, u64)> {
        let [extent] = self.extents.as_slice() else { return None };
        if extent.len != self.len || offset >= self.len {
            return None;
        }
        extent.bytes.file_at(extent.offset.saturating_add(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abc() -> Extents {
        let mut joined = Extents::default();
        joined.push(Arc::new(b"xabcx".to_vec()), 1, 3).unwrap();
        joined.zero_until(5).unwrap();
        joined.push(Arc::new(b"de".to_vec()), 0, 2).unwrap();
        joined
    }

    #[test]
    fn every_range_reads_as_the_joined_bytes() {
        let joined = abc();
        let flat = b"abc\0\0de";
        for start in 0..=flat.len() {
            for end in start..=flat.len() {
                let mut buf = vec![0xff; end - start];
                joined.read_exact_at(start as u64, &mut buf).unwrap();
                assert_eq!(buf, flat[start..end], "{start}..{end}");
            }
        }
    }

    #[test]
    fn a_read_past_the_end_fails_whatever_lies_behind_in_the_file() {
        let window = Extents::window(Arc::new(b"abcdef".to_vec()), 1, 2);
        let error = window.read_exact_at(1, &mut [0; 2]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(abc().read_exact_at(u64::MAX, &mut [0; 2]).is_err());
    }

    #[test]
    fn only_an_object_in_one_run_names_its_file() {
        let file: Arc<dyn ReadAt> = Arc::new(tempfile::tempfile().unwrap());
        let window = Extents::window(file.clone(), 16, 8);
        assert_eq!(window.file_at(3).map(|(_, offset)| offset), Some(19));
        assert!(window.file_at(8).is_none());
        let mut two = Extents::window(file.clone(), 16, 8);
        two.push(file, 0, 8).unwrap();
        assert!(two.file_at(3).is_none());
    }

    #[test]
    fn lengths_past_the_end_of_numbers_are_refused() {
        let mut joined = abc();
        assert!(joined.push(Arc::new(Vec::new()), 0, u64::MAX).is_none());
        assert!(joined.push(Arc::new(Vec::new()), u64::MAX, 2).is_none());
        assert!(joined.zero_until(1).is_none());
        assert_eq!(joined.len(), 7);
    }
}
