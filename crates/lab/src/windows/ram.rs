//! Physical memory while it is being filled: pages come into being when they are
//! written, so a guest of 64 GiB costs no more than a small one.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::vmware::{Contents, MemoryRange, Random};

pub(super) const PAGE: u64 = 4096;

/// Fixed addresses live below; free pages are taken from above.
const FIRST_FREE: u64 = 0x20_0000;
/// Kept whole for large pages.
pub(super) const LARGE: u64 = 0x100_0000;
const LARGE_LEN: u64 = 0x20_0000;
/// Free pages are not taken from above.
const LAST_FREE: u64 = 0x180_0000;

pub(super) struct Ram {
    pages: BTreeMap<u64, Box<[u8; 4096]>>,
    free: Vec<u64>,
    exhausted: bool,
}

impl Ram {
    /// Memory in these ranges of (address, length). Free pages are handed out in
    /// no order, as a running system has them.
    pub(super) fn new(ranges: &[(u64, u64)], random: &mut Random) -> Self {
        let held = |pa: u64| ranges.iter().any(|(start, len)| (*start..start + len).contains(&pa));
        let large = LARGE..LARGE + LARGE_LEN;
        let pages = (FIRST_FREE / PAGE..LAST_FREE / PAGE).map(|pfn| pfn * PAGE);
        let mut free: Vec<u64> = pages.filter(|pa| held(*pa) && !large.contains(pa)).collect();
        for at in (1..free.len()).rev() {
            free.swap(at, random.below(at + 1));
        }
        Self { pages: BTreeMap::new(), free, exhausted: false }
    }

    /// A page that nothing else uses.
    pub(super) fn take(&mut self) -> u64 {
        let Some(pa) = self.free.pop() else {
            self.exhausted = true;
            return 0;
        };
        self.page(pa);
        pa
    }

    fn page(&mut self, pa: u64) -> &mut [u8; 4096] {
        self.pages.entry(pa / PAGE).or_insert_with(|| Box::new([0; 4096]))
    }

    pub(super) fn put(&mut self, pa: u64, bytes: &[u8]) {
        let (mut at, mut rest) = (pa, bytes);
        while !rest.is_empty() {
            let skip = usize::try_from(at % PAGE).unwrap_or_default();
            let (now, later) = rest.split_at(rest.len().min(4096 - skip));
            let room = self.page(at).get_mut(skip..skip + now.len());
            room.unwrap_or_default().copy_from_slice(now);
            at += now.len() as u64;
            rest = later;
        }
    }

    /// The `len` bytes at `pa`, which must not cross a page.
    pub(super) fn get(&self, pa: u64, len: usize) -> Vec<u8> {
        let skip = usize::try_from(pa % PAGE).unwrap_or_default();
        let page = self.pages.get(&(pa / PAGE)).and_then(|page| page.get(skip..skip + len));
        page.map_or_else(|| vec![0; len], <[u8]>::to_vec)
    }

    pub(super) fn get_u64(&self, pa: u64) -> u64 {
        let bytes = self.get(pa, 8);
        bytes.first_chunk().copied().map(u64::from_le_bytes).unwrap_or_default()
    }

    /// The memory, with its ranges one after the other.
    pub(super) fn contents(&self, ranges: &[(u64, u64)]) -> Result<(Vec<MemoryRange>, Contents)> {
        anyhow::ensure!(!self.exhausted, "the fixture does not fit into its memory");
        let mut memory = Vec::new();
        let mut offset = 0;
        for (gpa, len) in ranges {
            memory.push(MemoryRange { gpa: *gpa, len: *len, offset });
            offset += len;
        }
        let mut ram = Contents::hole(offset);
        for (at, bytes) in self.runs(&memory)? {
            ram.patch(at, &bytes);
        }
        Ok((memory, ram))
    }

    /// Neighbouring pages by their offset in the image.
    fn runs(&self, memory: &[MemoryRange]) -> Result<Vec<(u64, Vec<u8>)>> {
        let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
        for (pfn, page) in &self.pages {
            let pa = pfn * PAGE;
            let mut ranges = memory.iter();
            let range = ranges.find(|range| (range.gpa..range.gpa + range.len).contains(&pa));
            let range = range.with_context(|| format!("no memory at {pa:#x}"))?;
            let at = pa - range.gpa + range.offset;
            match runs.last_mut() {
                Some((start, bytes)) if *start + bytes.len() as u64 == at => {
                    bytes.extend_from_slice(&page[..]);
                }
                _ => runs.push((at, page.to_vec())),
            }
        }
        Ok(runs)
    }
}
