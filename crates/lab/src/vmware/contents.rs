//! The contents of a file as a list of parts.
//!
//! A guest's memory is gigabytes, mostly holes; describing a file by parts of
//! bytes and parts of other files lets the writer put headers in front of it,
//! cut it into pieces and copy it with its holes, without ever holding it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

const PAGE: usize = 4096;
const CHUNK: usize = 1 << 20;

/// The contents of a file. What no part covers is a hole.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    len: u64,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    at: u64,
    len: u64,
    skip: u64,
    data: Data,
    /// Put over earlier parts, so its zeroes must be written too.
    patch: bool,
}

#[derive(Clone, Debug)]
enum Data {
    Bytes(Arc<Vec<u8>>),
    File(Arc<Path>),
}

impl From<Vec<u8>> for Contents {
    fn from(bytes: Vec<u8>) -> Self {
        let len = bytes.len() as u64;
        let data = Data::Bytes(Arc::new(bytes));
        Self { len, parts: vec![Part { at: 0, len, skip: 0, data, patch: false }] }
    }
}

impl Contents {
    /// All of an existing file, read when it is copied.
    pub fn of_file(path: &Path) -> Result<Self> {
        let len = path.metadata().with_context(|| format!("looking at {}", path.display()))?.len();
        let data = Data::File(path.into());
        Ok(Self { len, parts: vec![Part { at: 0, len, skip: 0, data, patch: false }] })
    }

    /// Nothing but a hole.
    pub fn hole(len: u64) -> Self {
        Self { len, parts: Vec::new() }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is not a single byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        if !self.extend_last(bytes) {
            self.push(&Self::from(bytes.to_vec()));
        }
    }

    fn extend_last(&mut self, bytes: &[u8]) -> bool {
        let Some(last) = self.parts.last_mut() else { return false };
        let Data::Bytes(held) = &mut last.data else { return false };
        let Some(held) = Arc::get_mut(held) else { return false };
        let whole = last.skip == 0 && last.len == held.len() as u64;
        if last.patch || !whole || last.at + last.len != self.len {
            return false;
        }
        held.extend_from_slice(bytes);
        last.len += bytes.len() as u64;
        self.len += bytes.len() as u64;
        true
    }

    /// Appends all of `other`.
    pub fn push(&mut self, other: &Self) {
        let base = self.len;
        self.parts
            .extend(other.parts.iter().cloned().map(|part| Part { at: part.at + base, ..part }));
        self.len += other.len;
    }

    /// Appends a hole up to `len`, if the contents are shorter.
    pub fn grow_to(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    /// Replaces the bytes at `at`, growing the contents if needed.
    pub fn patch(&mut self, at: u64, bytes: &[u8]) {
        let len = bytes.len() as u64;
        let data = Data::Bytes(Arc::new(bytes.to_vec()));
        self.parts.push(Part { at, len, skip: 0, data, patch: true });
        self.grow_to(at + len);
    }

    /// The first `len` bytes.
    pub fn truncated(&self, len: u64) -> Self {
        self.slice(0, len.min(self.len))
    }

    /// The `len` bytes at `at`; a hole where there are none.
    pub fn slice(&self, at: u64, len: u64) -> Self {
        let parts = self.parts.iter().filter_map(|part| {
            let start = part.at.max(at);
            let end = (part.at + part.len).min(at + len);
            (start < end).then(|| Part {
                at: start - at,
                len: end - start,
                skip: part.skip + (start - part.at),
                ..part.clone()
            })
        });
        Self { len, parts: parts.collect() }
    }

    /// Whether there may be anything but zeroes in the `len` bytes at `at`.
    pub fn has_data(&self, at: u64, len: u64) -> Result<bool> {
        for part in &self.slice(at, len).parts {
            let Data::File(path) = &part.data else { return Ok(true) };
            if next_data(&File::open(path)?, part.skip, part.skip + part.len)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Fills `buf` with the bytes at `at`; holes are zeroes.
    pub fn read(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        buf.fill(0);
        for part in &self.slice(at, buf.len() as u64).parts {
            let start = usize::try_from(part.at)?;
            let end = start + usize::try_from(part.len)?;
            let out = buf.get_mut(start..end).context("part outside its slice")?;
            part.read(0, out)?;
        }
        Ok(())
    }

    /// All bytes; for contents known to be small.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        ensure!(self.len <= 1 << 30, "{:#x} bytes are too many to hold", self.len);
        let mut bytes = vec![0; usize::try_from(self.len)?];
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes a file with these contents, leaving holes holes.
    pub fn write_to(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        file.set_len(self.len)?;
        for part in &self.parts {
            part.copy_to(&file).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

impl Part {
    fn read(&self, skip: u64, buf: &mut [u8]) -> Result<()> {
        let at = self.skip + skip;
        match &self.data {
            Data::File(path) => File::open(path)?.read_exact_at(buf, at)?,
            Data::Bytes(bytes) => {
                let start = usize::try_from(at)?;
                let end = start + buf.len();
                buf.copy_from_slice(bytes.get(start..end).context("part longer than its bytes")?);
            }
        }
        Ok(())
    }

    fn copy_to(&self, out: &File) -> Result<()> {
        match &self.data {
            Data::File(path) => copy_file(&File::open(path)?, self, out),
            Data::Bytes(bytes) => {
                let start = usize::try_from(self.skip)?;
                let end = start + usize::try_from(self.len)?;
                let bytes = bytes.get(start..end).context("part longer than its bytes")?;
                if self.patch {
                    out.write_all_at(bytes, self.at)?;
                    return Ok(());
                }
                write_without_zeroes(bytes, self.at, out)
            }
        }
    }
}

/// Copies the data extents of one file range; its holes are not even read.
fn copy_file(from: &File, part: &Part, out: &File) -> Result<()> {
    let end = part.skip + part.len;
    let mut at = part.skip;
    let mut buf = vec![0; CHUNK];
    while let Some((start, stop)) = next_data(from, at, end)? {
        at = start;
        while at < stop {
            let len = usize::try_from(stop - at)?.min(CHUNK);
            let chunk = buf.get_mut(..len).context("chunk longer than its buffer")?;
            from.read_exact_at(chunk, at)?;
            write_without_zeroes(chunk, at - part.skip + part.at, out)?;
            at += len as u64;
        }
    }
    Ok(())
}

/// The next data extent of `file` in `at..end`.
fn next_data(file: &File, at: u64, end: u64) -> Result<Option<(u64, u64)>> {
    use rustix::fs::{SeekFrom, seek};
    if at >= end {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) if start < end => start,
        Ok(_) | Err(rustix::io::Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stop = seek(file, SeekFrom::Hole(start))?;
    Ok(Some((start, stop.min(end))))
}

/// Writes runs of pages that are not all zero.
fn write_without_zeroes(bytes: &[u8], at: u64, out: &File) -> Result<()> {
    let mut run: Option<usize> = None;
    for (index, page) in bytes.chunks(PAGE).enumerate() {
        let zero = page.iter().all(|byte| *byte == 0);
        match (run, zero) {
            (None, false) => run = Some(index * PAGE),
            (Some(start), true) => {
                write_run(bytes, start..index * PAGE, at, out)?;
                run = None;
            }
            _ => {}
        }
    }
    if let Some(start) = run {
        write_run(bytes, start..bytes.len(), at, out)?;
    }
    Ok(())
}

fn write_run(bytes: &[u8], run: std::ops::Range<usize>, at: u64, out: &File) -> Result<()> {
    let offset = at + run.start as u64;
    out.write_all_at(bytes.get(run).context("run outside its bytes")?, offset)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_pushes_and_patches_read_back_from_memory_and_from_disk() {
        let dir = tempfile::tempdir().unwrap();
        let base: Vec<u8> = (0..3 * 4096_u32).map(|i| (i % 251) as u8).collect();
        let path = dir.path().join("base");
        std::fs::write(&path, &base).unwrap();

        let mut contents = Contents::from(vec![1, 2, 3]);
        contents.push_bytes(&[4]);
        contents.push(&Contents::of_file(&path).unwrap().slice(4096, 8192));
        contents.grow_to(20000);
        contents.patch(5, &[0, 0, 9]);

        let mut want = vec![1, 2, 3, 4];
        want.extend_from_slice(&base[4096..]);
        want.resize(20000, 0);
        want[5..8].copy_from_slice(&[0, 0, 9]);
        assert_eq!(contents.bytes().unwrap(), want);
        let copy = dir.path().join("copy");
        contents.write_to(&copy).unwrap();
        assert_eq!(std::fs::read(&copy).unwrap(), want);
        assert_eq!(contents.slice(3, 9000).bytes().unwrap(), want[3..9003]);
    }

    #[test]
    fn holes_stay_holes() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let (sparse, copy) = (dir.path().join("sparse"), dir.path().join("copy"));
        let mut contents = Contents::hole(1 << 30);
        contents.patch(0x2000_0000, &[7; 4096]);
        contents.write_to(&sparse).unwrap();
        Contents::of_file(&sparse).unwrap().write_to(&copy).unwrap();
        let meta = copy.metadata().unwrap();
        assert_eq!(meta.len(), 1 << 30);
        assert!(meta.blocks() * 512 < 1 << 20, "{} bytes on disk", meta.blocks() * 512);
        let copied = Contents::of_file(&copy).unwrap();
        assert!(copied.has_data(0x2000_0800, 1).unwrap());
        assert!(!copied.has_data(0, 0x1000_0000).unwrap());
        let mut page = [0; 4096];
        File::open(&copy).unwrap().read_exact_at(&mut page, 0x2000_0000).unwrap();
        assert_eq!(page, [7; 4096]);
    }
}
