//! From a `struct page` to the page frame that it describes.
//!
//! 64-bit kernels have all of them in one virtual array (`vmemmap`); 32-bit ones in
//! one array (`mem_map`), or one array for each section of memory. VMCOREINFO tells
//! most of what is needed, in all kernels that have it.

use std::ops::Range;

use vmss2core_mem::{Gpa, Gva, PAGE_SIZE, Pfn};

use super::super::{Kernel, PageArray};
use super::fields::word;
use crate::linux::arch;

/// Most sections that are looked at: 64 TiB of 128 MiB each.
const MAX_SECTIONS: u64 = 1 << 19;
/// Most pages of a folio: 1 GiB.
const MAX_FOLIO_PAGES: u64 = 1 << 18;

/// The arrays of `struct page`.
#[derive(Debug)]
pub(super) struct Frames {
    spans: Vec<Span>,
    page: PageFields,
}

/// Part of memory whose `struct page`s are one array.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    /// Where that of frame 0 would be.
    base: u64,
    frames: Range<u64>,
}

/// Where members of `struct page` lie.
#[derive(Clone, Copy, Debug)]
struct PageFields {
    len: u64,
    mapping: Option<u64>,
    index: Option<u64>,
    head: Option<u64>,
}

impl Frames {
    /// Finds the arrays.
    pub(super) fn of(kernel: &Kernel) -> Option<Self> {
        let page = PageFields::of(kernel)?;
        let is_64_bit = kernel.linux().is_64_bit;
        let pointed_to = |name| {
            let variable = kernel.symbol(name).ok()?.value;
            kernel.read_pointer(variable, name).ok().map(|gva| gva.0)
        };
        let single = |base: Option<u64>| {
            let span = Span { base: base?, frames: 0..u64::MAX.checked_div(page.len).unwrap_or(0) };
            Some(Self { spans: vec![span], page }).filter(|found| found.describes(kernel))
        };
        // VMCOREINFO has the value of `vmemmap`, which is no variable, since 6.18.
        let told = || kernel.linux().vmcoreinfo.as_ref()?.value.symbol("vmemmap").map(|gva| gva.0);
        let learned = || learned_array(kernel).map(|array| array.base);
        if is_64_bit {
            single(told())
                .or_else(|| single(pointed_to("vmemmap_base")))
                .or_else(|| sections(kernel, page))
                .or_else(|| single(learned()))
                .or_else(|| single(Some(arch::vmemmap(kernel.space().mode()))))
        } else {
            single(pointed_to("mem_map"))
                .or_else(|| sections(kernel, page))
                .or_else(|| single(learned()))
        }
    }

    /// Whether the kernel's own first page has a `struct page` in here.
    fn describes(&self, kernel: &Kernel) -> bool {
        let Some(text) = &kernel.linux().text else { return true };
        let frame = text.value.gpa.pfn().0;
        self.page_at(frame).is_some_and(|page| kernel.space().translate(Gva(page)).is_ok())
    }

    /// Where the `struct page` of a frame lies.
    pub(super) fn page_at(&self, frame: u64) -> Option<u64> {
        let span = self.spans.iter().find(|span| span.frames.contains(&frame))?;
        Some(span.base.wrapping_add(frame.checked_mul(self.page.len)?))
    }

    /// The frame that the `struct page` at `page` describes.
    pub(super) fn frame(&self, page: u64) -> Option<u64> {
        self.spans.iter().find_map(|span| {
            let distance = page.wrapping_sub(span.base);
            let frame = distance.checked_div(self.page.len).unwrap_or(0);
            (distance.is_multiple_of(self.page.len) && span.frames.contains(&frame))
                .then_some(frame)
        })
    }

    /// Where a page of a file lies: that of number `index`, for which the cache of
    /// `mapping` has the `struct page` (or folio) at `page`. `skip` is how far the
    /// cache says the page is into it. `None` if the `struct page` denies that.
    pub(super) fn page_of_file(
        &self,
        kernel: &Kernel,
        page: u64,
        skip: u64,
        (mapping, index): (Gva, u64),
    ) -> Option<Gpa> {
        let frame = self.frame(page)?;
        let mut bytes = vec![0; usize::try_from(self.page.len).ok()?];
        kernel.read(Gva(page), &mut bytes, "struct page").ok()?;
        let word_len = usize::try_from(kernel.word_len()).ok()?;
        let member = |at: Option<u64>| word(&bytes, usize::try_from(at?).ok()?, word_len);
        // Kernels before 5.9 have each page of a large one in the cache itself.
        let frame = if skip == 0 && member(self.page.head).is_some_and(|head| head & 1 == 1) {
            frame
        } else {
            if member(self.page.mapping).is_some_and(|owner| owner & !3 != mapping.0) {
                return None;
            }
            let first = member(self.page.index);
            let skip = first.map_or(Some(skip), |first| index.checked_sub(first))?;
            frame.checked_add(Some(skip).filter(|skip| *skip < MAX_FOLIO_PAGES)?)?
        };
        Pfn(frame).gpa()
    }
}

impl PageFields {
    fn of(kernel: &Kernel) -> Option<Self> {
        let info = kernel.linux().vmcoreinfo.as_ref().map(|info| &info.value);
        let told = |key: &str| info.and_then(|info| info.get(key)?.parse::<u64>().ok());
        let layout = kernel.layout();
        let len = told("SIZE(page)").or_else(|| Some(layout.size_of("page")?.value));
        let len = len.or_else(|| Some(learned_array(kernel)?.len_bytes));
        let len = len.or_else(|| kernel.linux().is_64_bit.then_some(64));
        let member = |names: &[&str]| Some(layout.any_member("page", names)?.value.offset_bytes);
        let mapping = told("OFFSET(page.mapping)").or_else(|| member(&["mapping"]));
        // Where VMCOREINFO alone is known: between `mapping` and `private` there is
        // room for `index` only.
        let between = || {
            let index = mapping?.saturating_add(kernel.word_len());
            (told("OFFSET(page.private)")? == index.saturating_add(kernel.word_len()))
                .then_some(index)
        };
        let head =
            told("OFFSET(page.compound_head)").or_else(|| told("OFFSET(page.compound_info)"));
        Some(Self {
            len: len.filter(|len| (16..=4096).contains(len))?,
            mapping,
            index: member(&["index", "__folio_index"]).or_else(between),
            head: head.or_else(|| member(&["compound_head", "compound_info"])),
        })
    }
}

/// The array as the pages that processes map show it. Kernels with type information
/// are not asked: that costs more than all else.
fn learned_array(kernel: &Kernel) -> Option<PageArray> {
    let is_typed = kernel.layout().size_of("mm_struct").is_some();
    (!is_typed).then(|| kernel.learned()?.page_array())?
}

/// The arrays that the sections of memory name, as VMCOREINFO describes those.
fn sections(kernel: &Kernel, page: PageFields) -> Option<Frames> {
    let info = &kernel.linux().vmcoreinfo.as_ref()?.value;
    let number = |key: &str| info.get(key)?.parse::<u64>().ok();
    let bits = |key: &str| info.get(key)?.parse::<u32>().ok();
    let table = SectionTable {
        at: info.symbol("mem_section")?.0,
        roots: number("LENGTH(mem_section)")?,
        section_len: number("SIZE(mem_section)").filter(|len| (1..=PAGE_SIZE).contains(len))?,
        map_at: number("OFFSET(mem_section.section_mem_map)")?,
        frames_shift: bits("NUMBER(SECTION_SIZE_BITS)")?.checked_sub(12).filter(|s| *s < 40)?,
        address_bits: bits("NUMBER(MAX_PHYSMEM_BITS)").filter(|bits| *bits < 64)?,
    };
    let last_frame = kernel.memory().end().0 / PAGE_SIZE;
    let count = (last_frame >> table.frames_shift).saturating_add(1);
    let mut spans: Vec<Span> = Vec::new();
    for section in 0..count.min(MAX_SECTIONS) {
        let Some(base) = table.base(kernel, section) else { continue };
        let start = section << table.frames_shift;
        let end = start.saturating_add(1 << table.frames_shift);
        match spans.last_mut() {
            Some(last) if last.base == base => last.frames.end = end,
            _ => spans.push(Span { base, frames: start..end }),
        }
    }
    Some(Frames { spans, page }).filter(|found| found.describes(kernel))
}

/// `mem_section`: one array, or an array of pointers to pages of them.
struct SectionTable {
    at: u64,
    roots: u64,
    section_len: u64,
    map_at: u64,
    frames_shift: u32,
    address_bits: u32,
}

impl SectionTable {
    /// Where the `struct page` of frame 0 would be if its section were this one's
    /// (`sparse_encode_mem_map`); `None` if there is no memory in it.
    fn base(&self, kernel: &Kernel, section: u64) -> Option<u64> {
        let page_bits = self.address_bits.checked_sub(12)?.checked_sub(self.frames_shift)?;
        let all = 1_u64.checked_shl(page_bits)?;
        let at = if self.roots >= all {
            self.at.wrapping_add(section.checked_mul(self.section_len)?)
        } else {
            let per_root = PAGE_SIZE.checked_div(self.section_len)?;
            let (root, nth) = (section.checked_div(per_root)?, section.checked_rem(per_root)?);
            let root = self.at.wrapping_add(root.saturating_mul(kernel.word_len()));
            let root =
                kernel.read_pointer(Gva(root), "mem_section").ok().filter(|gva| gva.0 != 0)?;
            root.0.wrapping_add(nth.saturating_mul(self.section_len))
        };
        let map = kernel.read_pointer(Gva(at.wrapping_add(self.map_at)), "mem_section").ok()?.0;
        // SECTION_MARKED_PRESENT and SECTION_HAS_MEM_MAP; the flags take 6 bits at most.
        (map & 3 == 3).then_some(map & !0x3f)
    }
}
