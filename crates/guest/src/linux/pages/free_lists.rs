//! The mark of a free page, as the pages on the kernel's own lists have it.
//!
//! `include/linux/mmzone.h`: each node has zones, each zone a list of blocks for
//! each power of two and kind of use. Kernels from 4.18 to 6.10 say the value
//! nowhere but in VMCOREINFO.

use vmss2core_mem::Gva;

use crate::linux::Kernel;

/// Most zones of a node that are looked at; there are up to six.
const MOST_ZONES: u64 = 8;
/// Most lists of a zone: eleven sizes of six kinds.
const MOST_LISTS: u64 = 128;
/// Fewest blocks that must say the same.
const FEWEST: u32 = 3;

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
    let lists = Lists::of(kernel)?;
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

impl Lists {
    /// Those of the first node.
    fn of(kernel: &Kernel) -> Option<Self> {
        let layout = kernel.layout();
        let node = first_node(kernel)?;
        let zones = layout.place("pglist_data", "node_zones")?;
        let areas = layout.place("zone", "free_area")?;
        let heads = layout.place("free_area", "free_list")?;
        let area_len = layout.size_of("free_area")?.value.max(1);
        let first = node.0.wrapping_add(zones.offset_bytes).wrapping_add(areas.offset_bytes);
        Some(Self {
            first: Gva(first),
            zone_len: layout.size_of("zone")?.value,
            area_len,
            areas: areas.size_bytes?.checked_div(area_len).unwrap_or(0),
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
fn first_node(kernel: &Kernel) -> Option<Gva> {
    match kernel.symbol("node_data") {
        Ok(table) => kernel.read_pointer(table.value, "the first node").ok(),
        Err(_) => Some(kernel.symbol("contig_page_data").ok()?.value),
    }
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
