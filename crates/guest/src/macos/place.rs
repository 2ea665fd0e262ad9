//! Where the kernel's image lies: the Mach-O header that lies where it says.
//!
//! The boot loader moves the load commands along with a 64-bit kernel and maps its
//! image at a fixed distance from physical memory. A copy of the kernel's file lies
//! elsewhere and says other addresses.

use std::ops::ControlFlow;

use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory};

use super::macho::{FILESET, Image, START_LEN, Start};
use super::version::{self, DarwinVersion};
use super::{KernelImage, Segment};
use crate::scan;

/// Where a 64-bit kernel maps physical 0 (`VM_MIN_KERNEL_ADDRESS`).
pub(super) const BASE: u64 = 0xffff_ff80_0000_0000;
/// The mapping of the image reaches so far (`static` mappings of the boot loader).
pub(super) const STATIC_LEN: u64 = 4 << 30;
/// Where `__TEXT` of a kernel lies that was not moved.
pub(super) const LINKED: u64 = 0x20_0000;
/// By what kernels are moved.
pub(super) const STEP: u64 = 0x20_0000;
/// How many places there are.
const PLACES: u64 = 256;
/// How many headers are read at most where everything may look like one.
const MAX_HEADERS: u32 = 4096;
/// Longest image that is searched; kernels have 16 to 100 MiB.
const MAX_IMAGE: u64 = 256 << 20;

/// The kernel where it may be without looking at all of memory.
pub(super) fn quickly(memory: &PhysicalMemory) -> Option<Found<KernelImage>> {
    let steps = (0..PLACES).map(|place| LINKED.saturating_add(place.saturating_mul(STEP)));
    let here = |gpa| at(memory, gpa).or_else(|| in_collection(memory, gpa));
    Some(found(steps.map(Gpa).find_map(here)?))
}

/// A 32-bit kernel, which lies in the first 3 MiB.
pub(super) fn narrow(memory: &PhysicalMemory) -> Option<Found<KernelImage>> {
    let pages = (0x100..0x300_u64).map(|page| Gpa(page.saturating_mul(0x1000)));
    pages.map(|gpa| (gpa, header(memory, gpa))).find_map(|(gpa, header)| {
        let (start, image) = header?;
        let text = image.segment("__TEXT")?.start;
        let is_there = !start.is_64_bit && text.0 == gpa.0;
        is_there.then(|| found(kernel(gpa, text, image)))
    })
}

/// Findings of reading all of memory below 4 GiB.
#[derive(Debug, Default)]
pub(super) struct Everywhere {
    /// The kernel's image.
    pub(super) image: Option<Found<KernelImage>>,
    /// The text that tells most, if there is no image.
    pub(super) version: Option<Found<DarwinVersion>>,
    headers_read: u32,
}

/// Looks at every page of memory below 4 GiB for a 64-bit kernel, and at what texts
/// say of its place.
pub(super) fn everywhere(memory: &PhysicalMemory) -> Everywhere {
    let mut seen = Everywhere::default();
    scan::data(memory, version::MAX_LEN, &mut |gpa, bytes| {
        if gpa.0 >= STATIC_LEN {
            return ControlFlow::Break(());
        }
        for (page, start) in (gpa.0..).step_by(0x1000).zip(bytes.chunks(0x1000)) {
            if Start::of(start).is_some_and(Start::may_be_kernel) {
                seen.consider(|| at(memory, Gpa(page)).map(found));
            }
        }
        seen.add_versions(memory, gpa, bytes);
        if seen.image.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    seen
}

impl Everywhere {
    fn consider(&mut self, image: impl FnOnce() -> Option<Found<KernelImage>>) {
        if self.image.is_none() && self.headers_read < MAX_HEADERS {
            self.headers_read = self.headers_read.saturating_add(1);
            self.image = image();
        }
    }

    fn add_versions(&mut self, memory: &PhysicalMemory, gpa: Gpa, bytes: &[u8]) {
        for at in version::places(bytes) {
            let Some(said) = bytes.get(at..).and_then(DarwinVersion::of) else { continue };
            if said.stext.is_some() {
                self.consider(|| by_text(memory, &said));
            }
            let best = self.version.as_ref().map(|version| version.value.worth());
            if best.is_none_or(|best| said.worth() > best) {
                let how = format!("text at physical {:#x}", gpa.0.wrapping_add(at as u64));
                self.version = Some(Found::new(said, how));
            }
        }
    }
}

fn found(image: KernelImage) -> Found<KernelImage> {
    let how = format!("Mach-O header at physical {}, which says this address", image.gpa);
    Found::new(image, how)
}

/// The 64-bit kernel whose header lies here.
pub(super) fn at(memory: &PhysicalMemory, gpa: Gpa) -> Option<KernelImage> {
    let (start, image) = header(memory, gpa)?;
    let text = image.segment("__TEXT")?.start;
    let is_there = start.is_64_bit && BASE.checked_add(gpa.0) == Some(text.0);
    is_there.then(|| kernel(gpa, text, image))
}

/// The kernel of the collection whose header lies here. Whether that says the addresses
/// from before it was moved does not matter: the kernel's own header is asked.
fn in_collection(memory: &PhysicalMemory, gpa: Gpa) -> Option<KernelImage> {
    let (_, image) = image(memory, gpa, |start| start.filetype == FILESET)?;
    let kernel = image.kernel?;
    let moved = kernel.0.checked_sub(image.segment("__TEXT")?.start.0);
    let moved = moved.and_then(|distance| gpa.checked_add(distance));
    let found = [moved, physical(kernel)].into_iter().flatten().find_map(|gpa| at(memory, gpa))?;
    Some(KernelImage { collection: Some(gpa), ..found })
}

/// The kernel whose place and UUID a text for debuggers says, if it is there: even if its
/// header says the addresses from before it was moved.
fn by_text(memory: &PhysicalMemory, said: &DarwinVersion) -> Option<Found<KernelImage>> {
    let stext = Gva(said.stext?);
    let gpa = physical(stext)?;
    let (_, mut image) = header(memory, gpa)?;
    let moved = stext.0.wrapping_sub(image.segment("__TEXT")?.start.0);
    for segment in &mut image.segments {
        segment.start = Gva(segment.start.0.wrapping_add(moved));
    }
    let how = format!("Mach-O header at physical {gpa}, which the kernel's text names");
    (image.uuid.is_some() && image.uuid == said.uuid)
        .then(|| Found::new(kernel(gpa, stext, image), how))
}

fn kernel(gpa: Gpa, base: Gva, image: Image) -> KernelImage {
    let Image { uuid, segments, .. } = image;
    KernelImage { base, gpa, collection: None, uuid, segments }
}

/// A candidate for a kernel's header.
fn header(memory: &PhysicalMemory, gpa: Gpa) -> Option<(Start, Image)> {
    let found = image(memory, gpa, Start::may_be_kernel)?;
    // lldb takes an image for a kernel by this segment.
    found.1.segment("__KLD").is_some().then_some(found)
}

/// An image of the kind that is wanted.
fn image(
    memory: &PhysicalMemory,
    gpa: Gpa,
    is_wanted: impl Fn(Start) -> bool,
) -> Option<(Start, Image)> {
    let mut bytes = [0; START_LEN];
    memory.read(gpa, &mut bytes).ok()?;
    let start = Start::of(&bytes).filter(|start| is_wanted(*start))?;
    let mut bytes = vec![0; start.len()];
    memory.read(gpa, &mut bytes).ok()?;
    Some((start, Image::of(start, &bytes)))
}

/// The parts of the image that are mapped at the fixed distance, as physical addresses
/// and lengths, each bounded.
pub(super) fn static_parts(image: &KernelImage) -> impl Iterator<Item = (Gpa, u64)> {
    let mut left = MAX_IMAGE;
    let part = move |segment: &Segment| {
        let gpa = physical(segment.start)?;
        let len = segment.len_bytes.min(left).min(STATIC_LEN.saturating_sub(gpa.0));
        left = left.saturating_sub(len);
        (len > 0).then_some((gpa, len))
    };
    image.segments.iter().filter_map(part)
}

/// The physical address of one that is mapped at the fixed distance.
pub(super) fn physical(gva: Gva) -> Option<Gpa> {
    gva.0.checked_sub(BASE).filter(|at| *at < STATIC_LEN).map(Gpa)
}

/// Shows `visit` a part of memory in pieces, each with `overlap` bytes of the next;
/// pages that are not there are zeroes.
pub(super) fn pieces<T>(
    memory: &PhysicalMemory,
    (gpa, len): (Gpa, u64),
    overlap: u64,
    mut visit: impl FnMut(Gpa, &[u8]) -> Option<T>,
) -> Option<T> {
    let end = gpa.0.saturating_add(len).min(memory.end().0);
    let mut at = gpa.0;
    while at < end {
        let piece = end.saturating_sub(at).min(scan::CHUNK.saturating_add(overlap));
        let mut bytes = vec![0; usize::try_from(piece).ok()?];
        if memory.read_or_zero(Gpa(at), &mut bytes).is_ok()
            && let Some(found) = visit(Gpa(at), &bytes)
        {
            return Some(found);
        }
        at = at.saturating_add(scan::CHUNK);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Memory of pages that each look like a header with long load commands.
    #[test]
    fn not_more_headers_are_read_than_there_may_be() {
        let mut page = [0_u8; 0x1000];
        for (at, value) in [(0, 0xfeed_facf_u32), (4, 0x0100_0007), (12, 2), (20, 0x1_0000)] {
            page[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let bytes = page.repeat(5000);
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0), bytes.len() as u64, Arc::new(bytes), 0).unwrap();
        let seen = everywhere(&memory);
        assert_eq!((seen.headers_read, seen.image), (MAX_HEADERS, None));
    }
}
