//! Fields of a `struct page`.

use std::collections::HashMap;

use super::memory_map::MemoryMap;
use super::{PageClass, free_lists};
use crate::linux::{Kernel, LinuxError};

/// Largest `struct page` that is believed; real ones have 32 to 96 bytes.
const LARGEST_PAGE: u64 = 512;
/// `PAGE_TYPE_BASE`: set in every `_mapcount` that is a type (4.18 to 6.10).
const TYPE_BASE: u32 = 0xf000_0000;
/// `PAGE_MAPPING_ANON`, `FOLIO_MAPPING_ANON`.
const MAPPING_ANON: u64 = 1;

/// Where the parts of a `struct page` lie, and what they mean.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    /// Bytes of a `struct page`.
    pub(super) page_len: u64,
    word_len: usize,
    flags: usize,
    mapping: usize,
    /// Not known where no mark is in it.
    mapcount: usize,
    private: usize,
    /// Bit 0 is set in the pages of a compound page after the first.
    compound: Option<usize>,
    head_mask: u64,
    uses: Uses,
    slab: Option<Mark>,
    /// `None` if only the kernel's lists tell which pages are free.
    buddy: Option<Mark>,
    offline: Option<Mark>,
    huge: Option<HugeMark>,
}

/// How pages of files and of processes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uses {
    /// By flags whose numbers are known.
    Stated {
        lru: u64,
        private: u64,
        swap_cache: u64,
        /// Where it exists, `swap_cache` means something only together with it.
        swap_backed: Option<u64>,
    },
    /// By flags that only these have, all of them together.
    Learned { mask: u64 },
    /// Pages of files by what they lead to, those of processes not at all.
    Owned,
    /// Not at all.
    Untold,
}

/// How a page says that it is of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// By a bit of `flags`.
    Flag(u64),
    /// By this `_mapcount` (up to 4.17).
    Count(u32),
    /// By a bit that is clear in a `_mapcount` which is a type (4.18 to 6.10).
    ClearBit(u32),
    /// By the upper byte of `_mapcount` (6.11 on).
    UpperByte(u32),
}

/// How the first page of a huge page for processes says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HugeMark {
    /// In itself.
    First(Mark),
    /// By a bit of the second page's `flags` (6.6 to 6.8).
    SecondFlag(u64),
    /// By the number of the function that frees it, a byte of the second page.
    SecondDestructor { at: usize, number: u64 },
}

/// Classifies a page by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The first of 2^`order` free pages.
    Free { order: u64 },
    /// Part of a compound page, not its first.
    Tail,
    /// The first page of a compound page.
    Head(PageClass),
    /// A page by itself.
    Single(PageClass),
}

/// Looks things up in VMCOREINFO first, in the type information then.
struct Keys<'k>(&'k Kernel);

impl Keys<'_> {
    fn number(&self, name: &str) -> Option<i64> {
        let info = self.0.linux().vmcoreinfo.as_ref();
        info.and_then(|info| info.value.number(name))
    }

    /// A bit of `page.flags`.
    fn flag(&self, name: &str) -> Option<u64> {
        let bit = self
            .number(name)
            .or_else(|| self.0.layout().enumerator(name).map(|found| found.value))?;
        1_u64.checked_shl(u32::try_from(bit).ok()?)
    }

    fn offset(&self, member: &str) -> Option<usize> {
        let info = self.0.linux().vmcoreinfo.as_ref();
        let stated = info.and_then(|info| info.value.get(&format!("OFFSET(page.{member})")));
        let stated = stated.and_then(|text| text.parse().ok());
        stated.or_else(|| {
            let member = self.0.layout().member("page", member)?.value;
            usize::try_from(member.offset_bytes).ok()
        })
    }

    fn needed(&self, member: &str) -> Result<usize, LinuxError> {
        self.offset(member).ok_or_else(|| LinuxError::UnknownMember {
            structure: "page".to_owned(),
            member: member.to_owned(),
        })
    }

    fn needed_flag(&self, name: &str) -> Result<u64, LinuxError> {
        self.flag(name).ok_or_else(|| LinuxError::UnknownConstant { name: name.to_owned() })
    }

    /// A kind of page that VMCOREINFO has the `_mapcount` of; 6.11 and later have
    /// the number of the kind in an enumeration.
    fn kind(&self, name: &str, enumerator: &str) -> Option<Mark> {
        let stated = self.number(&format!("PAGE_{name}_MAPCOUNT_VALUE"));
        if let Some(value) = stated {
            return Some(Mark::of_count(value));
        }
        let number = self.0.layout().enumerator(enumerator)?.value;
        let byte = u32::try_from(number).ok().filter(|byte| (0xf0..=0xff).contains(byte))?;
        Some(Mark::UpperByte(byte << 24))
    }

    fn page_len(&self) -> Result<u64, LinuxError> {
        let info = self.0.linux().vmcoreinfo.as_ref();
        let stated = info.and_then(|info| info.value.get("SIZE(page)")?.parse().ok());
        let known = || self.0.layout().size_of("page").map(|found| found.value);
        let size = stated.or_else(known).filter(|size| (16..=LARGEST_PAGE).contains(size));
        size.ok_or_else(|| LinuxError::UnknownConstant { name: "sizeof(struct page)".to_owned() })
    }

    fn buddy(&self) -> Option<Mark> {
        let by_flag = || self.number("PG_buddy").and(self.flag("PG_buddy")).map(Mark::Flag);
        let by_lists = || self.mark_of_lists().map(|count| Mark::of_count(count.into()));
        let known = self.kind("BUDDY", "PGTY_buddy").or_else(by_flag).or_else(by_lists)?;
        self.offset("private")?;
        (matches!(known, Mark::Flag(_)) || self.offset("_mapcount").is_some()).then_some(known)
    }

    fn mark_of_lists(&self) -> Option<u32> {
        let at = |member| u64::try_from(self.offset(member)?).ok();
        let places = free_lists::Places {
            list: at("lru")?,
            mapcount: at("_mapcount")?,
            private: at("private")?,
        };
        free_lists::mapcount(self.0, places)
    }

    fn huge(&self) -> Option<HugeMark> {
        if let Some(mark) = self.kind("HUGETLB", "PGTY_hugetlb") {
            return Some(HugeMark::First(mark));
        }
        if let Some(flag) = self.flag("PG_hugetlb") {
            return Some(HugeMark::SecondFlag(flag));
        }
        let number = self
            .number("HUGETLB_PAGE_DTOR")
            .or_else(|| self.0.layout().enumerator("HUGETLB_PAGE_DTOR").map(|found| found.value));
        let number = u64::try_from(number?).ok()?;
        Some(HugeMark::SecondDestructor { at: self.offset("compound_dtor")?, number })
    }
}

impl Uses {
    fn stated(keys: &Keys<'_>) -> Result<Self, LinuxError> {
        Ok(Self::Stated {
            lru: keys.needed_flag("PG_lru")?,
            private: keys.needed_flag("PG_private")?,
            swap_cache: keys.needed_flag("PG_swapcache")?,
            swap_backed: keys.flag("PG_swapbacked"),
        })
    }
}

impl Fields {
    pub(super) fn of(kernel: &Kernel) -> Result<Self, LinuxError> {
        let keys = Keys(kernel);
        let (page_len, _) = (keys.page_len()?, keys.needed("flags")?);
        let mapping = keys.needed("mapping")?;
        Ok(Self::new(kernel, page_len, Some(mapping), Uses::stated(&keys)?))
    }

    /// What else is known where these are.
    pub(super) fn new(kernel: &Kernel, page_len: u64, mapping: Option<usize>, uses: Uses) -> Self {
        let keys = Keys(kernel);
        let head_mask = keys.number("PG_head_mask").and_then(|mask| u64::try_from(mask).ok());
        let compound = keys.offset("compound_head").or_else(|| keys.offset("compound_info"));
        Self {
            page_len,
            word_len: usize::try_from(kernel.word_len()).unwrap_or(8),
            flags: Self::flags_at(kernel),
            mapping: mapping.unwrap_or(usize::MAX),
            mapcount: keys.offset("_mapcount").unwrap_or(usize::MAX),
            private: keys.offset("private").unwrap_or(usize::MAX),
            compound,
            head_mask: head_mask.or_else(|| keys.flag("PG_head")).unwrap_or(0),
            uses,
            slab: keys.kind("SLAB", "PGTY_slab").or_else(|| keys.flag("PG_slab").map(Mark::Flag)),
            buddy: keys.buddy(),
            offline: keys.kind("OFFLINE", "PGTY_offline"),
            huge: keys.huge(),
        }
    }

    /// Bytes of a `struct page`.
    pub(super) fn page_len(kernel: &Kernel) -> Result<u64, LinuxError> {
        Keys(kernel).page_len()
    }

    /// Where its flags are: first since 2.6.0.
    pub(super) fn flags_at(kernel: &Kernel) -> usize {
        Keys(kernel).offset("flags").unwrap_or(0)
    }

    /// Whether a page of a file is one only if it leads to that.
    pub(super) fn learned_uses(&self) -> bool {
        matches!(self.uses, Uses::Learned { .. } | Uses::Owned)
    }

    /// What a page leads to.
    pub(super) fn mapping_of(&self, page: &[u8]) -> u64 {
        Page { fields: self, raw: page }.word(self.mapping)
    }

    /// The kernel's blocks of free pages, where pages do not tell that they are free.
    pub(super) fn free_blocks(
        &self,
        kernel: &Kernel,
        map: &MemoryMap,
    ) -> Result<HashMap<u64, u64>, LinuxError> {
        if self.buddy.is_some() {
            return Ok(HashMap::new());
        }
        let list = Keys(kernel).offset("lru").and_then(|list| u64::try_from(list).ok());
        let blocks = list.and_then(|list| free_lists::blocks(kernel, list, &map.spans(kernel)));
        blocks.ok_or_else(|| LinuxError::UnknownConstant {
            name: "PAGE_BUDDY_MAPCOUNT_VALUE".to_owned(),
        })
    }

    /// Classifies a page by its looks. `second` is the page after it.
    pub(super) fn look(&self, page: &[u8], second: Option<&[u8]>) -> Seen {
        let page = Page { fields: self, raw: page };
        if self.compound.is_some_and(|at| page.word(at) & 1 == 1) {
            return Seen::Tail;
        }
        if self.buddy.is_some_and(|buddy| page.has(buddy)) {
            return Seen::Free { order: page.word(self.private) };
        }
        let class = self.class(page, second.map(|raw| Page { fields: self, raw }));
        if page.flags() & self.head_mask == 0 { Seen::Single(class) } else { Seen::Head(class) }
    }

    fn class(&self, page: Page<'_>, second: Option<Page<'_>>) -> PageClass {
        let is_slab = self.slab.is_some_and(|slab| page.has(slab));
        let is_anonymous = page.word(self.mapping) & MAPPING_ANON != 0 && !is_slab;
        match self.uses {
            Uses::Stated { private, .. } if self.is_cache(page.flags()) && !is_anonymous => {
                let is_private = page.flags() & private != 0;
                return if is_private { PageClass::PrivateCache } else { PageClass::Cache };
            }
            Uses::Stated { .. } if is_anonymous => return PageClass::User,
            Uses::Learned { mask } if page.flags() & mask == mask => {
                return if is_anonymous { PageClass::User } else { PageClass::PrivateCache };
            }
            Uses::Owned if !is_anonymous && page.word(self.mapping) != 0 => {
                return PageClass::PrivateCache;
            }
            _ => {}
        }
        if self.is_huge(page, second) {
            return PageClass::User;
        }
        if self.offline.is_some_and(|offline| page.has(offline)) {
            return PageClass::Free;
        }
        PageClass::Other
    }

    fn is_cache(&self, page_flags: u64) -> bool {
        let Uses::Stated { lru, swap_cache, swap_backed, .. } = self.uses else { return false };
        let is_swap_backed = swap_backed.is_none_or(|bit| page_flags & bit != 0);
        page_flags & lru != 0 || (page_flags & swap_cache != 0 && is_swap_backed)
    }

    fn is_huge(&self, page: Page<'_>, second: Option<Page<'_>>) -> bool {
        match self.huge {
            None => false,
            Some(HugeMark::First(mark)) => page.has(mark),
            // Only compound pages have a second page that says anything.
            Some(_) if page.flags() & self.head_mask == 0 => false,
            Some(HugeMark::SecondFlag(flag)) => {
                second.is_some_and(|second| second.flags() & flag != 0)
            }
            Some(HugeMark::SecondDestructor { at, number }) => {
                second.is_some_and(|second| second.number(at, 1) == number)
            }
        }
    }
}

impl Mark {
    /// The mark after a `PAGE_..._MAPCOUNT_VALUE`.
    fn of_count(value: i64) -> Self {
        // Printed as a signed 32-bit number.
        let count = u32::try_from(value & i64::from(u32::MAX)).unwrap_or(0);
        if count.trailing_zeros() >= 24 {
            Self::UpperByte(count)
        } else if (!count).is_power_of_two() {
            Self::ClearBit(!count)
        } else {
            Self::Count(count)
        }
    }
}

/// The bytes of one.
#[derive(Clone, Copy)]
struct Page<'a> {
    fields: &'a Fields,
    raw: &'a [u8],
}

impl Page<'_> {
    /// The number of `len` bytes at `at`, 0 where there is none.
    fn number(self, at: usize, len: usize) -> u64 {
        // Millions of words are read.
        if let (8, Some(word)) = (len, self.raw.get(at..).and_then(|raw| raw.first_chunk())) {
            return u64::from_le_bytes(*word);
        }
        let raw = at.checked_add(len).and_then(|end| self.raw.get(at..end));
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(raw.unwrap_or_default()) {
            *to = *from;
        }
        u64::from_le_bytes(bytes)
    }

    fn word(self, at: usize) -> u64 {
        self.number(at, self.fields.word_len)
    }

    fn flags(self) -> u64 {
        self.word(self.fields.flags)
    }

    fn has(self, mark: Mark) -> bool {
        let count = || u32::try_from(self.number(self.fields.mapcount, 4)).unwrap_or(0);
        match mark {
            Mark::Flag(flag) => self.flags() & flag != 0,
            Mark::Count(value) => count() == value,
            Mark::ClearBit(bit) => count() & (TYPE_BASE | bit) == TYPE_BASE,
            Mark::UpperByte(byte) => count() & 0xff00_0000 == byte,
        }
    }
}
