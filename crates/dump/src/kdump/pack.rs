//! Reads a portion of memory and compresses its pages.

use std::ops::Range;

use vmss2core_mem::{Gpa, PAGE_SIZE, PhysicalMemory};

use super::codec::{Codec, Compression};
use super::pages::{PORTION_PAGES, Portion};
use crate::DumpError;
use crate::engine::is_zero;

const PAGE: usize = 4096;

/// How pages are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) pfns: Range<u64>,
    pub(super) stored: Stored,
}

/// The content of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// The page of zeroes that all share.
    Zero,
    /// The next bytes of the portion.
    Bytes {
        /// How many.
        size: u32,
        /// How they are compressed.
        flags: u32,
    },
}

/// A thread's means of packing, used for one portion after the other.
pub(super) struct Packer<'a> {
    memory: &'a PhysicalMemory,
    codec: Codec,
    compression: Compression,
    input: Vec<u8>,
    /// The pages of the portion, in ascending order.
    pub(super) entries: Vec<Entry>,
    /// The compressed pages.
    pub(super) bytes: Vec<u8>,
}

impl<'a> Packer<'a> {
    pub(super) fn new(
        memory: &'a PhysicalMemory,
        compression: Compression,
    ) -> Result<Self, DumpError> {
        let room = usize::try_from(PORTION_PAGES * PAGE_SIZE).unwrap_or_default();
        Ok(Self {
            memory,
            codec: Codec::new(compression)?,
            compression,
            input: vec![0; room],
            entries: Vec::new(),
            bytes: Vec::with_capacity(room),
        })
    }

    /// Packs a portion into `entries` and `bytes`.
    pub(super) fn pack(&mut self, portion: &Portion) -> Result<(), DumpError> {
        self.entries.clear();
        self.bytes.clear();
        for run in &portion.runs {
            if run.is_hole {
                self.entries.push(Entry { pfns: run.pfns.clone(), stored: Stored::Zero });
            } else {
                self.data(run.pfns.clone())?;
            }
        }
        Ok(())
    }

    fn data(&mut self, pfns: Range<u64>) -> Result<(), DumpError> {
        let len = usize::try_from(pfns.end.saturating_sub(pfns.start).saturating_mul(PAGE_SIZE))
            .unwrap_or(usize::MAX);
        // Portions are no larger than the buffer; were one, nothing would be lost.
        self.input.resize(self.input.len().max(len), 0);
        let mut input = std::mem::take(&mut self.input);
        let pages = input.split_at_mut(len).0;
        self.memory.read(Gpa(pfns.start.saturating_mul(PAGE_SIZE)), pages)?;
        for (pfn, page) in pfns.zip(pages.chunks_exact(PAGE)) {
            self.page(pfn, page)?;
        }
        self.input = input;
        Ok(())
    }

    fn page(&mut self, pfn: u64, page: &[u8]) -> Result<(), DumpError> {
        if is_zero(page) {
            self.entries.push(Entry { pfns: pfn..pfn.saturating_add(1), stored: Stored::Zero });
            return Ok(());
        }
        let (bytes, flags) = match self.codec.compress(page)? {
            Some(compressed) => (compressed, self.compression.flag()),
            None => (page, 0),
        };
        let size = u32::try_from(bytes.len()).map_err(|_| DumpError::TooLarge)?;
        self.bytes.extend_from_slice(bytes);
        self.entries.push(Entry {
            pfns: pfn..pfn.saturating_add(1),
            stored: Stored::Bytes { size, flags },
        });
        Ok(())
    }
}
