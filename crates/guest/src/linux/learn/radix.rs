//! Page caches before 4.20, which are radix trees, and the array of `struct page`.
//!
//! Nodes of radix trees do not lead back to what they belong to. What proves a tree is
//! what the page tables of processes say of the same pages: a page of a file that a
//! process maps lies in a frame, and all `struct page`s that the tree has for such pages
//! must lie in one array, as far apart as their frames are.
//!
//! Layouts: `include/linux/radix-tree.h` over the years. The root has the height of its
//! tree until 4.6; since 4.7 nodes have the shift of their level. Slots follow one number
//! (until 2.6.17) or two; two and an RCU head; two numbers, three pointers and a list head (3.15); or
//! numbers, two pointers and a list head (4.9).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use vmss2core_mem::Sums;

use super::memory::{Memory, Shot};
use crate::linux::Kernel;
use crate::linux::process::xarray::{CacheEntry, CacheTree, EntryKind, Marks, TreeShape};

/// How much of an `address_space` is looked at.
const MAPPING_LEN: u64 = 0x100;
/// `height` and `gfp_mask` come before `rnode`, a lock or nothing and `gfp_mask` since
/// 4.7.
const HEIGHT: u64 = 8;
/// Fewer pages prove nothing.
pub(super) const FEWEST_PAGES: usize = 4;
/// Nodes on the way to a page.
const MOST_NODES: u64 = 16;
/// `struct page` has 32 to 64 bytes, more with options for developers.
const PAGE_LENS: std::ops::RangeInclusive<u64> = 32..=256;

/// A page of a file that a process maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::linux) struct MappedPage {
    /// The `address_space` of the file.
    pub(in crate::linux) mapping: u64,
    /// Number of the page in the file.
    pub(in crate::linux) index: u64,
    /// Number of the page frame that it lies in.
    pub(in crate::linux) frame: u64,
}

/// The array of `struct page`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageArray {
    /// Where that of frame 0 is or would be.
    pub base: u64,
    /// Bytes of one.
    pub len_bytes: u64,
}

/// How page caches are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
    pub(super) shape: TreeShape,
    /// Offset of the root in an `address_space`.
    pub(super) head_at: u64,
    /// Offset of the tree's height, if nodes do not say theirs.
    pub(super) height_at: Option<u64>,
}

impl Tree {
    /// The `struct page` that the cache has for a page, and the page that it is of: of a
    /// large one the first.
    fn page(&self, memory: &Memory<'_>, page: &MappedPage) -> Option<(MappedPage, u64)> {
        let MappedPage { mapping, index, frame } = *page;
        let mut found = None;
        let range = index..index.checked_add(1)?;
        self.visit(memory, mapping, range, MOST_NODES, &mut |entry, at| {
            found = Some((entry.skip, at));
        })?;
        let (skip, at) = found?;
        let (index, frame) = (index.checked_sub(skip)?, frame.checked_sub(skip)?);
        Some((MappedPage { mapping, index, frame }, at))
    }

    /// The highest index for which the cache of `mapping` has a page.
    pub(super) fn last_index(&self, memory: &Memory<'_>, mapping: u64) -> Option<u64> {
        let mut last = None;
        self.visit(memory, mapping, 0..u64::MAX, 1 << 12, &mut |entry, _| {
            last = Some(entry.index.saturating_add(entry.count.saturating_sub(1)));
        })?;
        last
    }

    fn visit(
        &self,
        memory: &Memory<'_>,
        mapping: u64,
        range: std::ops::Range<u64>,
        mut nodes_left: u64,
        visit: &mut dyn FnMut(&CacheEntry, u64),
    ) -> Option<()> {
        let head = memory.word(mapping.checked_add(self.head_at)?)?;
        let height = match self.height_at {
            Some(at) => Some(u8::try_from(memory.u32(mapping.checked_add(at)?)?).ok()?),
            None => None,
        };
        let read = |at: u64, buf: &mut [u8]| memory.fill(at, buf);
        let mut tree = CacheTree { shape: self.shape, read: &read, nodes_left: &mut nodes_left };
        let mut is_broken = false;
        let _ = tree.visit(head, height, range, &mut |entry| {
            match entry.kind {
                EntryKind::Page(page) => visit(&entry, page),
                EntryKind::Value(_) => {}
                EntryKind::Broken => is_broken = true,
            }
            if is_broken { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (!is_broken).then_some(())
    }
}

/// Page caches that were found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caches {
    pub(super) tree: Tree,
    pub(super) array: PageArray,
    /// Where `struct page` has what leads to the file, and the number in it.
    pub(super) mapping_at: u64,
    pub(super) index_at: u64,
}

/// The trees and the array that all these pages agree with; `None` if there are few
/// pages, or nothing fits.
pub(super) fn find(memory: &Memory<'_>, pages: &[MappedPage]) -> Option<Caches> {
    are_enough(pages).then_some(())?;
    trees(memory.word_len()).find_map(|tree| agreeing(memory, tree, pages))
}

/// The array that these pages and trees of a known kind agree with.
pub(super) fn with_tree(memory: &Memory<'_>, tree: Tree, pages: &[MappedPage]) -> Option<Caches> {
    are_enough(pages).then(|| agreeing(memory, tree, pages))?
}

fn are_enough(pages: &[MappedPage]) -> bool {
    let frames: BTreeSet<u64> = pages.iter().map(|page| page.frame).collect();
    frames.len() >= FEWEST_PAGES
}

fn agreeing(memory: &Memory<'_>, tree: Tree, pages: &[MappedPage]) -> Option<Caches> {
    // Most are nonsense, which the first few pages show.
    let (few, rest) = pages.split_at(FEWEST_PAGES.min(pages.len()));
    let known =
        |page: &MappedPage| tree.page(memory, page).filter(|(_, at)| memory.is_pointer(*at));
    let few: Option<Vec<(MappedPage, u64)>> = few.iter().map(known).collect();
    let all: Vec<(MappedPage, u64)> =
        few?.into_iter().chain(rest.iter().filter_map(known)).collect();
    let are_enough = all.len() >= pages.len().minus(pages.len() / 10);
    let places = all.iter().map(|(page, at)| (page.frame, *at)).collect();
    let array = array(places).filter(|_| are_enough)?;
    // Where pages of files lie one after the other, slots that are off by one lead to
    // an array that is off by one: pages say which of the file they are.
    let all: Vec<MappedPage> = all.into_iter().map(|(page, _)| page).collect();
    let (mapping_at, index_at) = page_members(memory, array, &all)?;
    Some(Caches { tree, array, mapping_at, index_at })
}

/// All that a tree may be.
fn trees(word_len: u64) -> impl Iterator<Item = Tree> {
    let slots: BTreeSet<u64> =
        [word_len, 8, word_len.times(2).plus(8), word_len.times(4).plus(8), word_len.times(5)]
            .into_iter()
            .collect();
    let heads = (word_len.times(2)..MAPPING_LEN).step_by(usize::try_from(word_len).unwrap_or(8));
    heads.flat_map(move |head_at| {
        let shapes = slots.clone().into_iter().flat_map(|slots_at| {
            [Some(HEIGHT), None].into_iter().map(move |height| (slots_at, height))
        });
        shapes.map(move |(slots_at, height)| Tree {
            shape: TreeShape {
                word_len: usize::try_from(word_len).unwrap_or(8),
                slots_at: usize::try_from(slots_at).unwrap_or(0),
                slots_shift: 6,
                marks: Marks::Radix,
            },
            head_at,
            height_at: height.map(|before| head_at.saturating_sub(before)),
        })
    })
}

/// The array in which frames have these `struct page`s, nearly all of them.
pub(super) fn array(mut pages: Vec<(u64, u64)>) -> Option<PageArray> {
    pages.sort_unstable();
    pages.dedup();
    let pairs = pages.iter().zip(pages.iter().skip(1));
    let len = |((frame, page), (next, next_page)): (&(u64, u64), &(u64, u64))| {
        let (frames, bytes) = (next.checked_sub(*frame)?, next_page.checked_sub(*page)?);
        let is_whole = frames > 0 && bytes.is_multiple_of(frames);
        is_whole
            .then(|| bytes.checked_div(frames).unwrap_or(0))
            .filter(|len| PAGE_LENS.contains(len) && len.is_multiple_of(4))
    };
    let len_bytes = most_frequent(pairs.filter_map(len))?;
    let base = |(frame, page): &(u64, u64)| page.wrapping_sub(frame.wrapping_mul(len_bytes));
    let found = most_frequent(pages.iter().map(base))?;
    let agree = pages.iter().filter(|page| base(page) == found).count();
    let are_enough = agree >= FEWEST_PAGES && agree >= pages.len().minus(pages.len() / 10);
    are_enough.then_some(PageArray { base: found, len_bytes })
}

fn most_frequent(of: impl Iterator<Item = u64>) -> Option<u64> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for one in of {
        let count = counts.entry(one).or_default();
        *count = count.plus(1_usize);
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(value, _)| value)
}

/// Where `struct page` has what leads to the file, and the number in it.
pub(super) fn page_members(
    memory: &Memory<'_>,
    array: PageArray,
    pages: &[MappedPage],
) -> Option<(u64, u64)> {
    let place = |frame: u64| Some(array.base.wrapping_add(frame.wrapping_mul(array.len_bytes)));
    members_at(memory, array.len_bytes, &place, pages)
}

/// The same of pages whose `struct page`, of so many bytes, is where `place` says.
pub(in crate::linux) fn members_of_pages(
    kernel: &Kernel,
    len_bytes: u64,
    place: &dyn Fn(u64) -> Option<u64>,
    pages: &[MappedPage],
) -> Option<(u64, u64)> {
    are_enough(pages).then_some(())?;
    members_at(&Memory::new(kernel), len_bytes, place, pages)
}

fn members_at(
    memory: &Memory<'_>,
    len_bytes: u64,
    place: &dyn Fn(u64) -> Option<u64>,
    pages: &[MappedPage],
) -> Option<(u64, u64)> {
    let shots: Vec<(Shot, &MappedPage)> = pages
        .iter()
        .filter_map(|page| Some((Shot::take(memory, place(page.frame)?, 0, len_bytes), page)))
        .collect();
    let word_len = memory.word_len();
    let at = |is_it: &dyn Fn(&MappedPage, u64) -> bool| {
        let holds = |at: u64| {
            let all = shots.iter();
            super::tasks::nearly_all(all, |(shot, page)| {
                shot.word(at).is_some_and(|word| is_it(page, word))
            })
        };
        super::members::only(super::members::offsets(0..len_bytes, word_len, holds))
    };
    Some((at(&|page, word| word == page.mapping)?, at(&|page, word| word == page.index)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_what_frames_and_addresses_agree_on() {
        let page = |frame: u64| (frame, 0xffff_ea00_0000_0000 + frame * 56);
        let pages: Vec<_> = [100, 7, 8, 9, 30, 5000, 5001, 12, 13, 40].map(page).to_vec();
        let array = |pages: &[(u64, u64)]| super::array(pages.to_vec());
        let found = PageArray { base: 0xffff_ea00_0000_0000, len_bytes: 56 };
        assert_eq!(array(&pages), Some(found));
        // A private copy is in another frame than the cache's page.
        let mut one_copy = pages.clone();
        one_copy[3].0 = 77_777;
        assert_eq!(array(&one_copy), Some(found));
        let mut two_copies = one_copy;
        two_copies[4].0 = 88_888;
        assert_eq!(array(&two_copies), None);
        assert_eq!(array(&pages[..3]), None);
        assert_eq!(array(&[]), None);
        // The same page everywhere, and pages without order.
        assert_eq!(array(&[(1, 0x1000), (2, 0x1000), (3, 0x1000), (4, 0x1000)]), None);
        assert_eq!(array(&[(1, 0x4000), (2, 0x1000), (3, 0x9008), (4, 0x1000)]), None);
        assert_eq!(array(&[(1, u64::MAX), (u64::MAX, 0), (3, 0x9008), (4, 0x1000)]), None);
    }
}
