//! Which mapped memory becomes a segment of its own, and which is copied.
//!
//! Mapping everything once per mapping, as the original did, makes a core of
//! twice the guest's memory: the direct map has it all already. So segments
//! point at one image of physical memory, several at the same bytes where the
//! guest does that. Debuggers do not mind, but two limits of theirs decide the
//! rest (measured with gdb 13 and lldb 19):
//!
//! * lldb reads a value only within one segment, so short runs that follow each
//!   other in virtual addresses are copied together after the image;
//! * gdb searches all segments for every access, so their number should stay
//!   below 10,000, and above 100,000 it is no use.

use std::ops::Range;

use vmss2core_machine::paging::{Leaf, Permissions};
use vmss2core_mem::{Gpa, PAGE_SIZE};

use super::segments::{Access, Body, Load};
use crate::DumpError;

/// A run this long gets its own segment.
const LONG_RUN_BYTES: u64 = 64 * 1024;

/// Segments that share one image of memory. What is copied besides, the
/// `header_bytes` of a segment for each leaf included, stays within a hundredth
/// of `ram_bytes`.
pub(super) fn shared(
    leaves: &[Leaf],
    ram_bytes: u64,
    header_bytes: u64,
) -> Result<Body, DumpError> {
    let budget = (ram_bytes / 100).saturating_sub(header_bytes);
    let copied = choose_copied(leaves, budget);
    let mut body = Body::default();
    let image = Image::append(&mut body, &direct_ranges(leaves, &copied))?;
    let mut at = 0;
    for group in &copied {
        push_direct(&mut body, &image, leaves.get(at..group.start).unwrap_or_default())?;
        push_copied(&mut body, leaves.get(group.clone()).unwrap_or_default())?;
        at = group.end;
    }
    push_direct(&mut body, &image, leaves.get(at..).unwrap_or_default())?;
    Ok(body)
}

/// Every range of virtual addresses as one segment with its own bytes.
pub(super) fn unshared(leaves: &[Leaf]) -> Result<Body, DumpError> {
    let mut body = Body::default();
    for range in leaves.chunk_by(adjacent) {
        push_copied(&mut body, range)?;
    }
    Ok(body)
}

/// Whether `next` begins where `leaf` ends.
fn adjacent(leaf: &Leaf, next: &Leaf) -> bool {
    leaf.gva.checked_add(leaf.len_bytes()) == Some(next.gva)
}

/// Groups of leaves to copy, as index ranges in order. Those that save the most
/// segments per byte come first, until the budget is spent.
fn choose_copied(leaves: &[Leaf], budget: u64) -> Vec<Range<usize>> {
    let mut groups = short_groups(leaves);
    groups.sort_by_key(|group| bytes_per_saved_segment(leaves, group));
    let mut left = budget;
    let mut chosen: Vec<Range<usize>> = groups
        .into_iter()
        .filter_map(|group| {
            let prefix = affordable(leaves, group, left)?;
            left = left.saturating_sub(len_bytes(leaves, &prefix));
            Some(prefix)
        })
        .collect();
    chosen.sort_by_key(|group| group.start);
    chosen
}

/// Two or more short runs that follow each other. One alone has no neighbour
/// that it could be joined to.
fn short_groups(leaves: &[Leaf]) -> Vec<Range<usize>> {
    let is_short = |leaf: &Leaf| leaf.len_bytes() < LONG_RUN_BYTES;
    let mut start = 0_usize;
    leaves
        .chunk_by(|leaf, next| is_short(leaf) && is_short(next) && adjacent(leaf, next))
        .filter_map(|group| {
            let range = start..start.saturating_add(group.len());
            start = range.end;
            (group.len() > 1).then_some(range)
        })
        .collect()
}

fn bytes_per_saved_segment(leaves: &[Leaf], group: &Range<usize>) -> u64 {
    let saved = group.len().saturating_sub(1).max(1);
    len_bytes(leaves, group).checked_div(u64::try_from(saved).unwrap_or(u64::MAX)).unwrap_or(0)
}

fn len_bytes(leaves: &[Leaf], group: &Range<usize>) -> u64 {
    leaves
        .get(group.clone())
        .unwrap_or_default()
        .iter()
        .map(Leaf::len_bytes)
        .fold(0, u64::saturating_add)
}

/// The first leaves of a group that cost at most `budget`, if they are worth it.
fn affordable(leaves: &[Leaf], group: Range<usize>, budget: u64) -> Option<Range<usize>> {
    let mut spent = 0_u64;
    let count = leaves
        .get(group.clone())?
        .iter()
        .take_while(|leaf| {
            spent = spent.saturating_add(leaf.len_bytes());
            spent <= budget
        })
        .count();
    (count > 1).then_some(group.start..group.start.saturating_add(count))
}

/// Physical ranges of all leaves that are not copied, sorted and joined.
fn direct_ranges(leaves: &[Leaf], copied: &[Range<usize>]) -> Vec<Range<u64>> {
    let mut skip = copied.iter().peekable();
    let mut ranges: Vec<Range<u64>> = leaves
        .iter()
        .enumerate()
        .filter(|(index, _)| {
            while skip.next_if(|group| group.end <= *index).is_some() {}
            skip.peek().is_none_or(|group| *index < group.start)
        })
        .map(|(_, leaf)| leaf.gpa.0..leaf.gpa.0.saturating_add(leaf.len_bytes()))
        .collect();
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// The image of physical memory in the file.
struct Image {
    /// Physical ranges, each with where it lies in the file.
    parts: Vec<(Range<u64>, u64)>,
}

impl Image {
    fn append(body: &mut Body, ranges: &[Range<u64>]) -> Result<Self, DumpError> {
        let parts: Result<_, DumpError> = ranges
            .iter()
            .map(|range| {
                let offset =
                    body.append(Gpa(range.start), range.end.saturating_sub(range.start))?;
                Ok((range.clone(), offset))
            })
            .collect();
        Ok(Self { parts: parts? })
    }

    fn offset_of(&self, gpa: Gpa) -> Option<u64> {
        let at = self.parts.partition_point(|(range, _)| range.end <= gpa.0);
        let (range, offset) = self.parts.get(at)?;
        Some(offset.saturating_add(gpa.0.checked_sub(range.start)?))
    }
}

fn push_direct(body: &mut Body, image: &Image, leaves: &[Leaf]) -> Result<(), DumpError> {
    for leaf in leaves {
        // The image was made of these very leaves.
        let offset = image.offset_of(leaf.gpa).ok_or(DumpError::TooLarge)?;
        body.loads.push(Load {
            vaddr: leaf.gva.0,
            paddr: leaf.gpa.0,
            offset,
            len_bytes: leaf.len_bytes(),
            access: access(leaf.permissions),
        });
    }
    Ok(())
}

/// One segment with the bytes of adjacent leaves; its rights are all of theirs.
fn push_copied(body: &mut Body, leaves: &[Leaf]) -> Result<(), DumpError> {
    let Some((first, rest)) = leaves.split_first() else {
        return Ok(());
    };
    let start = body.append(first.gpa, first.len_bytes())?;
    let mut access = access(first.permissions);
    for leaf in rest {
        body.append(leaf.gpa, leaf.len_bytes())?;
        access.write |= leaf.permissions.write;
        access.execute |= leaf.permissions.execute;
    }
    // A mixture has no physical address.
    let paddr = if rest.is_empty() { first.gpa.0 } else { 0 };
    let len_bytes = body.len_bytes.saturating_sub(start);
    body.loads.push(Load { vaddr: first.gva.0, paddr, offset: start, len_bytes, access });
    Ok(())
}

fn access(permissions: Permissions) -> Access {
    Access { write: permissions.write, execute: permissions.execute }
}

const _: () = assert!(LONG_RUN_BYTES.is_multiple_of(PAGE_SIZE));

#[cfg(test)]
mod tests {
    use vmss2core_mem::Gva;

    use super::*;

    const READ: Permissions = Permissions { write: false, user: false, execute: false };
    const RAM: u64 = 64 << 20;

    fn leaf(gva: u64, gpa: u64, pages: u32) -> Leaf {
        Leaf { gva: Gva(gva), gpa: Gpa(gpa), pages, permissions: READ }
    }

    /// Bytes that the headers of an ELF core take.
    fn header_bytes(segments: usize) -> u64 {
        (64 + 56 * (segments as u64 + 1)).next_multiple_of(64 << 10)
    }

    fn file_of(body: &Body, load: &Load) -> Vec<u64> {
        // The physical page of each page of the segment.
        let pages = (load.offset..load.offset + load.len_bytes).step_by(4096);
        pages
            .map(|at| {
                let extent = body
                    .extents
                    .iter()
                    .find(|e| e.offset <= at && at < e.offset + e.len_bytes)
                    .unwrap();
                extent.gpa.0 + (at - extent.offset)
            })
            .collect()
    }

    #[test]
    fn scattered_neighbours_become_one_segment() {
        let leaves = [leaf(0x1000, 0x9000, 1), leaf(0x2000, 0x5000, 1), leaf(0x3000, 0x7000, 1)];
        let body = shared(&leaves, RAM, header_bytes(leaves.len())).unwrap();
        assert_eq!(body.loads.len(), 1);
        let load = body.loads[0];
        assert_eq!((load.vaddr, load.paddr, load.len_bytes), (0x1000, 0, 0x3000));
        assert_eq!(file_of(&body, &load), [0x9000, 0x5000, 0x7000]);
    }

    #[test]
    fn aliases_share_their_bytes() {
        let leaves = [
            leaf(0x10_0000, 0x20_0000, 16),
            leaf(0x40_0000, 0x20_4000, 1),
            leaf(0xffff_8000_0000_0000, 0, 0x1000),
        ];
        let body = shared(&leaves, RAM, header_bytes(leaves.len())).unwrap();
        assert_eq!(body.loads.len(), 3);
        assert_eq!(body.len_bytes, 0x1000 * 4096);
        assert_eq!(body.loads[1].offset, 0x20_4000);
        assert_eq!(body.loads[1].paddr, 0x20_4000);
    }

    #[test]
    fn long_runs_keep_short_neighbours_apart() {
        let leaves = [
            leaf(0, 0x100_0000, 2),
            leaf(0x2000, 0x200_0000, 2),
            leaf(0x4000, 0x300_0000, 16),
            leaf(0x1_4000, 0x400_0000, 1),
        ];
        let body = shared(&leaves, RAM, header_bytes(leaves.len())).unwrap();
        let starts: Vec<u64> = body.loads.iter().map(|load| load.vaddr).collect();
        assert_eq!(starts, [0, 0x4000, 0x1_4000]);
        assert_eq!(file_of(&body, &body.loads[2]), [0x400_0000]);
    }

    #[test]
    fn copies_end_with_the_budget() {
        // 10,000 pages, every one apart from its neighbour in physical memory.
        let leaves: Vec<Leaf> =
            (0..10_000).map(|n| leaf(n * 0x1000, (9_999 - n) * 0x1000, 1)).collect();
        let ram = 10_000 * 4096;
        let body = shared(&leaves, ram, header_bytes(leaves.len())).unwrap();
        let headers = header_bytes(body.loads.len());
        // Headers of so many segments cost more than the hundredth alone.
        assert!(body.len_bytes <= ram + 4096, "{}", body.len_bytes);
        assert!(headers < ram * 15 / 1000, "{headers}");

        let ram = 100 * ram;
        let body = shared(&leaves, ram, header_bytes(leaves.len())).unwrap();
        let headers = header_bytes(body.loads.len());
        assert!(body.len_bytes + headers <= 10_000 * 4096 + ram / 100);
        assert!(body.loads.len() < 1_000, "{}", body.loads.len());
        for load in &body.loads {
            for (page, gpa) in (load.vaddr / 4096..).zip(file_of(&body, load)) {
                assert_eq!(gpa, (9_999 - page) * 0x1000);
            }
        }
    }

    #[test]
    fn rights_of_a_mixture_are_all_of_its_parts() {
        let mut leaves = [leaf(0x1000, 0x9000, 1), leaf(0x2000, 0x5000, 1)];
        leaves[1].permissions.execute = true;
        let body = shared(&leaves, RAM, header_bytes(leaves.len())).unwrap();
        assert_eq!(body.loads[0].access, Access { write: false, execute: true });
    }

    #[test]
    fn unshared_repeats_aliases() {
        let leaves = [leaf(0x1000, 0x9000, 1), leaf(0x2000, 0x9000, 1), leaf(0x8000, 0x9000, 32)];
        let body = unshared(&leaves).unwrap();
        assert_eq!(body.loads.len(), 2);
        assert_eq!(body.len_bytes, 34 * 4096);
    }

    #[test]
    fn the_last_page_is_no_neighbour_of_the_first() {
        let leaves = [leaf(0, 0x1000, 1), leaf(u64::MAX - 4095, 0x5000, 1)];
        let body = shared(&leaves, RAM, header_bytes(leaves.len())).unwrap();
        assert_eq!(body.loads.len(), 2);
    }
}
