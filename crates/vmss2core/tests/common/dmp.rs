//! A second, naive reader of Windows crash dumps: offsets as numbers, each read
//! one of the file.
//!
//! Source: `windows-dump.md` 6.1 to 6.4, whose offsets are those of the public
//! structures `DUMP_HEADER32` and `DUMP_HEADER64`.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::walker::Physical;

/// A range of the guest's memory in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub pa: u64,
    pub len: u64,
    pub offset: u64,
}

/// A dump, opened.
pub struct Dmp {
    file: File,
    header: Vec<u8>,
    pub is_64_bit: bool,
    pub runs: Vec<Run>,
}

impl Dmp {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut header = vec![0; 0x2000];
        file.read_exact_at(&mut header, 0)?;
        let is_64_bit = match header.get(..8) {
            Some(b"PAGEDU64") => true,
            Some(b"PAGEDUMP") => false,
            other => bail!("not a dump: {other:x?}"),
        };
        let mut dump = Self { file, header, is_64_bit, runs: Vec::new() };
        dump.runs = match dump.kind() {
            1 => dump.runs_of_header()?,
            5 => dump.runs_of_bitmap()?,
            other => bail!("a dump of type {other}"),
        };
        let end = dump.runs.last().map_or(0, |run| run.offset + run.len);
        let len = dump.file.metadata()?.len();
        ensure!(len == end, "{len} bytes, but the pages end at {end}");
        ensure!(dump.at(0xfa0, 0xfa0, 8) == len, "another length in the header");
        Ok(dump)
    }

    /// The number of `len` bytes at one of two offsets of the header, by the
    /// width of the guest's pointers.
    pub fn at(&self, wide: usize, narrow: usize, len: usize) -> u64 {
        let at = if self.is_64_bit { wide } else { narrow };
        let mut bytes = [0; 8];
        if let (Some(to), Some(from)) = (bytes.get_mut(..len), self.header.get(at..at + len)) {
            to.copy_from_slice(from);
        }
        u64::from_le_bytes(bytes)
    }

    /// A pointer of the header, as long as the guest's are.
    pub fn pointer(&self, wide: usize, narrow: usize) -> u64 {
        self.at(wide, narrow, self.width())
    }

    pub fn width(&self) -> usize {
        if self.is_64_bit { 8 } else { 4 }
    }

    /// Bytes of the header.
    pub fn header(&self, at: usize, len: usize) -> &[u8] {
        self.header.get(at..at + len).unwrap_or_default()
    }

    pub fn kind(&self) -> u64 {
        self.at(0xf98, 0xf88, 4)
    }

    pub fn root(&self) -> u64 {
        self.pointer(0x10, 0x10)
    }

    fn header_len(&self) -> u64 {
        if self.is_64_bit { 0x2000 } else { 0x1000 }
    }

    fn runs_of_header(&self) -> Result<Vec<Run>> {
        let width = self.width();
        let count = usize::try_from(self.at(0x88, 0x64, 4))?;
        ensure!(count <= if self.is_64_bit { 42 } else { 86 }, "{count} runs");
        let mut offset = self.header_len();
        let mut runs = Vec::new();
        for index in 0..count {
            let at = index * 2 * width;
            let (first, pages) = (
                self.pointer(0x98 + at, 0x6c + at),
                self.pointer(0x98 + at + width, 0x6c + at + width),
            );
            runs.push(Run { pa: first * 4096, len: pages * 4096, offset });
            offset += pages * 4096;
        }
        let pages: u64 = runs.iter().map(|run| run.len / 4096).sum();
        ensure!(pages == self.pointer(0x90, 0x68), "{pages} pages in {count} runs");
        Ok(runs)
    }

    fn runs_of_bitmap(&self) -> Result<Vec<Run>> {
        let start = self.header_len();
        let mut head = [0; 0x38];
        self.file.read_exact_at(&mut head, start)?;
        ensure!(head.starts_with(b"FDMPDUMP"), "not a full bitmap: {head:x?}");
        let [offset, pages, bits] = [0x20, 0x28, 0x30].map(|at| {
            head.get(at..at + 8)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u64::from_le_bytes)
        });
        ensure!(offset % 4096 == 0 && bits % 64 == 0, "pages at {offset:#x}, {bits} bits");
        let mut bitmap = vec![0; usize::try_from(bits / 8)?];
        self.file.read_exact_at(&mut bitmap, start + 0x38)?;
        let mut runs: Vec<Run> = Vec::new();
        let mut found = 0;
        for page in (0..bits).filter(|bit| is_set(&bitmap, *bit)) {
            let (pa, at) = (page * 4096, offset + found * 4096);
            match runs.last_mut().filter(|run| run.pa + run.len == pa) {
                Some(run) => run.len += 4096,
                None => runs.push(Run { pa, len: 4096, offset: at }),
            }
            found += 1;
        }
        ensure!(found == pages, "{found} pages are there of {pages}");
        Ok(runs)
    }
}

fn is_set(bitmap: &[u8], bit: u64) -> bool {
    let byte = usize::try_from(bit / 8).ok().and_then(|at| bitmap.get(at));
    byte.is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
}

impl Physical for Dmp {
    fn read(&self, pa: u64, buf: &mut [u8]) -> Result<bool> {
        let end = pa.saturating_add(buf.len() as u64);
        let run = self.runs.iter().find(|run| run.pa <= pa && end <= run.pa + run.len);
        let Some(run) = run else { return Ok(false) };
        match self.file.read_exact_at(buf, run.offset + (pa - run.pa)) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => bail!("cut at {pa:#x}"),
            read => Ok(read.map(|()| true)?),
        }
    }
}
