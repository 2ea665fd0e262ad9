//! Where the `struct page` of a page lies.
//!
//! `include/linux/mmzone.h`: memory in sections, each with the address of its
//! array (all 64-bit kernels today), or one array for all memory (`mem_map`).

use std::ops::Range;

use vmss2core_mem::{Gva, PAGE_SIZE};

use crate::linux::{Kernel, LinuxError};

/// `SECTION_MARKED_PRESENT`. First kernels with sections do not mark that there is a map too
/// (`SECTION_HAS_MEM_MAP`), but have no address where there is none.
const PRESENT: u64 = 1;
/// The lower bits of `section_mem_map` are marks; the arrays begin on pages.
const MAP_MASK: u64 = !0xfff;

/// Where the `struct page`s lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryMap {
    /// One array, from page 0 on.
    Flat { base: Gva, page_len: u64 },
    /// An array for each section.
    Sections(Sections),
}

/// The table of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sections {
    table: Gva,
    /// Entries at each pointer of the table; `None` if the entries lie in
    /// the table itself.
    per_root: Option<u64>,
    roots: u64,
    entry_len: u64,
    map_offset: u64,
    pages_log2: u32,
    page_len: u64,
}

/// Parts of memory whose `struct page`s follow each other, to find pages by those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spans {
    /// Where the `struct page` of frame 0 would be, and the frames.
    spans: Vec<(u64, Range<u64>)>,
    page_len: u64,
}

impl Spans {
    /// The frame that the `struct page` at an address describes.
    pub(super) fn frame(&self, page: u64) -> Option<u64> {
        self.spans.iter().find_map(|(base, frames)| {
            let distance = page.wrapping_sub(*base);
            let frame = distance.checked_div(self.page_len)?;
            let is_one = distance.is_multiple_of(self.page_len) && frames.contains(&frame);
            is_one.then_some(frame)
        })
    }
}

impl MemoryMap {
    /// All `struct page`s of a kernel's memory.
    pub(super) fn spans(&self, kernel: &Kernel) -> Spans {
        let end = kernel.memory().end().0.div_ceil(PAGE_SIZE);
        let mut spans: Vec<(u64, Range<u64>)> = Vec::new();
        let (Self::Flat { page_len, .. } | Self::Sections(Sections { page_len, .. })) = *self;
        let mut first = 0;
        while first < end {
            let next = self.section_end(first).min(end);
            if let Some(page) = self.page(kernel, first) {
                let base = page.0.wrapping_sub(first.wrapping_mul(page_len));
                match spans.last_mut() {
                    Some((last, frames)) if *last == base => frames.end = next,
                    _ => spans.push((base, first..next)),
                }
            }
            first = next;
        }
        Spans { spans, page_len }
    }

    pub(super) fn of(kernel: &Kernel, page_len: u64) -> Result<Self, LinuxError> {
        if let Some(sections) = sections(kernel, page_len)? {
            return Ok(Self::Sections(sections));
        }
        let info = kernel.linux().vmcoreinfo.as_ref();
        // VMCOREINFO's is a value, the symbol table's the address of a variable.
        if let Some(base) = info.and_then(|info| info.value.symbol("vmemmap")) {
            return Ok(Self::Flat { base, page_len });
        }
        let variable = kernel.symbol("mem_map").or_else(|_| kernel.symbol("vmemmap_base"))?;
        let base = kernel.read_pointer(variable.value, "the array of struct page")?;
        Ok(Self::Flat { base, page_len })
    }

    /// After the last page whose `struct page` follows that of this one.
    pub(super) fn section_end(&self, pfn: u64) -> u64 {
        match self {
            Self::Flat { .. } => u64::MAX,
            Self::Sections(sections) => {
                let section = pfn.unbounded_shr(sections.pages_log2);
                section.saturating_add(1).checked_shl(sections.pages_log2).unwrap_or(u64::MAX)
            }
        }
    }

    /// Where the `struct page` of a page lies; `None` if there is none.
    pub(super) fn page(&self, kernel: &Kernel, pfn: u64) -> Option<Gva> {
        match self {
            Self::Flat { base, page_len } => Some(at(*base, pfn, *page_len)),
            Self::Sections(sections) => sections.page(kernel, pfn),
        }
    }
}

fn at(base: Gva, index: u64, len: u64) -> Gva {
    Gva(base.0.wrapping_add(index.wrapping_mul(len)))
}

impl Sections {
    fn page(&self, kernel: &Kernel, pfn: u64) -> Option<Gva> {
        let section = pfn.unbounded_shr(self.pages_log2);
        let entry = match self.per_root {
            None if section < self.roots => at(self.table, section, self.entry_len),
            None => return None,
            Some(per_root) => {
                let root = section.checked_div(per_root).filter(|root| *root < self.roots)?;
                let pointer = at(self.table, root, kernel.word_len());
                let entries = kernel.read_pointer(pointer, "mem_section").ok()?;
                if entries.0 == 0 {
                    return None;
                }
                at(entries, section.checked_rem(per_root).unwrap_or(0), self.entry_len)
            }
        };
        let map = Gva(entry.0.wrapping_add(self.map_offset));
        let map = kernel.read_pointer(map, "mem_section.section_mem_map").ok()?.0;
        // The array is stored less its first index, to be indexed by page number.
        (map & PRESENT != 0 && map & MAP_MASK != 0)
            .then(|| at(Gva(map & MAP_MASK), pfn, self.page_len))
    }

    /// Whether a table read in this way leads to the `struct page` of a page.
    fn leads_to(&self, kernel: &Kernel, pfn: u64) -> bool {
        let page = self.page(kernel, pfn);
        page.is_some_and(|page| kernel.read_uint(page, 4, "struct page").is_ok())
    }
}

/// The table of sections, if the kernel has one.
fn sections(kernel: &Kernel, page_len: u64) -> Result<Option<Sections>, LinuxError> {
    let Ok(symbol) = kernel.symbol("mem_section") else { return Ok(None) };
    let info = kernel.linux().vmcoreinfo.as_ref();
    let stated = |key: &str| info.and_then(|info| info.value.get(key)?.parse::<u64>().ok());
    let member = kernel.layout().member("mem_section", "section_mem_map");
    let map_offset = stated("OFFSET(mem_section.section_mem_map)")
        .or_else(|| member.map(|member| member.value.offset_bytes))
        .unwrap_or(0);
    let entry_len = stated("SIZE(mem_section)")
        .or_else(|| kernel.layout().size_of("mem_section").map(|size| size.value))
        .filter(|len| (1..=PAGE_SIZE).contains(len));
    let entry_len = entry_len.ok_or_else(|| LinuxError::UnknownConstant {
        name: "sizeof(struct mem_section)".to_owned(),
    })?;
    // `SECTION_SIZE_BITS` of x86: 27, for 32 bits 26 and with PAE 29.
    let is_pae = info.is_some_and(|info| info.value.get("CONFIG_X86_PAE").is_some());
    let usual = if kernel.linux().is_64_bit {
        27
    } else if is_pae {
        29
    } else {
        26
    };
    let bits = stated("NUMBER(SECTION_SIZE_BITS)").unwrap_or(usual);
    let pages_log2 = u32::try_from(bits).ok().filter(|bits| (20..=40).contains(bits));
    let pages_log2 = pages_log2.unwrap_or(27).saturating_sub(PAGE_SIZE.trailing_zeros());
    let per_root = PAGE_SIZE.checked_div(entry_len).unwrap_or(0);
    let sections = Sections {
        table: symbol.value,
        per_root: Some(per_root),
        roots: stated("LENGTH(mem_section)").unwrap_or(u64::MAX),
        entry_len,
        map_offset,
        pages_log2,
        page_len,
    };
    Ok(choose(kernel, sections))
}

/// The symbol is a table of pointers; a pointer to one (4.15, and the symbol
/// table's since then); or the entries themselves. Only the right one leads to
/// `struct page`s.
fn choose(kernel: &Kernel, as_pointers: Sections) -> Option<Sections> {
    let ranges = kernel.memory().ranges().into_iter();
    let largest = ranges.max_by_key(|range| range.end.saturating_sub(range.start))?;
    let pfn = largest.end.saturating_sub(1) / PAGE_SIZE;
    let behind = kernel.read_pointer(as_pointers.table, "mem_section").ok();
    let behind = behind.map(|table| Sections { table, ..as_pointers });
    let entries = Sections { per_root: None, ..as_pointers };
    let mut candidates = [Some(as_pointers), behind, Some(entries)].into_iter().flatten();
    candidates.find(|candidate| candidate.leads_to(kernel, pfn))
}
