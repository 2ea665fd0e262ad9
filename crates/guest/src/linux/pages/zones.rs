//! The lists of free pages of kernels that say nothing of their structures.
//!
//! `struct free_area` (include/linux/mmzone.h) has a list for each kind of use, one only
//! before 2.6.24, and then how many blocks are on these; before 2.6.9 and in 2.4 a pointer to a
//! bitmap. A zone has one for each power of two of pages. Each list is empty or leads through
//! `struct page`s and back; that, and the counts, are what they are told by.

use std::collections::HashMap;

use vmss2core_mem::{Gva, little_endian};

use super::free_lists;
use crate::linux::{Kernel, PageArray};

/// How much is searched from the beginning of a node on: zones of 2.6 may have lists for each
/// of 255 CPUs.
const NODE_LEN: u64 = 256 << 10;
/// Most bytes of variables that are searched.
const MOST_VARIABLES: u64 = 64 << 20;
/// Kinds of use, at most.
const MOST_KINDS: u64 = 8;
/// Powers of two: 2.4 has ten, 2.6 eleven.
const FEWEST_ORDERS: u64 = 8;
const MOST_ORDERS: u64 = 16;
/// Fewest blocks that prove anything, and of four pages or more.
const FEWEST_BLOCKS: usize = 8;
const FEWEST_LARGE: usize = 3;
/// Most zones of all nodes.
const MOST_ZONES: usize = 1 << 12;
/// No `struct page` is longer.
const LONGEST_PAGE: u64 = 256;

/// Blocks of free pages as their lists have them.
#[derive(Debug, Default)]
pub(super) struct FreeLists {
    /// Where an entry lies, which is in the first page of its block, and the power of two.
    pub(super) entries: Vec<(u64, u64)>,
}

impl FreeLists {
    /// Those of a kernel whose `struct page`s begin at `base`.
    pub(super) fn find(kernel: &Kernel, base: u64) -> Self {
        let pages = kernel.memory().end().0.div_ceil(1 << 12);
        let end = base.saturating_add(pages.saturating_mul(LONGEST_PAGE));
        let search = Search { kernel, word_len: kernel.word_len(), pages: base..end };
        let mut found = Self::default();
        for node in free_lists::nodes(kernel) {
            search.add_from(node, NODE_LEN, &mut found);
        }
        if found.entries.is_empty()
            && let Some(bounds) = kernel.bounds()
        {
            // Code ends anywhere.
            let end = bounds.value.code_end.0.checked_next_multiple_of(kernel.word_len());
            let start = Gva(end.unwrap_or(u64::MAX));
            let len = bounds.value.end.0.saturating_sub(start.0).min(MOST_VARIABLES);
            search.add_from(start, len, &mut found);
        }
        found
    }

    /// The first frame of each block with its power of two, if an array is that in which all
    /// of the entries lie.
    pub(super) fn blocks(&self, array: PageArray, frames: u64) -> Option<HashMap<u64, u64>> {
        let PageArray { base, len_bytes } = array;
        let large = self.entries.iter().filter(|(_, order)| *order > 1).count();
        (self.entries.len() >= FEWEST_BLOCKS && large >= FEWEST_LARGE).then_some(())?;
        let place = |entry: u64| {
            let distance = entry.checked_sub(base)?;
            Some((distance.checked_div(len_bytes)?, distance.checked_rem(len_bytes)?))
        };
        let (_, list_at) = place(self.entries.first()?.0)?;
        let block = |(entry, order): &(u64, u64)| {
            let (frame, at) = place(*entry)?;
            let end = frame.checked_add(1_u64.checked_shl(u32::try_from(*order).ok()?)?)?;
            let is_aligned = u64::from(frame.trailing_zeros()) >= *order;
            (at == list_at && is_aligned && end <= frames).then_some((frame, *order))
        };
        let mut blocks: Vec<(u64, u64)> = self.entries.iter().map(block).collect::<Option<_>>()?;
        blocks.sort_unstable();
        let are_apart = blocks.windows(2).all(|pair| match pair {
            [(frame, order), (next, _)] => frame.saturating_add(1 << order) <= *next,
            _ => true,
        });
        are_apart.then(|| blocks.into_iter().collect())
    }
}

/// The lists of a zone.
#[derive(Clone, Copy, Debug)]
struct Zone {
    /// Where they begin.
    first: u64,
    word_len: u64,
    kinds: u64,
    orders: u64,
}

impl Zone {
    /// Where a list begins; after the last kind is the count.
    fn head(&self, order: u64, kind: u64) -> Gva {
        let words = self.kinds.wrapping_mul(2).wrapping_add(1).wrapping_mul(order);
        let words = words.wrapping_add(kind.wrapping_mul(2));
        Gva(self.first.wrapping_add(words.wrapping_mul(self.word_len)))
    }
}

/// What a zone has of a power of two.
struct Area {
    entries: Vec<u64>,
    /// How many these are, or a bitmap.
    last: u64,
}

struct Search<'k> {
    kernel: &'k Kernel,
    word_len: u64,
    /// Where `struct page`s are, at most.
    pages: std::ops::Range<u64>,
}

impl Search<'_> {
    /// Adds the blocks of all zones of which these bytes have the lists.
    fn add_from(&self, start: Gva, len: u64, found: &mut FreeLists) {
        let bytes = self.bytes(start, len);
        let memory = Window { search: self, start: start.0, bytes: &bytes };
        let (mut at, mut zones) = (start.0, 0_usize);
        while memory.word(at).is_some() && zones < MOST_ZONES {
            let mut next = at.saturating_add(self.word_len);
            if let Some(zone) = memory.zone(at) {
                zones = zones.saturating_add(1);
                if let Some((zone, entries)) = self.entries(&zone) {
                    found.entries.extend(entries);
                    next = zone.head(zone.orders, 0).0;
                }
            }
            at = next;
        }
        found.entries.sort_unstable();
        found.entries.dedup();
    }

    fn bytes(&self, start: Gva, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let read = vmss2core_machine::paging::read_pages(start, &mut bytes, |at, part| {
            self.kernel.read(at, part, "zones").is_ok()
        });
        bytes.truncate(read);
        bytes
    }

    /// Blocks of the lists of a zone, as far as they are as many as it counts.
    fn entries(&self, zone: &Zone) -> Option<(Zone, Vec<(u64, u64)>)> {
        let all: Vec<Area> = (0..zone.orders).map_while(|order| self.area(zone, order)).collect();
        // What follows the last power of two may be a list of something else.
        let counted = |areas: &[Area]| {
            let wrong = areas.iter().filter(|area| area.last != area.entries.len() as u64);
            // The guest may stand still while it takes a block.
            wrong.count() < 2
                && areas.last().is_some_and(|area| area.last == area.entries.len() as u64)
        };
        // Blocks of the highest power of two have no other halves.
        let mapped = |areas: &[Area]| match areas.split_last() {
            Some((last, areas)) => {
                last.last == 0 && areas.iter().all(|area| self.is_map(area.last))
            }
            None => false,
        };
        let orders = (usize::try_from(FEWEST_ORDERS).ok()?..=all.len()).rev().find(|orders| {
            let areas = all.get(..*orders).unwrap_or_default();
            counted(areas) || (zone.kinds == 1 && mapped(areas))
        })?;
        let areas = all.into_iter().take(orders).zip(0..);
        let entries = areas
            .flat_map(|(area, order)| area.entries.into_iter().map(move |entry| (entry, order)));
        Some((Zone { orders: orders as u64, ..*zone }, entries.collect()))
    }

    /// The lists of a power of two; `None` if they do not lead back.
    fn area(&self, zone: &Zone, order: u64) -> Option<Area> {
        let mut entries = Vec::new();
        for kind in 0..zone.kinds {
            let is_list = free_lists::follow(self.kernel, zone.head(order, kind), &mut |entry| {
                entries.push(entry);
                true
            });
            is_list.then_some(())?;
        }
        let last = zone.head(order, zone.kinds);
        let last = self.kernel.read_pointer(last, "free_area.nr_free").ok()?.0;
        Some(Area { entries, last })
    }

    /// Whether a word may lead to a bitmap.
    fn is_map(&self, word: u64) -> bool {
        word.is_multiple_of(4)
            && word > 1 << 20
            && self.kernel.read_uint(Gva(word), 4, "free_area.map").is_ok()
    }
}

/// Bytes at an address.
struct Window<'w> {
    search: &'w Search<'w>,
    start: u64,
    bytes: &'w [u8],
}

impl Window<'_> {
    fn word(&self, at: u64) -> Option<u64> {
        let start = usize::try_from(at.checked_sub(self.start)?).ok()?;
        let end = start.checked_add(usize::try_from(self.search.word_len).ok()?)?;
        self.bytes.get(start..end).map(little_endian)
    }

    /// The zone whose lists begin at an address.
    fn zone(&self, at: u64) -> Option<Zone> {
        self.is_head(at).then_some(())?;
        (1..=MOST_KINDS).find_map(|kinds| {
            let zone = Zone { first: at, word_len: self.search.word_len, kinds, orders: 0 };
            let is_area =
                |order: &u64| (0..kinds).all(|kind| self.is_head(zone.head(*order, kind).0));
            let orders = (0..MOST_ORDERS).take_while(is_area).count() as u64;
            (orders >= FEWEST_ORDERS).then_some(Zone { orders, ..zone })
        })
    }

    /// Whether a list begins here that is empty or leads to `struct page`s.
    fn is_head(&self, at: u64) -> bool {
        let next = self.word(at);
        let last = self.word(at.saturating_add(self.search.word_len));
        let (Some(next), Some(last)) = (next, last) else { return false };
        let word = |at: u64| self.search.kernel.read_pointer(Gva(at), "a list of free pages").ok();
        let leads_back = || {
            word(next.wrapping_add(self.search.word_len)) == Some(Gva(at))
                && word(last) == Some(Gva(at))
        };
        let are_pages = self.search.pages.contains(&next) && self.search.pages.contains(&last);
        (next == at && last == at) || (next != at && are_pages && leads_back())
    }
}
