//! Page caches of 2.4, which are lists, and the array of `struct page`.
//!
//! An `address_space` begins with the lists of its clean, dirty and locked pages, a
//! `struct page` with its place in one of them; then come the `address_space` and the number
//! of the page in its file (include/linux/fs.h and mm.h of 2.4). As with radix trees, the
//! frames that processes map prove it.

use std::collections::{BTreeMap, BTreeSet};

use vmss2core_mem::Sums;

use super::members::{Members, offsets};
use super::memory::Memory;
use super::radix::{FEWEST_PAGES, MappedPage, PageArray, array, page_members};
use crate::linux::process::page_lists::nodes;

const LISTS: [&str; 3] = ["clean_pages", "dirty_pages", "locked_pages"];
/// Bytes of a `struct page` that may hold the number.
const PAGE_LEN: u64 = 0x40;
/// Pages of a file that are looked at.
const MOST_PAGES: u64 = 1 << 13;

/// Where a `struct page` has its number in its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lists {
    index_at: u64,
}

impl Lists {
    /// The highest number of a page that the cache of `mapping` has.
    pub(super) fn last_index(self, memory: &Memory<'_>, mapping: u64) -> Option<u64> {
        let pages = listed(memory, mapping)?;
        pages.iter().filter_map(|page| memory.word(page.plus(self.index_at))).max()
    }
}

/// Finds lists that agree with the pages that processes map.
pub(super) fn learn(
    memory: &Memory<'_>,
    pages: &[MappedPage],
    members: &mut Members,
) -> Option<Lists> {
    let mut caches = BTreeMap::new();
    let mappings: BTreeSet<u64> = pages.iter().map(|page| page.mapping).collect();
    for mapping in mappings {
        caches.insert(mapping, listed(memory, mapping)?);
    }
    let word_len = memory.word_len();
    let places = offsets(word_len.times(2)..PAGE_LEN, word_len, |_| true);
    let (lists, array, mapping_at) = places.into_iter().find_map(|index_at| {
        let array = array_by(memory, pages, &caches, index_at)?;
        let (mapping_at, found) = page_members(memory, array, pages)?;
        (found == index_at).then_some((Lists { index_at }, array, mapping_at))
    })?;
    let how = "lists of the pages that processes map";
    for (name, number) in LISTS.into_iter().zip(0..) {
        let at = word_len.times(2).times(number);
        members.put("address_space", name, (at, word_len.times(2)), how);
    }
    members.put("page", "list", (0, word_len.times(2)), how);
    members.put("page", "mapping", (mapping_at, word_len), "leads to the file that it is of");
    members.put("page", "index", (lists.index_at, word_len), "the number of the page in its file");
    members.page_array = Some(array);
    Some(lists)
}

/// The pages in the lists of an `address_space`.
fn listed(memory: &Memory<'_>, mapping: u64) -> Option<Vec<u64>> {
    let (word_len, mut left) = (memory.word_len(), MOST_PAGES);
    let read = |at: u64| memory.word(at);
    let heads = (0..LISTS.len() as u64).map(|list| mapping.plus(word_len.times(2).times(list)));
    let lists = heads.map(|head| nodes(head, word_len, &read, &mut left));
    let lists: Option<Vec<Vec<u64>>> = lists.collect();
    Some(lists?.concat())
}

/// The array in which the frames that processes map have the pages that are listed.
fn array_by(
    memory: &Memory<'_>,
    pages: &[MappedPage],
    caches: &BTreeMap<u64, Vec<u64>>,
    index_at: u64,
) -> Option<PageArray> {
    let entries = caches.iter().flat_map(|(mapping, listed)| {
        listed
            .iter()
            .filter_map(move |page| Some(((*mapping, memory.word(page.plus(index_at))?), *page)))
    });
    let by_index: BTreeMap<(u64, u64), u64> = entries.collect();
    let known = |page: &MappedPage| Some((page.frame, *by_index.get(&(page.mapping, page.index))?));
    let known: Vec<(u64, u64)> = pages.iter().filter_map(known).collect();
    let are_enough =
        known.len() >= FEWEST_PAGES && known.len() >= pages.len().minus(pages.len() / 10);
    are_enough.then(|| array(known))?
}
