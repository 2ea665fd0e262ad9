//! The kernel's own lists of free pages.
//!
//! `include/linux/mmzone.h`: each node has zones, each zone a list of blocks for
//! each power of two and kind of use. They tell the mark of a free page, which kernels from
//! 4.18 to 6.10 say nowhere but in VMCOREINFO, and which pages are free where no mark is
//! known (before 3.8).

use std::collections::HashMap;

use vmss2core_mem::Gva;

use super::memory_map::Spans;
use crate::linux::Kernel;

/// Most zones of a node that are looked at; there are up to six.
const MOST_ZONES: u64 = 8;
/// Most nodes; there may be 1024.
const MOST_NODES: u64 = 1 << 10;
/// Most lists of a zone: eleven sizes of six kinds.
const MOST_LISTS: u64 = 128;
/// Fewest blocks that must say the same.
const FEWEST: u32 = 3;
/// Most blocks that are remembered; what is more counts as in use.
const MOST_BLOCKS: usize = 1 << 22;

/// Where the parts of a free page's `struct page` lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    /// `page.lru`, by which it is on its list.
    pub(super) list: u64,
    pub(super) mapcount: u64,
    /// Has the power of two of the block.
    pub(super) private: u64,
}

/// Where the parts of a zone lie.
struct Lists {
    /// The first one of the first zone.
    first: Gva,
    zone_len: u64,
    /// A list for each kind of use in each of these.
    area_len: u64,
    areas: u64,
    head_len: u64,
    heads_at: u64,
}

/// `_mapcount` of free pages; `None` if the lists cannot be read, have too few
/// blocks or these differ.
pub(super) fn mapcount(kernel: &Kernel, places: Places) -> Option<u32> {
    let lists = Lists::of(kernel, *nodes(kernel).first()?)?;
    let (mut known, mut votes) = (None, 0_u32);
    for (head, order) in lists.heads() {
        let Some(found) = first_block(kernel, places, head, order) else { continue };
        if *known.get_or_insert(found) != found {
            return None;
        }
        votes = votes.saturating_add(1);
    }
    known.filter(|_| votes >= FEWEST)
}

/// Blocks of free pages: the number of the first page, and the power of two of how many;
/// `list` is where `page.lru` is. `None` if the lists cannot be read.
pub(super) fn blocks(kernel: &Kernel, list: u64, pages: &Spans) -> Option<HashMap<u64, u64>> {
    let mut found = HashMap::new();
    let mut lists = 0_u64;
    for node in nodes(kernel) {
        for (head, order) in Lists::of(kernel, node)?.heads() {
            let is_list = follow(kernel, head, &mut |entry| {
                let page = entry.wrapping_sub(list);
                let frame = pages.frame(page).filter(|frame| is_aligned(*frame, order));
                frame.map(|frame| found.insert(frame, order));
                found.len() < MOST_BLOCKS
            });
            lists = lists.saturating_add(u64::from(is_list));
        }
    }
    (lists > 0).then_some(found)
}

fn is_aligned(frame: u64, order: u64) -> bool {
    u64::from(frame.trailing_zeros()) >= order
}

/// Shows `take` the entries of a list for as long as they lead back and it wants more;
/// whether it is a list at all.
pub(super) fn follow(kernel: &Kernel, head: Gva, take: &mut dyn FnMut(u64) -> bool) -> bool {
    let word = kernel.word_len();
    let (mut at, mut count) = (head, 0_usize);
    while let Ok(next) = kernel.read_pointer(at, "a list of free pages") {
        let back = kernel.read_pointer(Gva(next.0.wrapping_add(word)), "a list of free pages");
        if back.ok() != Some(at) {
            break;
        }
        if next == head {
            return true;
        }
        count = count.saturating_add(1);
        if count > MOST_BLOCKS || !take(next.0) {
            break;
        }
        at = next;
    }
    at != head
}

impl Lists {
    /// Those of a node.
    fn of(kernel: &Kernel, node: Gva) -> Option<Self> {
        let layout = kernel.layout();
        let zones = layout.place("pglist_data", "node_zones")?;
        let areas = layout.place("zone", "free_area")?;
        let heads = layout.place("free_area", "free_list")?;
        let area_len = layout.size_of("free_area")?.value.max(1);
        let info = kernel.linux().vmcoreinfo.as_ref();
        let stated = || info?.value.get("LENGTH(zone.free_area)")?.parse().ok();
        let counted = areas.size_bytes.and_then(|all| all.checked_div(area_len));
        let first = node.0.wrapping_add(zones.offset_bytes).wrapping_add(areas.offset_bytes);
        Some(Self {
            first: Gva(first),
            zone_len: layout.size_of("zone")?.value,
            area_len,
            areas: counted.or_else(stated)?,
            head_len: kernel.word_len().saturating_mul(2),
            heads_at: heads.offset_bytes,
        })
    }

    /// Each list with the power of two of its blocks.
    fn heads(&self) -> impl Iterator<Item = (Gva, u64)> {
        let per_area = self
            .area_len
            .saturating_sub(self.heads_at.min(self.area_len))
            .checked_div(self.head_len)
            .unwrap_or(0);
        let per_zone = self.areas.saturating_mul(per_area).min(MOST_LISTS);
        (0..MOST_ZONES).flat_map(move |zone| {
            (0..per_zone).filter_map(move |list| {
                let (order, kind) = (list.checked_div(per_area)?, list.checked_rem(per_area)?);
                let steps = [(zone, self.zone_len), (order, self.area_len), (kind, self.head_len)];
                let start = self.first.0.wrapping_add(self.heads_at);
                let add =
                    |at: u64, (count, len): (u64, u64)| at.wrapping_add(count.wrapping_mul(len));
                Some((Gva(steps.into_iter().fold(start, add)), order))
            })
        })
    }
}

/// Kernels that know of one node only have no table of them.
pub(super) fn nodes(kernel: &Kernel) -> Vec<Gva> {
    let Some(table) = kernel.exported_variable("node_data") else {
        return kernel.exported_variable("contig_page_data").into_iter().collect();
    };
    let info = kernel.linux().vmcoreinfo.as_ref();
    let stated = info.and_then(|info| info.value.get("LENGTH(node_data)")?.parse::<u64>().ok());
    let count = stated.unwrap_or(1).min(MOST_NODES);
    let node = |index: u64| {
        let at = table.0.wrapping_add(index.wrapping_mul(kernel.word_len()));
        kernel.read_pointer(Gva(at), "a node").ok().filter(|node| node.0 != 0)
    };
    (0..count).filter_map(node).collect()
}

/// `_mapcount` of the first page on a list, if it looks like one.
fn first_block(kernel: &Kernel, places: Places, head: Gva, order: u64) -> Option<u32> {
    let word = kernel.word_len();
    let next = kernel.read_pointer(head, "a list of free pages").ok()?;
    let back = Gva(next.0.wrapping_add(word));
    let is_linked = next != head && kernel.read_pointer(back, "its first entry").ok()? == head;
    let page = next.0.wrapping_sub(places.list);
    let read = |at: u64, len| kernel.read_uint(Gva(page.wrapping_add(at)), len, "a free page").ok();
    let is_of_list = is_linked && read(places.private, word)? == order;
    let count = is_of_list.then(|| read(places.mapcount, 4)).flatten()?;
    u32::try_from(count).ok()
}
