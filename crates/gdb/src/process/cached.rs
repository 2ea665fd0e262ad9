//! Files of the guest from its page cache.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use vmss2core_guest::linux::{Content, Counts, FileRun, Kernel, MappedFile};
use vmss2core_mem::{Gva, PhysicalMemory};

use super::Attached;
use super::sections::{Sections, Source};
use crate::reply::EIO;
use crate::target::GuestFile;

/// Where the bytes of open files are. A file that is opened twice is looked through
/// once.
pub(super) struct Caches<'a> {
    kernel: &'a Kernel<'a>,
    open: Mutex<HashMap<Gva, Weak<Served>>>,
}

struct Places {
    len_bytes: u64,
    /// Without gaps, in order.
    runs: Vec<FileRun>,
}

/// Where the bytes are, and what is served in place of those that are missing.
struct Served {
    places: Places,
    sections: Sections,
}

/// What the section table of a file is made from.
struct InMemory<'a> {
    memory: &'a PhysicalMemory,
    places: &'a Places,
}

/// A file of the guest, open.
pub(super) struct CachedFile<'a> {
    memory: &'a PhysicalMemory,
    content: Arc<Served>,
}

impl<'a> Caches<'a> {
    pub(super) fn new(kernel: &'a Kernel<'a>) -> Self {
        Self { kernel, open: Mutex::default() }
    }

    /// Opens a file that the process has mapped.
    pub(super) fn open(&self, process: &Attached<'_>, file: &MappedFile) -> CachedFile<'a> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, content| content.strong_count() > 0);
        let key = file.mapping.unwrap_or(file.gva);
        let content = open.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let len_bytes = file.len_bytes.unwrap_or(0);
            let places = Places { len_bytes, runs: process.process().file_runs(file) };
            Arc::new(Served::of(self.kernel.memory(), places))
        });
        open.insert(key, Arc::downgrade(&content));
        CachedFile { memory: self.kernel.memory(), content }
    }
}

impl Served {
    fn of(memory: &PhysicalMemory, places: Places) -> Self {
        let sections = Sections::of(&InMemory { memory, places: &places });
        Self { places, sections }
    }
}

impl CachedFile<'_> {
    /// What is missing, a sentence behind the name of the file; `None` if it is all
    /// there.
    pub(super) fn problem(&self) -> Option<String> {
        let Served { places, sections } = &*self.content;
        let mut counts = Counts::default();
        for run in &places.runs {
            counts.count(run.content, run.len_bytes);
        }
        let (missing, len) = (counts.unavailable(), places.len_bytes);
        let so = match sections {
            Sections::Own => "symbols may be missing",
            Sections::Made(_) => {
                "section headers among them: a section table was made from the program headers, \
                 and the only symbols are those that the file exports"
            }
            Sections::Lost => {
                "section headers among them, and the program headers do not tell enough: \
                 debuggers cannot use the file"
            }
        };
        (missing > 0).then(|| {
            format!(
                "{missing} of {len} bytes are not in the guest's memory, {so}; serve with \
                 --sysroot DIR, a directory that has the guest's file"
            )
        })
    }
}

impl Source for InMemory<'_> {
    fn len_bytes(&self) -> u64 {
        self.places.len_bytes
    }

    fn available(&self, offset: u64) -> u64 {
        let behind = self.places.runs.partition_point(|run| run.offset_bytes <= offset);
        let from = self.places.runs.get(behind.saturating_sub(1)..).unwrap_or_default();
        let mut end = offset;
        for run in from {
            let is_there = !matches!(run.content, Content::Swapped { .. } | Content::Missing(_));
            let run_end = run.offset_bytes.saturating_add(run.len_bytes);
            if !is_there || run.offset_bytes > end || run_end <= end {
                break;
            }
            end = run_end;
        }
        end - offset
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Option<()> {
        (self.places.fill(self.memory, offset, buf) == buf.len()).then_some(())
    }
}

impl Places {
    /// Fills `buf` from an offset on, up to the first byte that the guest has not in
    /// memory; returns how many there were.
    fn fill(&self, memory: &PhysicalMemory, offset: u64, buf: &mut [u8]) -> usize {
        let left = self.len_bytes.saturating_sub(offset);
        let wanted = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut got = 0_usize;
        while got < wanted {
            let Some(run) = self.at(offset.saturating_add(got as u64)) else { break };
            let len = usize::try_from(run.len_bytes).unwrap_or(usize::MAX).min(wanted - got);
            let Some(part) = buf.get_mut(got..got + len) else { break };
            if fill(memory, run.content, part).is_none() {
                break;
            }
            got += len;
        }
        got
    }

    /// The part of a run from an offset on.
    fn at(&self, offset: u64) -> Option<FileRun> {
        let behind = self.runs.partition_point(|run| run.offset_bytes <= offset);
        let run = *self.runs.get(behind.checked_sub(1)?)?;
        let skip = offset - run.offset_bytes;
        let len_bytes = run.len_bytes.checked_sub(skip).filter(|len| *len > 0)?;
        let content = match run.content {
            Content::Memory(gpa) => Content::Memory(gpa.checked_add(skip)?),
            Content::PageCache(gpa) => Content::PageCache(gpa.checked_add(skip)?),
            other => other,
        };
        Some(FileRun { offset_bytes: offset, len_bytes, content })
    }
}

/// Fills a part of a file; `None` if the checkpoint does not have it.
fn fill(memory: &PhysicalMemory, content: Content, buf: &mut [u8]) -> Option<()> {
    match content {
        Content::Zero => buf.fill(0),
        Content::Memory(gpa) | Content::PageCache(gpa) => memory.read(gpa, buf).ok()?,
        Content::Swapped { .. } | Content::Missing(_) => return None,
    }
    Some(())
}

impl GuestFile for CachedFile<'_> {
    fn len_bytes(&self) -> u64 {
        match &self.content.sections {
            Sections::Made(made) => made.len_bytes(),
            Sections::Own | Sections::Lost => self.content.places.len_bytes,
        }
    }

    /// Up to the first byte that the guest has not in memory; an error if that is the
    /// very first: nothing is made up but a section table.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize, u8> {
        let Served { places, sections } = &*self.content;
        let left = self.len_bytes().saturating_sub(offset);
        let wanted = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut got = 0_usize;
        while got < wanted {
            let (at, part) =
                (offset.saturating_add(got as u64), buf.get_mut(got..wanted).unwrap_or_default());
            let len = match sections {
                Sections::Made(made) => match made.at(at) {
                    Some(bytes) => copy(bytes, part),
                    None => places.fill(self.memory, at, part),
                },
                Sections::Own | Sections::Lost => places.fill(self.memory, at, part),
            };
            if len == 0 {
                break;
            }
            got += len;
        }
        if got == 0 && wanted > 0 { Err(EIO) } else { Ok(got) }
    }
}

/// Copies what fits; returns how many bytes that were.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let len = from.len().min(to.len());
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    len
}

#[cfg(test)]
mod tests {
    use vmss2core_guest::linux::Missing;
    use vmss2core_mem::Gpa;

    use super::*;

    #[test]
    fn what_is_there_is_read_and_holes_are_errors() {
        let mut memory = PhysicalMemory::new();
        let ram: Vec<u8> = (0..4).flat_map(|page: u8| [page * 16 + 1; 0x1000]).collect();
        memory.map(Gpa(0), 0x4000, Arc::new(ram), 0).unwrap();
        let run = |offset_bytes, len_bytes, content| FileRun { offset_bytes, len_bytes, content };
        let places = Places {
            len_bytes: 0x3800,
            runs: vec![
                run(0, 0x1000, Content::PageCache(Gpa(0x3000))),
                run(0x1000, 0x1000, Content::Zero),
                run(0x2000, 0x1000, Content::Missing(Missing::NotCached)),
                run(0x3000, 0x800, Content::PageCache(Gpa(0x1000))),
            ],
        };
        let file = CachedFile { memory: &memory, content: Arc::new(Served::of(&memory, places)) };
        let read = |offset, len| {
            let mut bytes = vec![0xee; len];
            let got = file.read(offset, &mut bytes);
            (got, bytes)
        };
        let (got, bytes) = read(0xffe, 0x2000);
        assert_eq!((got, &bytes[..4]), (Ok(0x1002), &[0x31, 0x31, 0, 0][..]));
        assert_eq!(read(0x2000, 1).0, Err(EIO));
        assert_eq!(read(0x2fff, 2).0, Err(EIO));
        let (got, bytes) = read(0x37ff, 16);
        assert_eq!((got, bytes[0]), (Ok(1), 0x11));
        assert_eq!(read(0x3800, 16).0, Ok(0));
        assert_eq!(read(u64::MAX, 16).0, Ok(0));
        assert_eq!(read(0x2000, 0).0, Ok(0));
    }
}
