//! Group `MemoryHotplug`: the machine's memory slots, which are a map of its RAM
//! that does not depend on the region tags.
//!
//! Source: a file of 2022: `base`, `end` (in bytes) and `present` by slot; slots
//! that are not present are room for memory to come.

use std::collections::BTreeMap;
use std::ops::Range;

use vmss2core_mem::{PAGE_SIZE, Problem};

use super::problems::Problems;
use super::regions::VmwareRegion;
use crate::inventory::Inventory;

/// Between these the machine has video memory and firmware; the memory image has
/// bytes for it all the same.
const LEGACY_HOLE: Range<u64> = 0xa_0000..0x10_0000;
/// No processor addresses more.
const MAX_END: u64 = 1 << 52;
/// Slots that are looked at; the real file has five.
const MAX_SLOTS: usize = 4096;
/// Ranges that a message lists.
const MAX_LISTED: usize = 4;

#[derive(Default)]
struct Slot {
    base: Option<u64>,
    end: Option<u64>,
    present: Option<u64>,
}

/// The ranges that the image has bytes for, in order; empty if the file does not
/// say it, or nothing that makes sense.
pub(super) fn ram(inventory: &Inventory) -> Vec<Range<u64>> {
    let mut slots = BTreeMap::<u32, Slot>::new();
    for item in inventory.group("MemoryHotplug") {
        let (&[index], Some(number)) = (item.indices.as_slice(), item.number()) else { continue };
        if slots.len() >= MAX_SLOTS && !slots.contains_key(&index) {
            break;
        }
        let slot = slots.entry(index).or_default();
        match item.name.as_str() {
            "base" => slot.base.get_or_insert(number),
            "end" => slot.end.get_or_insert(number),
            "present" => slot.present.get_or_insert(number),
            _ => continue,
        };
    }
    let present = slots.into_values().filter(|slot| slot.present.is_some_and(|n| n != 0));
    let ranges: Option<Vec<_>> = present.map(|slot| range(&slot)).collect();
    joined(ranges.unwrap_or_default())
}

fn range(slot: &Slot) -> Option<Range<u64>> {
    let range = slot.base?..slot.end?;
    let whole_pages = [range.start, range.end].iter().all(|at| at.is_multiple_of(PAGE_SIZE));
    (whole_pages && !range.is_empty() && range.end <= MAX_END).then_some(range)
}

/// In order, those that touch as one, the legacy hole filled. Empty if two
/// overlap.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut all: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last) if range.start < last.end => return Vec::new(),
            Some(last) if range.start == last.end || (last.end..range.start) == LEGACY_HOLE => {
                last.end = range.end;
            }
            _ => all.push(range),
        }
    }
    all
}

fn len(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// Bytes of all ranges.
pub(super) fn len_bytes(ram: &[Range<u64>]) -> u64 {
    ram.iter().map(len).fold(0, u64::saturating_add)
}

/// The ranges one after the other in the image.
pub(super) fn regions(ram: &[Range<u64>]) -> Vec<VmwareRegion> {
    let mut image_offset = 0_u64;
    (0..)
        .zip(ram)
        .map(|(index, range)| {
            let len = len(range);
            let region = VmwareRegion { index, start: range.start, image_offset, len };
            image_offset = image_offset.saturating_add(len);
            region
        })
        .collect()
}

/// Two maps of one memory: where they differ one of them is wrong.
pub(super) fn check(ram: &[Range<u64>], regions: &[VmwareRegion], problems: &mut Problems) {
    if ram.is_empty() {
        return;
    }
    let in_regions =
        joined(regions.iter().map(|r| r.start..r.start.saturating_add(r.len)).collect());
    // Regions that overlap are told of elsewhere.
    if in_regions.is_empty() || in_regions == ram {
        return;
    }
    problems.push(Problem::warning(format!(
        "two maps of the memory differ: its regions are {}, its slots (MemoryHotplug) {}; the \
         regions are used",
        listed(&in_regions),
        listed(ram)
    )));
}

fn listed(ranges: &[Range<u64>]) -> String {
    let mut texts: Vec<String> = ranges
        .iter()
        .take(MAX_LISTED)
        .map(|range| format!("{:#x}..{:#x}", range.start, range.end))
        .collect();
    if ranges.len() > MAX_LISTED {
        texts.push("and more".to_owned());
    }
    texts.join(", ")
}
