//! The kernel image, found through page tables alone.
//!
//! A 64-bit kernel maps itself from `__START_KERNEL_map` on, at the address it
//! was linked for plus the KASLR offset; the first page there is `_text`
//! (Documentation/arch/x86/x86_64/mm.rst). A 32-bit kernel lies in its direct
//! map of low memory, where its code is the read-only part.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use vmss2core_machine::paging::{AddressSpace, Leaf, Limits, PagingMode, Root};
use vmss2core_mem::{Found, Gpa, Gva, PAGE_SIZE};

use super::KernelHalf;
use crate::KernelText;

/// `__START_KERNEL_map`.
pub(super) const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// `KERNEL_IMAGE_SIZE` with KASLR, the most there is.
const KERNEL_MAP_LEN: u64 = 1 << 30;
/// No image has a gap as wide as this; what lies behind is something else.
const WIDEST_GAP: u64 = 64 << 20;
/// Bytes of an image read at a time.
const CHUNK: usize = 128 << 10;
/// A kernel's mappings are few; a walk that needs more is of something odd.
const LIMITS: Limits = Limits { visits_per_table: 8, tables: 1 << 18, runs: 1 << 16 };

/// The kernel image as one vCPU maps it.
#[derive(Clone, Debug)]
pub(in crate::linux) struct Image {
    /// An address space that maps the kernel.
    pub(in crate::linux) space: AddressSpace,
    /// Mapped parts, sorted; physically they are one piece, with gaps.
    pub(super) runs: Vec<Leaf>,
    /// Which of the mapped bytes are code and constants, from the first on; 0 if
    /// where the image begins is not known.
    pub(super) code_len: u64,
    /// The vCPUs that execute it.
    pub(super) vcpus: Vec<u32>,
    /// How it was found.
    pub(super) how: String,
}

impl Image {
    /// What a 64-bit address space maps at `__START_KERNEL_map`.
    fn at_kernel_map(space: AddressSpace, how: String) -> Option<Self> {
        let mut runs: Vec<Leaf> = Vec::new();
        space.walk_range(KERNEL_MAP..KERNEL_MAP + KERNEL_MAP_LEN, &LIMITS, &mut |leaf| {
            let belongs = runs.first().is_none_or(|first| slide(first) == slide(&leaf))
                && runs
                    .last()
                    .is_none_or(|last| leaf.gva.0.saturating_sub(end(last)) <= WIDEST_GAP);
            if belongs {
                runs.push(leaf);
            }
            ControlFlow::Continue(())
        });
        let code_len = read_only_len(&runs).max(PAGE_SIZE);
        let vcpus = Vec::new();
        (!runs.is_empty()).then_some(Self { space, runs, code_len, vcpus, how })
    }

    /// Bytes mapped.
    pub(super) fn mapped(&self) -> u64 {
        self.runs.iter().map(Leaf::len_bytes).fold(0, u64::saturating_add)
    }

    /// Where it lies; `None` if it is not known where it begins. A 32-bit image
    /// is part of the direct map, where only its code and constants stand out.
    pub(super) fn extent(&self) -> Option<KernelText> {
        let (first, last) = (self.runs.first()?, self.runs.last()?);
        let len = if self.space.mode().is_64_bit() {
            end(last).saturating_sub(first.gva.0)
        } else {
            self.code_len
        };
        (self.code_len > 0).then_some(KernelText { start: first.gva, gpa: first.gpa, len })
    }

    /// Whether a virtual address lies where the image is searched for, in one
    /// of its gaps perhaps.
    pub(super) fn holds(&self, gva: u64) -> bool {
        let (Some(first), Some(last)) = (self.runs.first(), self.runs.last()) else {
            return false;
        };
        (first.gva.0..end(last)).contains(&gva)
    }

    /// Whether one of its bytes lies at a physical address.
    pub(super) fn holds_physical(&self, gpa: Gpa) -> bool {
        let holds =
            |run: &Leaf| gpa.0.checked_sub(run.gpa.0).is_some_and(|into| into < run.len_bytes());
        self.runs.iter().any(holds)
    }

    /// All mapped bytes in pieces: constants first, then code, then variables;
    /// each piece with some bytes of the next so that what crosses the border is
    /// seen.
    pub(in crate::linux) fn scan<B>(
        &self,
        overlap: usize,
        visit: &mut dyn FnMut(Gva, &[u8]) -> ControlFlow<B>,
    ) -> Option<B> {
        let mut kinds = [Content::Constants, Content::Code, Content::Variables].into_iter();
        kinds.find_map(|content| self.scan_only(content, overlap, visit))
    }

    /// The mapped bytes of one kind, in pieces like those of [`Self::scan`].
    pub(super) fn scan_only<B>(
        &self,
        content: Content,
        overlap: usize,
        visit: &mut dyn FnMut(Gva, &[u8]) -> ControlFlow<B>,
    ) -> Option<B> {
        let mut buf = vec![0; CHUNK.saturating_add(overlap)];
        for run in self.runs.iter().filter(|run| Content::of(run) == content) {
            let mut at = 0;
            while at < run.len_bytes() {
                let left =
                    usize::try_from(run.len_bytes().saturating_sub(at)).unwrap_or(usize::MAX);
                let piece = buf.split_at_mut(left.min(CHUNK.saturating_add(overlap))).0;
                let gpa = Gpa(run.gpa.0.saturating_add(at));
                if self.space.memory().read(gpa, piece).is_ok()
                    && let ControlFlow::Break(found) =
                        visit(Gva(run.gva.0.saturating_add(at)), piece)
                {
                    return Some(found);
                }
                at = at.saturating_add(CHUNK as u64);
            }
        }
        None
    }
}

/// What a part of the image holds, judged by its permissions alone. A kernel that
/// does not protect its parts has variables only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Constants,
    Code,
    Variables,
}

impl Content {
    fn of(run: &Leaf) -> Self {
        match (run.permissions.write, run.permissions.execute) {
            (true, _) => Self::Variables,
            (false, true) => Self::Code,
            (false, false) => Self::Constants,
        }
    }
}

/// What could be the image, as the vCPUs see it, and whose page tables hold it.
pub(super) struct FoundImage {
    /// Likeliest first.
    pub(super) images: Vec<Image>,
    /// By vCPU index, the root that maps the kernel where it is not its own.
    pub(super) kernel_roots: Vec<(u32, Found<Root>)>,
}

/// What a vCPU sees.
pub(super) struct View {
    pub(super) index: u32,
    pub(super) space: AddressSpace,
    /// Its interrupt descriptor table.
    pub(super) idt: Option<Gva>,
}

impl View {
    /// Where the first interrupt handler is, for a 32-bit kernel.
    fn handler(&self, space: &AddressSpace) -> Option<u64> {
        let gate = space.read_u64(self.idt?).ok()?;
        Some(gate & 0xffff | (gate >> 32) & 0xffff_0000)
    }
}

/// More different images than this are not searched: each costs time.
const MOST_IMAGES: usize = 8;

impl FoundImage {
    /// The vCPUs of one guest show the same image as a rule; once is enough.
    fn of(all: Vec<Image>, kernel_roots: Vec<(u32, Found<Root>)>) -> Option<Self> {
        let place = |image: &Image| image.runs.first().map(|run| (run.gva, run.gpa));
        let mut images: Vec<Image> = Vec::new();
        for image in all {
            let known = images.iter().position(|known| place(known) == place(&image));
            if let Some(known) = known.and_then(|index| images.get_mut(index)) {
                known.vcpus.extend(image.vcpus);
            } else if images.len() < MOST_IMAGES {
                images.push(image);
            }
        }
        (!images.is_empty()).then_some(Self { images, kernel_roots })
    }
}

/// Finds the image of a 64-bit kernel in the address spaces of vCPUs.
pub(super) fn find_64_bit(views: &[View]) -> Option<FoundImage> {
    let mut images = Vec::new();
    let mut kernel_roots = Vec::new();
    for view in views.iter().filter(|view| view.space.mode().is_64_bit()) {
        let (space, how) = with_kernel(view, &mut kernel_roots);
        let image = Image::at_kernel_map(space, how);
        images.extend(image.map(|image| Image { vcpus: vec![view.index], ..image }));
    }
    images.sort_by_key(|image| std::cmp::Reverse(image.mapped()));
    FoundImage::of(images, kernel_roots)
}

/// Finds what could be the image of a 32-bit kernel.
pub(super) fn find_32_bit(views: &[View]) -> Option<FoundImage> {
    let is_32_bit = |mode| matches!(mode, PagingMode::Pae | PagingMode::TwoLevel { .. });
    let mut images = Vec::new();
    let mut kernel_roots = Vec::new();
    for view in views.iter().filter(|view| is_32_bit(view.space.mode())) {
        let (space, how) = with_kernel(view, &mut kernel_roots);
        if let Some(base) = direct_map(&space) {
            let inside = view.handler(&space).unwrap_or(base.0);
            images.extend(candidates_32_bit(&space, base, inside, &how));
        }
    }
    FoundImage::of(images, kernel_roots)
}

/// The address space that maps the kernel, and whose it is.
///
/// With page-table isolation, the tables of user mode lie one page behind
/// those of the kernel and map little of it. Bit 12 of CR3 alone says nothing:
/// without isolation a root may lie anywhere. So the root that maps more wins.
fn with_kernel(view: &View, kernel_roots: &mut Vec<(u32, Found<Root>)>) -> (AddressSpace, String) {
    let own = view.space.clone();
    let how = format!("page tables of vCPU {}", view.index);
    let pair = Root(Gpa(own.root().0.0 & !PAGE_SIZE));
    let other = own.with_root(pair);
    if pair == own.root() || kernel_bytes(&other) <= kernel_bytes(&own) {
        return (own, how);
    }
    let why = "page-table isolation: the page before the user tables maps more of the kernel";
    kernel_roots.push((view.index, Found::new(pair, why)));
    (other, format!("{how}, the kernel's of the isolated pair"))
}

/// How much of the kernel an address space maps.
fn kernel_bytes(space: &AddressSpace) -> u64 {
    let range = if space.mode().is_64_bit() {
        KERNEL_MAP..KERNEL_MAP + KERNEL_MAP_LEN
    } else {
        KernelHalf::of(space.mode()).range()
    };
    let mut bytes = 0_u64;
    space.walk_range(range, &LIMITS, &mut |leaf| {
        if !leaf.permissions.user {
            bytes = bytes.saturating_add(leaf.len_bytes());
        }
        ControlFlow::Continue(())
    });
    bytes
}

/// Where the direct map of x86-64 was before 2.6.11, below the kernel half
/// (`__PAGE_OFFSET`, with room for 512 GiB).
const OLD_DIRECT_MAP: Range<u64> = 1 << 40..3 << 39;

/// Virtual address of physical 0 in the direct map: the distance that most of
/// the kernel half is mapped at.
pub(super) fn direct_map(space: &AddressSpace) -> Option<Gva> {
    let half = KernelHalf::of(space.mode());
    let old = (space.mode() == PagingMode::FourLevel).then_some(OLD_DIRECT_MAP);
    let mut ranges = std::iter::once(half.range()).chain(old);
    ranges.find_map(|range| most_used_distance(space, &half, range)).map(|(base, _)| base)
}

/// How much of memory the direct map has.
pub(super) fn covered(space: &AddressSpace) -> u64 {
    let half = KernelHalf::of(space.mode());
    most_used_distance(space, &half, half.range()).map_or(0, |(_, bytes)| bytes)
}

/// What most of a range is mapped at, if that can be a direct map, and how much it is.
fn most_used_distance(
    space: &AddressSpace,
    half: &KernelHalf,
    range: Range<u64>,
) -> Option<(Gva, u64)> {
    let mut votes: HashMap<u64, u64> = HashMap::new();
    space.walk_range(range, &LIMITS, &mut |leaf| {
        let distance = slide(&leaf);
        // The kernel's own mapping is not the direct map, and small runs are noise.
        let counts = leaf.len_bytes() >= half.shortest_vote
            && distance & half.alignment.saturating_sub(1) == 0
            && !leaf.permissions.user
            && leaf.gva.0 < KERNEL_MAP;
        if counts {
            let votes = votes.entry(distance).or_default();
            *votes = votes.saturating_add(leaf.len_bytes());
        }
        ControlFlow::Continue(())
    });
    let (distance, bytes) = votes.into_iter().max_by_key(|&(distance, bytes)| (bytes, distance))?;
    Some((Gva(distance), bytes))
}

/// The parts of a 32-bit direct map at `base` that could be a kernel image: each
/// read-only stretch with what follows it, and what is around `inside`.
fn candidates_32_bit(space: &AddressSpace, base: Gva, inside: u64, how: &str) -> Vec<Image> {
    let mut low: Vec<Leaf> = Vec::new();
    space.walk_range(KernelHalf::of(space.mode()).range(), &LIMITS, &mut |leaf| {
        if slide(&leaf) == base.0 {
            low.push(leaf);
        }
        ControlFlow::Continue(())
    });
    let image = |start: u64| {
        let runs = parts(&low, &(start..start.saturating_add(LONGEST_32_BIT)));
        let code_len = Some(read_only_len(&runs)).filter(|len| *len >= SHORTEST_READ_ONLY);
        let vcpus = Vec::new();
        let (space, how) = (space.clone(), how.to_owned());
        Image { space, runs, code_len: code_len.unwrap_or(0), vcpus, how }
    };
    let mut images: Vec<Image> = starts_of_read_only(&low).into_iter().map(image).collect();
    images.retain(|image| image.code_len > 0);
    // A kernel that does not protect its code does not stand out, but it is
    // around any address inside it.
    let around =
        Image { code_len: 0, ..image(inside.saturating_sub(LONGEST_32_BIT / 2).max(base.0)) };
    images.push(around);
    images
}

/// Longest 32-bit image: code and data of the largest distribution kernels take
/// a quarter of it.
const LONGEST_32_BIT: u64 = 64 << 20;
/// No kernel has less code and constants than this.
const SHORTEST_READ_ONLY: u64 = 1 << 20;

/// Where read-only stretches begin.
fn starts_of_read_only(low: &[Leaf]) -> Vec<u64> {
    let mut starts = Vec::new();
    let mut last_end = None;
    for run in low.iter().filter(|run| !run.permissions.write) {
        if last_end != Some(run.gva.0) {
            starts.push(run.gva.0);
        }
        last_end = Some(end(run));
    }
    starts
}

/// Length of the read-only stretch that some runs begin with.
fn read_only_len(runs: &[Leaf]) -> u64 {
    let Some(start) = runs.first().map(|run| run.gva.0) else { return 0 };
    let mut at = start;
    for run in runs.iter().filter(|run| !run.permissions.write) {
        if run.gva.0 == at {
            at = end(run);
        }
    }
    at.saturating_sub(start)
}

/// The runs within a range, cut where they leave it.
fn parts(low: &[Leaf], range: &Range<u64>) -> Vec<Leaf> {
    let mut parts = Vec::new();
    for run in low {
        let start = run.gva.0.max(range.start);
        let len = end(run).min(range.end).saturating_sub(start);
        if len > 0 {
            parts.push(Leaf {
                gva: Gva(start),
                gpa: Gpa(run.gpa.0.saturating_add(start.saturating_sub(run.gva.0))),
                pages: u32::try_from(len / PAGE_SIZE).unwrap_or(u32::MAX),
                permissions: run.permissions,
            });
        }
    }
    parts
}

/// The image that a 64-bit kernel's own page tables map.
pub(super) fn of_64_bit(space: AddressSpace) -> Option<Image> {
    let how = how_of_root(&space);
    Image::at_kernel_map(space, how)
}

/// What could be the image in a 32-bit kernel's own page tables, given an
/// address in it.
pub(super) fn of_32_bit(space: &AddressSpace, inside: Gva) -> Vec<Image> {
    let Some(base) = direct_map(space) else { return Vec::new() };
    candidates_32_bit(space, base, inside.0, &how_of_root(space))
}

fn how_of_root(space: &AddressSpace) -> String {
    format!("page tables at physical {}, which VMCOREINFO names", space.root())
}

/// Virtual less physical address.
fn slide(leaf: &Leaf) -> u64 {
    leaf.gva.0.wrapping_sub(leaf.gpa.0)
}

/// First virtual address behind a run. No run of the kernel half that matters
/// ends at 2^64: the last pages are never mapped.
fn end(leaf: &Leaf) -> u64 {
    leaf.gva.0.saturating_add(leaf.len_bytes())
}
