//! The memory image and the tags that say which part of it is where.

use std::io::Write;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::contents::Contents;
use super::emit::{Block, Group, Item};
use super::fastlz::{CONTAINER_BLOCK, Level, container_block};
use super::machine::{Machine, MemoryRange};
use super::shape::{Extra, Packing, Placement, RegionTags, Regions, Shape};

const PAGE: u64 = 4096;

/// The image's bytes and what region tags say of it.
pub(super) struct Image {
    /// Flat, in image order.
    pub(super) flat: Contents,
    /// As it goes into a file.
    pub(super) packed: Contents,
    regions: Vec<Region>,
}

struct Region {
    range: MemoryRange,
    image_page: u64,
}

impl Image {
    pub(super) fn new(machine: &Machine, shape: &Shape) -> Result<Self> {
        let (flat, regions) = arrange(machine, shape.regions);
        let packed = match shape.packing {
            Packing::Plain | Packing::StoredAsCompressed => flat.clone(),
            Packing::FastLz(level) => containers(&flat, level)?,
            Packing::Zlib => zlib(&flat)?,
        };
        Ok(Self { flat, packed, regions })
    }
}

/// Cuts regions, puts them in order of the image, and then of the tags.
fn arrange(machine: &Machine, layout: Regions) -> (Contents, Vec<Region>) {
    let mut ranges = machine.memory.clone();
    for _ in 0..layout.cuts {
        cut_largest(&mut ranges);
    }
    layout.in_image.apply(&mut ranges);
    let mut flat = Contents::default();
    let mut regions = Vec::new();
    for range in ranges {
        regions.push(Region { range, image_page: flat.len() / PAGE });
        flat.push(&machine.ram.slice(range.offset, range.len));
    }
    regions.sort_by_key(|region| region.range.gpa);
    layout.in_tags.apply(&mut regions);
    (flat, regions)
}

/// Unequal parts, so that swapping two of them cannot go unnoticed.
fn cut_largest(ranges: &mut Vec<MemoryRange>) {
    let Some((at, range)) = ranges.iter_mut().enumerate().max_by_key(|(_, range)| range.len) else {
        return;
    };
    let first = range.len / PAGE / 3 * PAGE;
    let (gpa, offset) = (range.gpa + first, range.offset + first);
    let second = MemoryRange { gpa, offset, len: range.len - first };
    range.len = first;
    ranges.insert(at + 1, second);
}

fn containers(flat: &Contents, level: Level) -> Result<Contents> {
    let zero_block = container_block(&vec![0; CONTAINER_BLOCK], level);
    let mut out = Contents::default();
    let mut at = 0;
    while at < flat.len() {
        let len = (flat.len() - at).min(CONTAINER_BLOCK as u64);
        if len == CONTAINER_BLOCK as u64 && !flat.has_data(at, len)? {
            out.push_bytes(&zero_block);
        } else {
            out.push_bytes(&container_block(&flat.slice(at, len).bytes()?, level));
        }
        at += len;
    }
    Ok(out)
}

fn zlib(flat: &Contents) -> Result<Contents> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    copy(flat, &mut encoder)?;
    Ok(encoder.finish()?.into())
}

/// Streams contents into `out`.
pub(super) fn copy(contents: &Contents, out: &mut dyn Write) -> Result<()> {
    let mut buf = vec![0; 1 << 20];
    let mut at = 0;
    while at < contents.len() {
        let len = usize::try_from(contents.len() - at)?.min(buf.len());
        let chunk = buf.get_mut(..len).context("chunk longer than its buffer")?;
        contents.read(at, chunk)?;
        out.write_all(chunk)?;
        at += len as u64;
    }
    Ok(())
}

/// The `memory` group. Region tags come first: there are readers that know no
/// other order.
pub(super) fn group(image: &Image, shape: &Shape) -> Result<Group> {
    let mut items = vec![Item::word("align_mask", &[0, 0], shape.alignment - 1)];
    region_tags(&mut items, &image.regions, shape.region_tags)?;
    if shape.has(Extra::Bitmaps) {
        bitmaps(&mut items, &image.flat)?;
    }
    if shape.placement == Placement::Monolithic {
        items.push(memory_block(image, shape));
    }
    Ok(Group::new("memory", items))
}

fn memory_block(image: &Image, shape: &Shape) -> Item {
    let block = Block {
        kind: if shape.packing == Packing::Plain { 63 } else { 62 },
        len_in_memory: image.flat.len(),
        alignment: shape.alignment.into(),
        data: image.packed.clone(),
    };
    Item::block("Memory", &[0, 0], block)
}

fn region_tags(items: &mut Vec<Item>, regions: &[Region], tags: RegionTags) -> Result<()> {
    match tags {
        RegionTags::Absent => return Ok(()),
        RegionTags::CountZero => {
            items.push(Item::word("regionsCount", &[], 0));
            return Ok(());
        }
        RegionTags::Full => {}
    }
    items.push(Item::word("regionsCount", &[], u32::try_from(regions.len())?));
    for (index, region) in (0..).zip(regions) {
        let ppn = u32::try_from(region.range.gpa / PAGE)?;
        items.push(Item::word("regionPPN", &[index], ppn));
        items.push(Item::word("regionPageNum", &[index], u32::try_from(region.image_page)?));
        let pages = u32::try_from(region.range.len / PAGE)?;
        items.push(Item::word("regionSize", &[index], pages));
    }
    Ok(())
}

/// The `MemoryHotplug` group: slots with memory, and one that has room for more.
pub(super) fn slots(machine: &Machine) -> Result<Group> {
    const VIDEO: u64 = 0xa_0000;
    const ABOVE_VIDEO: u64 = 0x10_0000;
    let mut slots = Vec::new();
    for range in &machine.memory {
        let end = range.gpa + range.len;
        if range.gpa < VIDEO && end > ABOVE_VIDEO {
            slots.extend([(range.gpa, VIDEO, 1), (ABOVE_VIDEO, end, 1)]);
        } else {
            slots.push((range.gpa, end, 1));
        }
    }
    let end = slots.last().map_or(0, |(_, end, _)| *end).max(4 << 30);
    slots.push((end, end + (8 << 30), 0));
    let mut items = Vec::new();
    for (index, (base, end, present)) in (0..).zip(&slots) {
        items.push(Item::quad("base", &[index], *base));
        items.push(Item::quad("end", &[index], *end));
        items.push(Item::inline("present", &[index], &[*present]));
    }
    items.push(Item::word("entries", &[], u32::try_from(slots.len())?));
    Ok(Group::new("MemoryHotplug", items))
}

fn bitmaps(items: &mut Vec<Item>, flat: &Contents) -> Result<()> {
    let mut zero = vec![0_u8; usize::try_from(flat.len() / PAGE)?.div_ceil(8)];
    let mut page = [0; 4096];
    for number in 0..flat.len() / PAGE {
        flat.read(number * PAGE, &mut page)?;
        if page.iter().all(|byte| *byte == 0) {
            let byte = zero.get_mut(usize::try_from(number / 8)?).context("page outside bitmap")?;
            *byte |= 1 << (number % 8);
        }
    }
    let hot = vec![0x55; zero.len()];
    items.push(Item::plain_block("MainMemKnownZero", &[], zero));
    items.push(Item::plain_block("hotSet", &[], hot));
    Ok(())
}
