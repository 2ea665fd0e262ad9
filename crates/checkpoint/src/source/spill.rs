//! Unnamed temporary files for what cannot be read in place.
//!
//! A page of zeroes becomes a hole, so the file takes no more disk than the
//! pages that a guest has used, and it vanishes with its last handle even if
//! the program is killed.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Room, Source};
use crate::{OpenError, OpenOptions};

/// Unit in which zeroes become holes: the block size of common file systems.
const BLOCK: usize = 4096;

/// A sparse temporary file that is being written.
pub(super) struct Spill {
    file: File,
    len: u64,
    limit: u64,
    room: Room,
    path: PathBuf,
    dir: PathBuf,
}

impl Spill {
    /// An empty one, for what `source` unpacks to.
    pub(super) fn create(
        options: &OpenOptions,
        limit: u64,
        source: &Source,
    ) -> Result<Self, OpenError> {
        let limit = limit.min(options.max_unpacked_bytes);
        let path = source.path.clone();
        let Some(dir) = options.spill_dir.clone() else {
            return Err(OpenError::NoSpillDirectory { path });
        };
        match tempfile::tempfile_in(&dir) {
            Ok(file) => Ok(Self { file, len: 0, limit, room: Room::default(), path, dir }),
            Err(source) => Err(OpenError::Spill { path, dir, source }),
        }
    }

    /// Bytes written so far, holes included.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Appends `bytes`. Holes come out best if all but the last call pass a
    /// multiple of [`BLOCK`].
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        let end = self.len.checked_add(bytes.len() as u64).filter(|end| *end <= self.limit);
        let Some(end) = end else {
            return Err(OpenError::TooLarge { path: self.path.clone(), limit: self.limit });
        };
        write_sparse(&mut self.file, &mut self.room, self.len, bytes)
            .map_err(|source| self.error(source))?;
        self.len = end;
        Ok(())
    }

    /// The finished file as a byte object in the place of `source`.
    pub(super) fn finish(self, source: &Source) -> Result<Source, OpenError> {
        self.file.set_len(self.len).map_err(|source| self.error(source))?;
        Ok(Source { bytes: Arc::new(self.file), len: self.len, ..source.clone() })
    }

    fn error(&self, source: io::Error) -> OpenError {
        OpenError::Spill { path: self.path.clone(), dir: self.dir.clone(), source }
    }
}

/// Writes `bytes` at `offset`, blocks of zeroes as holes.
pub(crate) fn write_sparse(
    file: &mut File,
    room: &mut Room,
    offset: u64,
    bytes: &[u8],
) -> io::Result<()> {
    let mut at = offset;
    for run in bytes.chunks(BLOCK).collect::<Vec<_>>().chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let len = run.iter().map(|block| block.len()).fold(0, usize::saturating_add);
        if !run.first().is_some_and(|block| is_zero(block)) {
            room.take(file, len as u64)?;
            file.seek(SeekFrom::Start(at))?;
            let skip = usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
            file.write_all(bytes.get(skip..skip.saturating_add(len)).unwrap_or_default())?;
        }
        at = at.saturating_add(len as u64);
    }
    Ok(())
}

/// Whether all of `bytes` are zero; written so that it compiles to wide loads.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_le_bytes(*word) == 0) && rest.iter().all(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> Source {
        let (path, bytes) = (name.into(), Arc::new(Vec::new()));
        Source { path, bytes, len: 0, found: String::new(), host_files: Vec::new() }
    }

    fn options(dir: &tempfile::TempDir) -> OpenOptions {
        OpenOptions { spill_dir: Some(dir.path().to_owned()), ..OpenOptions::default() }
    }

    #[test]
    fn zero_pages_become_holes_and_read_back_as_zero() {
        let dir = tempfile::tempdir().unwrap();
        let source = source("a.gz");
        let mut spill = Spill::create(&options(&dir), u64::MAX, &source).unwrap();
        let mut bytes = vec![0; 1 << 20];
        bytes[5000] = 7;
        spill.append(&bytes).unwrap();
        spill.append(&vec![0; 1 << 20]).unwrap();
        spill.append(&[0; 10]).unwrap();
        let blocks = blocks_of_512(&spill.file);
        let done = spill.finish(&source).unwrap();
        assert_eq!(done.len, (2 << 20) + 10);
        let mut back = vec![1; 1 << 20];
        done.bytes.read_exact_at(0, &mut back).unwrap();
        assert_eq!(back, bytes);
        assert!(blocks <= 64, "{blocks} blocks of 512 bytes");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
    }

    #[cfg(unix)]
    fn blocks_of_512(file: &File) -> u64 {
        std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap())
    }

    #[cfg(not(unix))]
    fn blocks_of_512(_: &File) -> u64 {
        0
    }

    #[test]
    fn without_a_directory_the_message_says_what_to_do() {
        let Err(error) = Spill::create(&OpenOptions::default(), u64::MAX, &source("a.vmem.gz"))
        else {
            panic!("created");
        };
        assert!(matches!(error, OpenError::NoSpillDirectory { .. }));
        assert!(error.to_string().starts_with("a.vmem.gz: compressed"), "{error}");
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions { max_unpacked_bytes: 8192, ..options(&dir) };
        let mut spill = Spill::create(&options, u64::MAX, &source("bomb.gz")).unwrap();
        spill.append(&[0; 8192]).unwrap();
        let error = spill.append(&[0]).unwrap_err();
        assert!(matches!(error, OpenError::TooLarge { limit: 8192, .. }), "{error}");
    }
}
