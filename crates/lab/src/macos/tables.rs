//! Page tables of four levels (Intel SDM volume 3, 4.5).

use std::collections::BTreeMap;

/// Physical memory while it is being filled, by page.
#[derive(Debug, Default)]
pub(super) struct Ram {
    pub(super) pages: BTreeMap<u64, Vec<u8>>,
    free: u64,
}

const PAGE: u64 = 0x1000;
const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const USER: u64 = 4;
const LARGE: u64 = 0x80;
const FRAME: u64 = 0x000f_ffff_ffff_f000;

impl Ram {
    /// Free pages are taken from here on.
    pub(super) fn new(free: u64) -> Self {
        Self { pages: BTreeMap::new(), free }
    }

    /// A page that nothing else uses.
    pub(super) fn take(&mut self) -> u64 {
        // Not one after the other, as in a system that has run for a while.
        self.free += 3 * PAGE;
        self.put(self.free, &[0]);
        self.free
    }

    pub(super) fn put(&mut self, pa: u64, bytes: &[u8]) {
        let (mut at, mut rest) = (pa, bytes);
        while !rest.is_empty() {
            let skip = usize::try_from(at % PAGE).unwrap_or_default();
            let (now, later) = rest.split_at(rest.len().min(0x1000 - skip));
            let page = self.pages.entry(at / PAGE).or_insert_with(|| vec![0; 0x1000]);
            page.get_mut(skip..skip + now.len()).unwrap_or_default().copy_from_slice(now);
            at += now.len() as u64;
            rest = later;
        }
    }

    fn entry(&self, pa: u64) -> u64 {
        let skip = usize::try_from(pa % PAGE).unwrap_or_default();
        let page = self.pages.get(&(pa / PAGE)).and_then(|page| page.get(skip..));
        page.and_then(<[u8]>::first_chunk).map_or(0, |entry| u64::from_le_bytes(*entry))
    }

    /// Maps a page below a root; 2 MiB if `len` says so.
    pub(super) fn map(&mut self, root: u64, va: u64, pa: u64, len: u64) {
        let user = if va >> 63 == 0 { USER } else { 0 };
        let flags = PRESENT | WRITE | user;
        let mut table = root;
        let last = if len == PAGE { 12 } else { 21 };
        for shift in [39, 30, 21, 12] {
            let at = table + (va >> shift & 0x1ff) * 8;
            if shift == last {
                let large = if len == PAGE { 0 } else { LARGE };
                self.put(at, &(pa | flags | large).to_le_bytes());
                return;
            }
            if self.entry(at) & PRESENT == 0 {
                let next = self.take();
                self.put(at, &(next | flags).to_le_bytes());
            }
            table = self.entry(at) & FRAME;
        }
    }

    /// Copies entries of one root to another: what processes share with the kernel.
    pub(super) fn share(&mut self, from: u64, to: u64, slots: &[u64]) {
        for slot in slots {
            let entry = self.entry(from + slot * 8);
            self.put(to + slot * 8, &entry.to_le_bytes());
        }
    }
}
