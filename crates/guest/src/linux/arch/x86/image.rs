//! Where Linux lies in the address spaces of x86.
//!
//! A 64-bit kernel maps itself from `__START_KERNEL_map` on, at the address it
//! was linked for plus the KASLR offset; the first page there is `_text`
//! (Documentation/arch/x86/x86_64/mm.rst). A 32-bit kernel lies in its direct
//! map of low memory, where its code is the read-only part.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use vmss2core_machine::paging::{AddressSpace, Leaf, Limits, PagingMode, Root};
use vmss2core_machine::x86::modes;
use vmss2core_mem::{Found, Gpa, Gva, PAGE_SIZE, PhysicalMemory};

use super::memory_map::KernelHalf;
use crate::linux::discovery::{FoundImage, Image, View, parts};
use crate::{KernelText, VmcoreInfo};

/// `__START_KERNEL_map`.
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// `KERNEL_IMAGE_SIZE` with KASLR, the most there is.
const KERNEL_MAP_LEN: u64 = 1 << 30;
/// Where an x86-64 kernel is linked above `__START_KERNEL_map`
/// (CONFIG_PHYSICAL_START, which hardly anyone changes).
const LINK_BASE: u64 = 16 << 20;
/// No image has a gap as wide as this; what lies after is something else.
const WIDEST_GAP: u64 = 64 << 20;
/// A kernel's mappings are few; a walk that needs more is of something odd.
const LIMITS: Limits = Limits { visits_per_table: 8, tables: 1 << 18, runs: 1 << 16 };

/// Candidates for the image of a kernel, of a 64-bit one first.
pub(in crate::linux) fn find(views: &[View<'_>]) -> impl Iterator<Item = FoundImage> {
    [find_64_bit(views), find_32_bit(views)].into_iter().flatten()
}

/// Finds the image of a 64-bit kernel in the address spaces of vCPUs.
fn find_64_bit(views: &[View<'_>]) -> Option<FoundImage> {
    let mut images = Vec::new();
    let mut kernel_roots = Vec::new();
    for view in views.iter().filter(|view| view.space.mode().is_64_bit()) {
        let (space, how) = with_kernel(view, &mut kernel_roots);
        let image = at_kernel_map(space, how);
        images.extend(image.map(|image| Image { vcpus: vec![view.index], ..image }));
    }
    images.sort_by_key(|image| std::cmp::Reverse(image.mapped()));
    FoundImage::new(images, usize::MAX, kernel_roots)
}

/// Finds what could be the image of a 32-bit kernel.
fn find_32_bit(views: &[View<'_>]) -> Option<FoundImage> {
    let is_32_bit = |mode| mode == modes::PAE || modes::is_two_level(mode);
    let mut images = Vec::new();
    let mut kernel_roots = Vec::new();
    for view in views.iter().filter(|view| is_32_bit(view.space.mode())) {
        let (space, how) = with_kernel(view, &mut kernel_roots);
        if let Some(base) = direct_map(&space) {
            let inside = handler(view, &space).unwrap_or(base.0);
            images.extend(candidates_32_bit(&space, base, inside, &how));
        }
    }
    FoundImage::new(images, 1, kernel_roots)
}

/// The address space that maps the kernel, and whose it is.
///
/// With page-table isolation, the tables of user mode lie one page after
/// those of the kernel and map little of it. Bit 12 of CR3 alone says nothing:
/// without isolation a root may lie anywhere. So the root that maps more wins.
fn with_kernel(
    view: &View<'_>,
    kernel_roots: &mut Vec<(u32, Found<Root>)>,
) -> (AddressSpace, String) {
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
pub(in crate::linux) fn direct_map(space: &AddressSpace) -> Option<Gva> {
    let half = KernelHalf::of(space.mode());
    let old = (space.mode() == modes::FOUR_LEVEL).then_some(OLD_DIRECT_MAP);
    let mut ranges = std::iter::once(half.range()).chain(old);
    ranges.find_map(|range| most_used_distance(space, &half, range)).map(|(base, _)| base)
}

/// How much of memory the direct map has.
pub(in crate::linux) fn covered(space: &AddressSpace) -> u64 {
    let half = KernelHalf::of(space.mode());
    most_used_distance(space, &half, half.range()).map_or(0, |(_, bytes)| bytes)
}

/// Start of the mapping of most of a range, if that can be a direct map, and how much it is.
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
        last_end = Some(run.end());
    }
    starts
}

/// Length of the read-only stretch that some runs begin with.
fn read_only_len(runs: &[Leaf]) -> u64 {
    let Some(start) = runs.first().map(|run| run.gva.0) else { return 0 };
    let mut at = start;
    for run in runs.iter().filter(|run| !run.permissions.write) {
        if run.gva.0 == at {
            at = run.end();
        }
    }
    at.saturating_sub(start)
}

/// Whether a 64-bit image may begin later than it is mapped: until 2.6.24 kernels mapped all
/// memory from `__START_KERNEL_map` on, and were linked 1 or 2 MiB after that.
pub(in crate::linux) fn may_begin_later(image: &Image) -> bool {
    image.runs.first().is_some_and(|first| first.gva.0 == KERNEL_MAP)
}

/// The image that a 64-bit kernel's own page tables map.
fn of_64_bit(space: AddressSpace) -> Option<Image> {
    let how = how_of_root(&space);
    at_kernel_map(space, how)
}

/// Candidates for the image in a 32-bit kernel's own page tables, given an
/// address in it.
fn of_32_bit(space: &AddressSpace, inside: Gva) -> Vec<Image> {
    let Some(base) = direct_map(space) else { return Vec::new() };
    candidates_32_bit(space, base, inside.0, &how_of_root(space))
}

fn how_of_root(space: &AddressSpace) -> String {
    format!("page tables at physical {}, which VMCOREINFO names", space.root())
}

/// Mappings of a 64-bit address space at `__START_KERNEL_map`.
fn at_kernel_map(space: AddressSpace, how: String) -> Option<Image> {
    let mut runs: Vec<Leaf> = Vec::new();
    space.walk_range(KERNEL_MAP..KERNEL_MAP + KERNEL_MAP_LEN, &LIMITS, &mut |leaf| {
        let belongs = runs.first().is_none_or(|first| slide(first) == slide(&leaf))
            && runs.last().is_none_or(|last| leaf.gva.0.saturating_sub(last.end()) <= WIDEST_GAP);
        if belongs {
            runs.push(leaf);
        }
        ControlFlow::Continue(())
    });
    let code_len = read_only_len(&runs).max(PAGE_SIZE);
    let vcpus = Vec::new();
    (!runs.is_empty()).then_some(Image { space, runs, code_len, vcpus, how })
}

/// Where the first interrupt handler is, for a 32-bit kernel.
fn handler(view: &View<'_>, space: &AddressSpace) -> Option<u64> {
    let gate = space.read_u64(Gva(view.registers.x86()?.idtr.base?)).ok()?;
    Some(gate & 0xffff | (gate >> 32) & 0xffff_0000)
}

/// The lowest place in physical memory that page tables at a linked address can have.
pub(in crate::linux) fn lowest_place(info: &VmcoreInfo, tables: u64) -> Option<u64> {
    if tables >= KERNEL_MAP {
        let base = info.number("phys_base").unwrap_or(0);
        return tables.checked_sub(KERNEL_MAP)?.checked_add_signed(base);
    }
    let base = PAGE_OFFSETS.into_iter().find(|base| *base <= tables)?;
    tables.checked_sub(base)
}

/// Follows the addresses of a text to page tables that confirm them.
pub(in crate::linux) fn of_vmcoreinfo(memory: &PhysicalMemory, info: &VmcoreInfo) -> Option<Image> {
    let stext = info.symbol("_stext")?;
    if stext.0 >= KERNEL_MAP {
        let mode = match info.number("pgtable_l5_enabled") {
            Some(1) => modes::FIVE_LEVEL,
            _ => modes::FOUR_LEVEL,
        };
        // Kernels before 4.10 do not say; before KASLR it was 0.
        let base = info.number("phys_base").unwrap_or(0).cast_unsigned();
        let space = confirmed(memory, info, mode, KERNEL_MAP.wrapping_sub(base))?;
        return of_64_bit(space);
    }
    let mode = match info.get("CONFIG_X86_PAE") {
        Some(_) => modes::PAE,
        None => modes::TWO_LEVEL_PSE,
    };
    let spaces = PAGE_OFFSETS.iter().filter_map(|base| confirmed(memory, info, mode, *base));
    spaces.flat_map(|space| of_32_bit(&space, stext)).find(|image| image.holds(stext.0))
}

/// CONFIG_PAGE_OFFSET of 32-bit kernels, by VMSPLIT, highest first.
const PAGE_OFFSETS: [u64; 5] = [0xc000_0000, 0xb000_0000, 0x8000_0000, 0x7800_0000, 0x4000_0000];

/// The address space below `swapper_pg_dir`, if it maps the kernel's code where
/// `slide`, virtual less physical address, says.
fn confirmed(
    memory: &PhysicalMemory,
    info: &VmcoreInfo,
    mode: PagingMode,
    slide: u64,
) -> Option<AddressSpace> {
    let (tables, stext) = (info.symbol("swapper_pg_dir")?, info.symbol("_stext")?);
    let root = Root(Gpa(tables.0.wrapping_sub(slide)));
    let space = AddressSpace::new(memory, mode, root);
    let mapped = space.translate(stext).ok()?;
    (mapped.gpa.0 == stext.0.wrapping_sub(slide)).then_some(space)
}

/// Where the code of a 64-bit kernel lies in physical memory.
pub(in crate::linux) fn text_of(info: &VmcoreInfo) -> Option<Gpa> {
    let base = info.number("phys_base").unwrap_or(0).cast_unsigned();
    let stext = info.symbol("_stext")?.0.checked_sub(KERNEL_MAP)?;
    Some(Gpa(stext.wrapping_add(base)))
}

/// How far above the usual link address a 64-bit kernel lies; `None` if it lies below,
/// so that it was linked elsewhere.
pub(in crate::linux) fn offset_from_default(text: KernelText) -> Option<u64> {
    text.start.0.checked_sub(KERNEL_MAP + LINK_BASE)
}

/// Physical less link address of the image, as the kernel counts it.
pub(in crate::linux) fn phys_base(text: KernelText) -> i64 {
    text.gpa.0.wrapping_sub(text.start.0.wrapping_sub(KERNEL_MAP)).cast_signed()
}

/// Virtual less physical address.
fn slide(leaf: &Leaf) -> u64 {
    leaf.gva.0.wrapping_sub(leaf.gpa.0)
}
