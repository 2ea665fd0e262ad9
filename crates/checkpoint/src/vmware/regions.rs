//! Which part of the memory image lies where in guest physical memory.
//!
//! Source: the region tags as all public readers use them; the fallback without
//! tags is what published maps of machines with more than 3 GiB show. Regions
//! may come in any order and number. Page numbers of the image are total, not
//! relative to the region before (crash's reader subtracts holes cumulatively,
//! which is right for at most two regions).

use std::collections::BTreeMap;
use std::ops::Range;

use vmss2core_mem::{PAGE_SIZE, Problem};

use super::problems::Problems;
use crate::inventory::{Inventory, Item};

/// No processor addresses more than 52 bits of physical memory.
pub(super) const MAX_END: u64 = 1 << 52;

/// A run of guest physical memory that the image holds back to back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VmwareRegion {
    /// Number of the region in the file.
    pub(super) index: u32,
    /// First guest physical address.
    pub(super) start: u64,
    /// Offset of its first byte in the image.
    pub(super) image_offset: u64,
    /// Length in bytes, never 0.
    pub(super) len: u64,
}

/// Bytes that the image needs to hold all regions.
pub(super) fn image_len(regions: &[VmwareRegion]) -> u64 {
    regions.iter().map(|r| r.image_offset.saturating_add(r.len)).max().unwrap_or_default()
}

/// Numbers of one region as tagged.
#[derive(Clone, Copy, Default)]
struct Tags {
    ppn: Option<u64>,
    page_num: Option<u64>,
    size: Option<u64>,
}

/// The regions that the state file names, in order of their numbers.
pub(super) fn tagged(inventory: &Inventory, problems: &mut Problems) -> Vec<VmwareRegion> {
    let all = collect(inventory);
    let count = inventory.find("memory", "regionsCount", &[]).and_then(Item::number);
    let tags = counted(all, count, problems);
    let mut regions = Vec::new();
    let mut pages_before = 0_u64;
    for (index, tags) in tags {
        let pages = tags.size.unwrap_or_default();
        let page_num = tags.page_num.unwrap_or(pages_before);
        pages_before = pages_before.saturating_add(pages);
        match region(index, tags, page_num) {
            Ok(region) => regions.extend(region),
            Err(why) => problems
                .push(Problem::incomplete(format!("memory region {index} is left out: {why}"))),
        }
    }
    regions
}

fn collect(inventory: &Inventory) -> BTreeMap<u32, Tags> {
    let mut all = BTreeMap::<u32, Tags>::new();
    for item in inventory.group("memory") {
        let (&[index], Some(number)) = (item.indices.as_slice(), item.number()) else { continue };
        let field: fn(&mut Tags) -> &mut Option<u64> = match item.name.as_str() {
            "regionPPN" => |tags| &mut tags.ppn,
            "regionPageNum" => |tags| &mut tags.page_num,
            "regionSize" => |tags| &mut tags.size,
            _ => continue,
        };
        field(all.entry(index).or_default()).get_or_insert(number);
    }
    all
}

/// Drops what the count excludes. Without a count, or with 0, all are taken.
fn counted(
    all: BTreeMap<u32, Tags>,
    count: Option<u64>,
    problems: &mut Problems,
) -> BTreeMap<u32, Tags> {
    let Some(count) = count.filter(|&count| count != 0) else { return all };
    let found = all.len();
    let (used, extra): (BTreeMap<_, _>, BTreeMap<_, _>) =
        all.into_iter().partition(|(index, _)| u64::from(*index) < count);
    if (used.len() as u64) < count {
        problems.push(Problem::warning(format!(
            "the state file announces {count} memory regions, but names {found}"
        )));
    }
    if extra.values().any(|tags| tags.size.is_some_and(|size| size != 0)) {
        problems.push(Problem::warning(format!(
            "the state file announces {count} memory regions; {} beyond that are left out",
            extra.len()
        )));
    }
    used
}

fn region(index: u32, tags: Tags, page_num: u64) -> Result<Option<VmwareRegion>, String> {
    let pages = tags.size.ok_or("its size is missing")?;
    if pages == 0 {
        return Ok(None);
    }
    let ppn = match tags.ppn {
        None if index != 0 => return Err("its address is missing".to_owned()),
        ppn => ppn.unwrap_or_default(),
    };
    let len = pages.checked_mul(PAGE_SIZE);
    let in_bytes = |first: u64| {
        let start = first.checked_mul(PAGE_SIZE)?;
        (start.checked_add(len?)? <= MAX_END).then_some(start)
    };
    let (Some(len), Some(start), Some(image_offset)) = (len, in_bytes(ppn), in_bytes(page_num))
    else {
        return Err(format!(
            "page {ppn:#x}, image page {page_num:#x} and {pages:#x} pages are out of range"
        ));
    };
    Ok(Some(VmwareRegion { index, start, image_offset, len }))
}

/// How RAM is laid out where no tags say it.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The first address.
    pub(super) start: u64,
    /// Left out, if RAM reaches so far.
    pub(super) hole: Option<Hole>,
}

/// A part of the address space without RAM.
#[derive(Clone, Debug)]
pub(super) struct Hole {
    pub(super) range: Range<u64>,
    /// Why it is taken to be there, in words.
    pub(super) source: &'static str,
}

/// The regions of a file without region tags.
pub(super) fn untagged(len: u64, layout: Layout, problems: &mut Problems) -> Vec<VmwareRegion> {
    let region = |index, start, image_offset, len| VmwareRegion { index, start, image_offset, len };
    // More cannot be addressed, whatever a file claims.
    let len = len.min(MAX_END / 2) & !(PAGE_SIZE - 1);
    let Layout { start, hole } = layout;
    let below = |hole: &Hole| hole.range.start.saturating_sub(start);
    let Some(Hole { range: hole, source }) = hole.filter(|hole| len > below(hole)) else {
        return vec![region(0, start, 0, len)];
    };
    problems.push(Problem::warning(format!(
        "no memory map in the state file: the hole is taken to be {source}, {:#x}..{:#x}",
        hole.start, hole.end
    )));
    let below = hole.start.saturating_sub(start);
    vec![region(0, start, 0, below), region(1, hole.end, below, len.saturating_sub(below))]
        .into_iter()
        .filter(|region| region.len != 0)
        .collect()
}
