//! The page cache of a file: `address_space.i_pages`, an XArray since 4.20, a radix
//! tree before, lists in 2.4.
//!
//! Layouts: `include/linux/xarray.h`. A node knows the array that it belongs to, which
//! proves both.

use vmss2core_mem::Sums;

use super::members::{Members, offsets, only};
use super::memory::{Memory, Shot};
use super::page_lists::{self, Lists};
use super::radix::{self, Caches, MappedPage, Tree};
use crate::linux::process::xarray::{Marks, TreeShape};

/// How much of an `address_space` and an `inode` is looked at.
const MAPPING_LEN: u64 = 0x100;
/// `xa_lock` and `xa_flags` come before `xa_head`.
const HEAD: u64 = 8;
/// `XA_CHUNK_SHIFT`, of which a node has so many slots; the second one is of kernels with
/// `CONFIG_BASE_SMALL`.
const SHIFTS: [u8; 2] = [6, 4];
/// `RADIX_TREE_MAP_SHIFT`.
const RADIX_SHIFT: u8 = 6;
/// `count` and `nr_values` after `shift` and `offset`.
const COUNT: u64 = 2;
const VALUES: u64 = 3;

/// How page caches are kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cache {
    Tree(Tree),
    Lists(Lists),
}

impl Cache {
    /// The highest number of a page that the cache of `mapping` has.
    pub(super) fn last_index(&self, memory: &Memory<'_>, mapping: u64) -> Option<u64> {
        match self {
            Self::Tree(tree) => tree.last_index(memory, mapping),
            Self::Lists(lists) => lists.last_index(memory, mapping),
        }
    }
}

/// Looks at the page caches of inodes; `pages` are pages of files that processes map.
pub(super) fn learn(
    memory: &Memory<'_>,
    inodes: &[(Shot, u64)],
    pages: &[MappedPage],
    members: &mut Members,
) -> Option<Cache> {
    let mappings: Vec<Shot> =
        inodes.iter().map(|(_, mapping)| Shot::take(memory, *mapping, 0, MAPPING_LEN)).collect();
    let tree = match head(memory, &mappings) {
        Some((head_at, shift)) => {
            let tree = xarray(memory, &mappings, (head_at, shift), members);
            if let Some(caches) = radix::with_tree(memory, tree, pages) {
                put_pages(memory.word_len(), &caches, members);
            } else {
                members.miss("page.mapping", "what page caches and processes have do not agree");
            }
            Some(tree)
        }
        None => radix_tree(memory, pages, members),
    };
    let lists = || page_lists::learn(memory, pages, members).map(Cache::Lists);
    let cache = tree.map(Cache::Tree).or_else(lists);
    if cache.is_none() {
        members.miss(
            "address_space.i_pages",
            "no XArray, radix tree or list was found where pages are cached",
        );
    }
    cache
}

/// Layout of XArrays, from the place of their heads.
fn xarray(
    memory: &Memory<'_>,
    mappings: &[Shot],
    (head, slots_shift): (u64, u8),
    members: &mut Members,
) -> Tree {
    let word_len = memory.word_len();
    let how = "leads to nodes that lead back to it";
    members.put("address_space", "i_pages.xa_head", (head, word_len), how);
    members.put_unsized(
        "address_space",
        "i_pages",
        head.minus(HEAD),
        "a lock and flags before xa_head",
    );
    members.put("xarray", "xa_head", (HEAD, word_len), "after a lock and flags");
    for (name, at) in [("shift", 0), ("offset", 1), ("count", COUNT), ("nr_values", VALUES)] {
        members.put("xa_node", name, (at, 1), how);
    }
    members.put("xa_node", "parent", (word_len, word_len), how);
    members.put("xa_node", "array", (word_len.times(2), word_len), how);
    members.put("xa_node", "slots", (word_len.times(5), slots(slots_shift).times(word_len)), how);
    pages(memory, mappings, head, members);
    let shape = TreeShape {
        word_len: usize::try_from(word_len).unwrap_or(8),
        slots_at: usize::try_from(word_len.times(5)).unwrap_or(0),
        slots_shift,
        marks: Marks::XArray,
    };
    Tree { shape, head_at: head, height_at: None }
}

/// Looks for radix trees that agree with the pages that processes map.
fn radix_tree(memory: &Memory<'_>, pages: &[MappedPage], members: &mut Members) -> Option<Tree> {
    let caches = radix::find(memory, pages)?;
    let (word_len, tree) = (memory.word_len(), caches.tree);
    let how = "leads to the pages that processes map";
    members.put("address_space", "page_tree.rnode", (tree.head_at, word_len), how);
    if let Some(height_at) = tree.height_at {
        members.put("address_space", "page_tree.height", (height_at, 4), how);
    }
    let slots_at = u64::try_from(tree.shape.slots_at).ok()?;
    members.put("radix_tree_node", "slots", (slots_at, slots(RADIX_SHIFT).times(word_len)), how);
    put_pages(word_len, &caches, members);
    Some(tree)
}

/// The array of `struct page`, and what leads from there to the file.
fn put_pages(word_len: u64, caches: &Caches, members: &mut Members) {
    let Caches { array, mapping_at, index_at, .. } = *caches;
    members.put("page", "mapping", (mapping_at, word_len), "leads to the file that it is of");
    members.put("page", "index", (index_at, word_len), "the number of the page in its file");
    members.page_array = Some(array);
}

fn slots(shift: u8) -> u64 {
    1_u64.checked_shl(shift.into()).unwrap_or(0)
}

/// Where all these have the head of an XArray, and the shift of its nodes; at least one must
/// have a node.
fn head(memory: &Memory<'_>, mappings: &[Shot]) -> Option<(u64, u8)> {
    SHIFTS.into_iter().find_map(|shift| Some((head_of(memory, mappings, shift)?, shift)))
}

fn head_of(memory: &Memory<'_>, mappings: &[Shot], shift: u8) -> Option<u64> {
    let is_head = |at: u64| {
        let entries = || mappings.iter().filter_map(|one| Some((one, one.word(at)?)));
        let is_fine = |(one, entry): &(&Shot, u64)| match node(*entry) {
            Some(node) => {
                let array = one.gva.plus(at).minus(HEAD);
                memory.is_pointer(node) && is_root(memory, node, array, shift)
            }
            None => *entry == 0 || memory.is_pointer(*entry),
        };
        entries().all(|entry| is_fine(&entry)) && entries().any(|(_, entry)| node(entry).is_some())
    };
    only(offsets(HEAD..MAPPING_LEN, memory.word_len(), is_head))
}

fn node(entry: u64) -> Option<u64> {
    (entry & 3 == 2 && entry > 4096).then_some(entry.wrapping_sub(2))
}

/// Whether a node is the topmost one of an array, with as many entries as it says.
fn is_root(memory: &Memory<'_>, node: u64, array: u64, slots_shift: u8) -> bool {
    let word_len = memory.word_len();
    let slots =
        (0..slots(slots_shift)).map(|slot| memory.word(node.plus(slot.plus(5).times(word_len))));
    let used = slots.filter(|slot| slot.is_some_and(|slot| slot != 0)).count() as u64;
    let is_level = |shift: u64| shift.is_multiple_of(slots_shift.into()) && shift < 64;
    memory.number(node, 1).is_some_and(is_level)
        && memory.word(node.plus(word_len)) == Some(0)
        && memory.word(node.plus(word_len.times(2))) == Some(array)
        && memory.number(node.plus(COUNT), 1) == Some(used)
}

/// `nrpages`: what the only node of a small file counts.
fn pages(memory: &Memory<'_>, mappings: &[Shot], head: u64, members: &mut Members) {
    let count = |one: &Shot| {
        let node = node(one.word(head)?).filter(|node| memory.is_pointer(*node))?;
        let is_small = memory.number(node, 1)? == 0 && memory.number(node.plus(VALUES), 1)? == 0;
        memory.number(node.plus(COUNT), 1).filter(|_| is_small)
    };
    let counts: Vec<(&Shot, u64)> =
        mappings.iter().filter_map(|one| Some((one, count(one)?))).collect();
    let differ = counts.iter().any(|(_, count)| Some(*count) != counts.first().map(|one| one.1));
    let are_counts = |at: u64| counts.iter().all(|(one, count)| one.word(at) == Some(*count));
    let word_len = memory.word_len();
    if differ && let Some(at) = only(offsets(head..MAPPING_LEN, word_len, are_counts)) {
        members.put("address_space", "nrpages", (at, word_len), "as many as the XArray counts");
    }
}
