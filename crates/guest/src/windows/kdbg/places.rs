//! Where a kernel's data is looked for.

use std::ops::{ControlFlow, Range};

use vmss2core_machine::paging::Limits;
use vmss2core_mem::Gva;

use super::super::image::{MAX_LEN, kernel_range};
use super::super::view::{View, left_in_page};
use super::super::{KernelImage, Section, pe};

/// Bytes looked at together, and how much of the next are with them.
const CHUNK: usize = 1 << 20;
const CHUNK_LEN: u64 = CHUNK as u64 + 0x600;
/// Most data looked at where the kernel is not known.
const MAX_UNKNOWN: u64 = 256 << 20;

/// A run of virtual memory; not all of it need be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: Gva,
    pub(super) len: u64,
}

impl Place {
    fn end(&self) -> Option<Gva> {
        self.start.checked_add(self.len)
    }
}

/// Where the block may be, the likeliest first: in the data of the image, in its
/// constants; in all that is mapped to be written if nothing is known.
pub(super) fn tiers(view: &View, image: Option<&KernelImage>) -> Vec<Vec<Place>> {
    let Some(image) = image else {
        return vec![mapped(view, kernel_range(view), MAX_UNKNOWN)];
    };
    let constants =
        sections(image, |flags| flags & (pe::WRITE | pe::EXECUTE | pe::DISCARDABLE) == 0);
    vec![variables(view, Some(image), image.base), constants]
}

/// The variables of the kernel at `base`.
pub(super) fn variables(view: &View, image: Option<&KernelImage>, base: Gva) -> Vec<Place> {
    let writable = |flags| flags & (pe::WRITE | pe::EXECUTE) == pe::WRITE;
    match image {
        Some(image) if !image.sections.is_empty() => sections(image, writable),
        _ => mapped(view, base.0..base.0.saturating_add(MAX_LEN), MAX_LEN),
    }
}

/// Sections with such characteristics, as far as they lie in the image, which
/// together are no longer than the longest kernel.
fn sections(image: &KernelImage, wanted: impl Fn(u32) -> bool) -> Vec<Place> {
    let mut left = MAX_LEN;
    let chosen = image.sections.iter().filter(|section| wanted(section.characteristics));
    chosen
        .filter_map(|section| {
            let place = place(image, section)?;
            left = left.checked_sub(place.len)?;
            Some(place)
        })
        .collect()
}

fn place(image: &KernelImage, section: &Section) -> Option<Place> {
    let room = image.size_bytes.checked_sub(section.rva)?;
    let start = image.base.checked_add(section.rva.into())?;
    Some(Place { start, len: section.size_bytes.min(room).into() })
}

/// Runs of a range that are mapped to be written, up to `most` bytes in all.
fn mapped(view: &View, range: Range<u64>, most: u64) -> Vec<Place> {
    let (mut places, mut left): (Vec<Place>, u64) = (Vec::new(), most);
    let limits = Limits::default();
    view.space().walk_range(range.clone(), &limits, &mut |leaf| {
        // A large page may begin before the range.
        let start = leaf.gva.0.max(range.start);
        let end = leaf.gva.0.saturating_add(leaf.len_bytes()).min(range.end);
        let len = end.saturating_sub(start).min(left);
        if leaf.permissions.write && len != 0 {
            left = left.saturating_sub(len);
            match places.last_mut() {
                Some(last) if last.end() == Some(Gva(start)) => {
                    last.len = last.len.saturating_add(len);
                }
                _ => places.push(Place { start: Gva(start), len }),
            }
        }
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    places
}

/// Shows the memory of `places` to `visit` until that finds something. What is
/// not there is zero.
pub(super) fn search<T>(
    view: &View,
    places: &[Place],
    visit: &mut dyn FnMut(Gva, &[u8]) -> Option<T>,
) -> Option<T> {
    places.iter().find_map(|place| {
        (0..place.len).step_by(CHUNK).find_map(|skip| {
            let start = place.start.checked_add(skip)?;
            let len = place.len.saturating_sub(skip).min(CHUNK_LEN);
            visit(start, &filled(view, start, len))
        })
    })
}

/// `len` bytes, at most a chunk, absent pages as zero.
fn filled(view: &View, start: Gva, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    let (mut at, mut rest) = (start, bytes.as_mut_slice());
    while !rest.is_empty() {
        let (page, tail) = rest.split_at_mut(left_in_page(at).min(rest.len()));
        if view.read(at, page).is_err() {
            page.fill(0);
        }
        at = Gva(at.0.wrapping_add(page.len() as u64));
        rest = tail;
    }
    bytes
}
