//! A file of the guest to be read.

use super::{Mapped, Patch, Patches, SectionTable, Source, restore};
use crate::linux::Kernel;
use crate::linux::process::{Counts, FileRun};

/// A file that a process has mapped: where its bytes are, and what is put in place of
/// some, so that debuggers can use it.
#[derive(Clone, Debug, Default)]
pub struct RestoredFile {
    len_bytes: u64,
    /// Without gaps, in order.
    runs: Vec<FileRun>,
    patches: Patches,
    table: SectionTable,
    is_header_made: bool,
}

impl RestoredFile {
    /// A file whose bytes are in these runs, which cover it exactly, in order. How a process
    /// has mapped it is asked for if its ELF header is lost.
    pub(in crate::linux) fn of(
        kernel: &Kernel,
        runs: Vec<FileRun>,
        mapped: &dyn Fn() -> Option<Mapped>,
    ) -> Self {
        let last = runs.last();
        let len_bytes = last.map_or(0, |run| run.offset_bytes.saturating_add(run.len_bytes));
        let own = Self { len_bytes, runs, ..Self::default() };
        let restored = restore(&InMemory { kernel, file: &own }, mapped);
        Self {
            patches: Patches::of(restored.patches),
            table: restored.table,
            is_header_made: restored.is_header_made,
            ..own
        }
    }

    /// Its length in bytes, with what was added at its end.
    pub fn len_bytes(&self) -> u64 {
        let end = self.patches.all().iter().map(Patch::end).max();
        self.len_bytes.max(end.unwrap_or(0))
    }

    /// The length of the guest's own file in bytes.
    pub fn own_len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Where the bytes of the guest's own file are.
    pub fn runs(&self) -> &[FileRun] {
        &self.runs
    }

    /// Patches over them and after them; a later one lies over an earlier one.
    pub fn patches(&self) -> &[Patch] {
        self.patches.all()
    }

    /// Repair of its section table.
    pub fn section_table(&self) -> &SectionTable {
        &self.table
    }

    /// Whether its ELF header was lost, and one was made from what the process has mapped.
    pub fn is_header_made(&self) -> bool {
        self.is_header_made
    }

    /// How many bytes of the guest's own file are where.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for run in &self.runs {
            counts.count(run.content, run.len_bytes);
        }
        counts
    }

    /// Whether debuggers would miss something of it.
    pub fn is_incomplete(&self) -> bool {
        self.is_header_made || self.table != SectionTable::Own
    }

    /// Its build ID, if its first page is in memory and has one.
    pub fn build_id(&self, kernel: &Kernel) -> Option<String> {
        // NT_GNU_BUILD_ID: lengths of owner and ID, type, owner.
        const NOTE: &[u8] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
        const ID_LEN: usize = 20;
        let mut page = vec![0; 4096];
        let len = self.fill(kernel, 0, &mut page);
        let page = page.get(..len)?;
        let at = memchr::memmem::find(page, NOTE)?.saturating_add(NOTE.len());
        let id = page.get(at..at.checked_add(ID_LEN)?)?;
        Some(id.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat())
    }

    /// Fills `buf` from an offset on, up to the first byte that the checkpoint lacks or
    /// the end; returns how many bytes there were.
    pub fn read(&self, kernel: &Kernel, offset: u64, buf: &mut [u8]) -> usize {
        let left = self.len_bytes().saturating_sub(offset);
        let wanted = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut got = 0_usize;
        while got < wanted {
            let at = offset.saturating_add(got as u64);
            let Some(part) = buf.get_mut(got..wanted) else { break };
            let len = match self.patches.copy(at, part) {
                Ok(len) => len,
                Err(own) => self.fill(kernel, at, part.get_mut(..own).unwrap_or_default()),
            };
            if len == 0 {
                break;
            }
            got = got.saturating_add(len);
        }
        got
    }

    /// The file's own bytes alone.
    fn fill(&self, kernel: &Kernel, offset: u64, buf: &mut [u8]) -> usize {
        let left = self.len_bytes.saturating_sub(offset);
        let wanted = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut got = 0_usize;
        while got < wanted {
            let Some((run, skip)) = self.at(offset.saturating_add(got as u64)) else { break };
            let left = usize::try_from(run.len_bytes.saturating_sub(skip)).unwrap_or(usize::MAX);
            let len = left.min(wanted.saturating_sub(got));
            let Some(part) = buf.get_mut(got..got.saturating_add(len)) else { break };
            if kernel.read_content(run.content, skip, part).is_err() {
                break;
            }
            got = got.saturating_add(len);
        }
        got
    }

    /// The run that an offset is in, and how far into it.
    fn at(&self, offset: u64) -> Option<(&FileRun, u64)> {
        let behind = self.runs.partition_point(|run| run.offset_bytes <= offset);
        let run = self.runs.get(behind.checked_sub(1)?)?;
        let skip = offset.saturating_sub(run.offset_bytes);
        (skip < run.len_bytes).then_some((run, skip))
    }
}

/// A file's own bytes, which decide what is put in place of others.
struct InMemory<'f> {
    kernel: &'f Kernel,
    file: &'f RestoredFile,
}

impl InMemory<'_> {
    /// How many bytes from an offset on are all there, or all missing.
    fn stretch(&self, offset: u64, there: bool) -> u64 {
        let runs = &self.file.runs;
        let behind = runs.partition_point(|run| run.offset_bytes <= offset);
        let mut end = offset;
        for run in runs.get(behind.saturating_sub(1)..).unwrap_or_default() {
            let run_end = run.offset_bytes.saturating_add(run.len_bytes);
            if run.content.is_there() != there || run.offset_bytes > end || run_end <= end {
                break;
            }
            end = run_end;
        }
        end.saturating_sub(offset)
    }
}

impl Source for InMemory<'_> {
    fn len_bytes(&self) -> u64 {
        self.file.len_bytes
    }

    fn available(&self, offset: u64) -> u64 {
        self.stretch(offset, true)
    }

    fn missing(&self, offset: u64) -> u64 {
        self.stretch(offset, false)
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Option<()> {
        (self.file.fill(self.kernel, offset, buf) == buf.len()).then_some(())
    }
}
