mod learned;

use std::sync::Arc;

use vmss2core_machine::Checkpoint;
use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_mem::{Found, Gpa};

use super::fields::Seen;
use super::{Next, PageClass, Untold};
use crate::linux::{BetterSources, Kernel, LinuxError};
use crate::{Facts, LinuxFacts, VmcoreInfo};

/// `struct page` of 6.1: flags, compound_head, mapping at 24, private at 40 (in
/// the second page of a compound one: compound_dtor at 16), _mapcount at 48.
const PAGE: usize = 64;
const LRU: u64 = 1 << 4;
const SLAB: u64 = 1 << 9;
const SWAP_CACHE: u64 = 1 << 10;
const PRIVATE: u64 = 1 << 13;
const HEAD: u64 = 1 << 16;
const SWAP_BACKED: u64 = 1 << 19;
const COMMON: &str = "OSRELEASE=6.1.0\nSIZE(page)=64\nOFFSET(page.flags)=0\n\
    OFFSET(page.mapping)=24\nOFFSET(page._mapcount)=48\nOFFSET(page.private)=40\n\
    NUMBER(PG_lru)=4\nNUMBER(PG_private)=13\nNUMBER(PG_swapcache)=10\n\
    NUMBER(PG_swapbacked)=19\nNUMBER(PG_head_mask)=65536\nSYMBOL(mem_map)=100ff8\n";
const OF_6_1: &str = "OFFSET(page.compound_head)=8\nOFFSET(page.compound_dtor)=16\n\
    NUMBER(PG_slab)=9\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\nNUMBER(HUGETLB_PAGE_DTOR)=2\n\
    NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257\n";
const OF_7: &str = "OFFSET(page.compound_info)=8\nNUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=-184549376\n\
    NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-268435456\n\
    NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)=-201326592\n\
    NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-251658240\n";
/// Where the array of `struct page` lies, through a pointer at [`MAP_POINTER`].
const MAP: u64 = 0x10_1000;
const MAP_POINTER: u64 = 0x10_0ff8;

/// Verdicts of tests on a page.
#[derive(Clone, Copy, Default)]
struct Raw {
    flags: u64,
    /// `compound_head`, or what lies in its place.
    head: u64,
    dtor: u8,
    mapping: u64,
    private: u64,
    mapcount: u32,
}

fn bytes(pages: &[Raw]) -> Vec<u8> {
    let mut bytes = vec![0; pages.len() * PAGE];
    for (raw, page) in bytes.chunks_exact_mut(PAGE).zip(pages) {
        let mut put = |at: usize, value: &[u8]| raw[at..at + value.len()].copy_from_slice(value);
        put(0, &page.flags.to_le_bytes());
        put(8, &page.head.to_le_bytes());
        put(16, &[page.dtor]);
        put(24, &page.mapping.to_le_bytes());
        put(40, &page.private.to_le_bytes());
        put(48, &page.mapcount.to_le_bytes());
    }
    bytes
}

/// A guest without paging whose memory begins at 1 MiB with the pointer to its
/// pages' array.
fn guest(pages: &[Raw]) -> Checkpoint {
    let mut memory = vec![0; 0x2000];
    memory[0xff8..0x1000].copy_from_slice(&MAP.to_le_bytes());
    memory.truncate(0x1000);
    memory.extend(bytes(pages));
    memory.resize(memory.len().next_multiple_of(4096), 0);
    assert_eq!(MAP_POINTER, 0x10_0000 + 0xff8);
    let mut checkpoint = Checkpoint::default();
    let len = memory.len() as u64;
    checkpoint.memory.map(Gpa(0x10_0000), len, Arc::new(memory), 0).unwrap();
    checkpoint
}

fn facts(text: &str) -> Facts {
    stated(format!("{COMMON}{text}"))
}

fn stated(text: String) -> Facts {
    let info = VmcoreInfo { text, synthesised: false };
    let linux = LinuxFacts {
        is_64_bit: true,
        kernel_root: Some(Found::new((PagingMode::IDENTITY, Root(Gpa(0))), "test")),
        vmcoreinfo: Some(Found::new(info, "test")),
        ..LinuxFacts::default()
    };
    Facts::of(linux, "made")
}

fn classes(text: &str, pages: &[Raw]) -> Vec<PageClass> {
    let (checkpoint, facts) = (guest(pages), facts(text));
    let kernel = Kernel::open(&checkpoint, &facts, BetterSources::default()).unwrap();
    let mut classes = kernel.page_classes().unwrap();
    let found = classes.classify(0..pages.len() as u64);
    assert_eq!(classes.unreadable_pages(), 0);
    found
}

use PageClass::{Cache, Free, Other, PrivateCache, User};

const IN_USE: Raw = Raw { flags: 0, head: 0, dtor: 0, mapping: 0, private: 0, mapcount: u32::MAX };

#[test]
fn single_pages_are_told_apart() {
    let page = |flags, mapping| Raw { flags, mapping, ..IN_USE };
    let pages = [
        (page(0, 0), Other),
        (page(LRU, 0x1000), Cache),
        (page(LRU | PRIVATE, 0x1000), PrivateCache),
        (page(LRU, 0x1001), User),
        (page(LRU | PRIVATE, 0x1001), User),
        // Shared by KSM.
        (page(LRU, 0x1003), User),
        // Moved by its driver: no process's.
        (page(0, 0x1002), Other),
        (page(SWAP_CACHE | SWAP_BACKED, 0), Cache),
        // The same bit means something else where swap has nothing to do with it.
        (page(SWAP_CACHE, 0), Other),
        // Of a slab, `mapping` is something else.
        (page(SLAB, 0x1001), Other),
        (Raw { mapcount: 0xffff_feff, ..IN_USE }, Free),
    ];
    let (raw, expected): (Vec<Raw>, Vec<PageClass>) = pages.into_iter().unzip();
    assert_eq!(classes(OF_6_1, &raw), expected);
}

#[test]
fn types_in_the_upper_byte_are_read_as_such() {
    let typed = |mapcount, mapping| Raw { mapping, mapcount, ..IN_USE };
    let pages = [
        (typed(0xf500_0040, 0x1001), Other),
        (typed(0xf400_0000, 0), User),
        (typed(0xf100_0000, 0), Free),
        (typed(0xf000_0000, 0), Free),
        (typed(0xffff_ffff, 0x1001), User),
        // Mapped four times, not typed.
        (typed(3, 0x1001), User),
    ];
    let (raw, expected): (Vec<Raw>, Vec<PageClass>) = pages.into_iter().unzip();
    assert_eq!(classes(OF_7, &raw), expected);
}

#[test]
fn free_blocks_have_their_size_in_the_first_page() {
    let free = |private| Raw { private, mapcount: 0xffff_ff7f, ..IN_USE };
    let mut pages = [IN_USE; 16];
    // What was in the further pages is left there.
    pages[5] = Raw { flags: LRU, mapping: 0x1000, ..IN_USE };
    pages[4] = free(2);
    pages[9] = free(0);
    let mut expected = [Other; 16];
    expected[4..8].fill(Free);
    expected[9] = Free;
    assert_eq!(classes(OF_6_1, &pages), expected);
}

#[test]
fn absurd_sizes_of_free_blocks_are_not_believed() {
    let free = |private| Raw { private, mapcount: 0xffff_ff7f, ..IN_USE };
    // Not where a block of that size can begin; too large; nonsense.
    for (at, order) in [(1, 1), (4, 3), (0, 19), (0, u64::MAX), (0, 64)] {
        let mut pages = [IN_USE; 16];
        pages[at] = free(order);
        assert_eq!(classes(OF_6_1, &pages), [Other; 16], "{at} {order}");
    }
}

#[test]
fn compound_pages_are_what_their_first_page_is() {
    let tail = Raw { head: MAP | 1, mapping: u64::MAX, ..IN_USE };
    let head = |flags, mapping| Raw { flags: flags | HEAD, mapping, ..IN_USE };
    let pages = [
        head(LRU, 0x1001),
        tail,
        head(0, 0),
        tail,
        head(LRU, 0x1000),
        tail,
        tail,
        tail,
        // Of nothing that is known.
        IN_USE,
        tail,
    ];
    let expected = [User, User, Other, Other, Cache, Cache, Cache, Cache, Other, Other];
    assert_eq!(classes(OF_6_1, &pages), expected);
    assert_eq!(classes(OF_7, &pages), expected);
}

#[test]
fn huge_pages_are_known_by_what_frees_them() {
    let tail = |dtor| Raw { head: MAP | 1, dtor, ..IN_USE };
    let head = Raw { flags: HEAD, ..IN_USE };
    let pages = [head, tail(2), tail(0), tail(0), head, tail(1)];
    let expected = [User, User, User, User, Other, Other];
    assert_eq!(classes(OF_6_1, &pages), expected);
}

#[test]
fn blocks_go_across_what_is_asked_for_at_once() {
    let mut pages = [IN_USE; 8];
    pages[0] = Raw { private: 2, mapcount: 0xffff_ff7f, ..IN_USE };
    pages[4] = Raw { flags: HEAD | LRU, mapping: 1, ..IN_USE };
    pages[5] = Raw { head: MAP | 1, ..IN_USE };
    pages[6] = pages[5];
    let (checkpoint, facts) = (guest(&pages), facts(OF_6_1));
    let kernel = Kernel::open(&checkpoint, &facts, BetterSources::default()).unwrap();
    let mut classes = kernel.page_classes().unwrap();
    let found: Vec<PageClass> =
        [0..1, 1..5, 5..6, 6..8].into_iter().flat_map(|pfns| classes.classify(pfns)).collect();
    assert_eq!(found, [Free, Free, Free, Free, User, User, User, Other]);
}

#[test]
fn pages_without_a_description_are_kept_and_counted() {
    let pages = [Raw { flags: LRU, mapping: 0x1000, ..IN_USE }; 4];
    let (checkpoint, facts) = (guest(&pages), facts(OF_6_1));
    let kernel = Kernel::open(&checkpoint, &facts, BetterSources::default()).unwrap();
    let mut classes = kernel.page_classes().unwrap();
    let far = 1 << 30;
    assert_eq!(classes.classify(far..far + 10), [Other; 10]);
    assert_eq!(classes.unreadable_pages(), 10);
}

#[test]
fn what_is_missing_is_named_and_the_rest_is_told() {
    let pages = [IN_USE, Raw { flags: LRU, mapping: 0x1000, ..IN_USE }];
    let (checkpoint, facts) = (guest(&pages), facts(""));
    let kernel = Kernel::open(&checkpoint, &facts, BetterSources::default()).unwrap();
    let mut classes = kernel.page_classes().unwrap();
    let [Untold { class: Free, why }] = classes.untold() else { panic!("{classes:?}") };
    assert!(why.to_string().starts_with("which pages are free is not known: "), "{why}");
    assert_eq!(classes.classify(0..2), [Other, Cache]);
}

#[test]
fn a_guest_that_shows_nothing_of_its_pages_is_refused() {
    let (checkpoint, facts) = (guest(&[IN_USE]), stated("OSRELEASE=6.1.0\n".to_owned()));
    let kernel = Kernel::open(&checkpoint, &facts, BetterSources::default()).unwrap();
    let error = kernel.page_classes().unwrap_err();
    assert!(matches!(error, LinuxError::UnknownPageArray), "{error}");
}

#[test]
fn nothing_follows_from_pages_that_were_not_asked_for() {
    let mut next = Next::default();
    assert_eq!(next.class(0, || Seen::Head(Cache)), Cache);
    assert_eq!(next.class(1, || Seen::Tail), Cache);
    assert_eq!(next.class(5, || Seen::Tail), Other);
}

/// A guest whose array of `struct page` is that of section 0, the table of
/// sections being where `SYMBOL(mem_section)` of each test says.
fn guest_of_sections(marks: u64) -> Checkpoint {
    let mut memory = vec![0; 0x8000];
    let mut put = |at: usize, value: u64| {
        memory[at..at + 8].copy_from_slice(&value.to_le_bytes());
    };
    // Pointers to entries, a pointer to these, and the entries.
    put(0, 0x10_0100);
    put(0x40, 0x10_0000);
    put(0x100, MAP | marks);
    let pages = bytes(&[IN_USE, Raw { flags: LRU, mapping: 0x1000, ..IN_USE }]);
    memory[0x1000..0x1000 + pages.len()].copy_from_slice(&pages);
    let mut checkpoint = Checkpoint::default();
    checkpoint.memory.map(Gpa(0x10_0000), 0x8000, Arc::new(memory), 0).unwrap();
    checkpoint
}

const SECTIONS: &str = "LENGTH(mem_section)=16\nSIZE(mem_section)=16\n\
    OFFSET(mem_section.section_mem_map)=0\nNUMBER(SECTION_SIZE_BITS)=27\n";

#[test]
fn sections_are_found_in_each_form_of_their_table() {
    for table in ["100000", "100040", "100100"] {
        let text = format!("{OF_6_1}{SECTIONS}SYMBOL(mem_section)={table}\n");
        // Present; with a map; with further marks of later kernels.
        for marks in [1, 0b11, 0b1_1111] {
            let (checkpoint, facts) = (guest_of_sections(marks), facts(&text));
            let kernel = Kernel::open(&checkpoint, &facts, BetterSources::default()).unwrap();
            let mut classes = kernel.page_classes().unwrap();
            assert_eq!(classes.classify(0..2), [Other, Cache], "table at {table}");
            // A section that does not exist is no mistake.
            let absent = 5 << 15;
            assert_eq!(classes.classify(absent..absent + 2), [Other, Other]);
            assert_eq!(classes.unreadable_pages(), 0);
        }
    }
}

#[test]
fn a_table_that_leads_nowhere_is_not_used() {
    // Its entries have no map; `mem_map`, which VMCOREINFO names too, does.
    let text = format!("{OF_6_1}{SECTIONS}SYMBOL(mem_section)=100000\n");
    let pages = [IN_USE, Raw { flags: LRU, mapping: 0x1000, ..IN_USE }];
    let (checkpoint, facts) = (guest(&pages), facts(&text));
    let kernel = Kernel::open(&checkpoint, &facts, BetterSources::default()).unwrap();
    assert_eq!(kernel.page_classes().unwrap().classify(0..2), [Other, Cache]);
}

/// 3.2 names no mark of a free page: those on the kernel's lists are.
#[test]
fn pages_without_a_mark_are_free_if_they_are_on_the_lists() {
    // `struct page` has its place in a list at 32; a node with one zone after the pages.
    const OF_3_2: &str = "OSRELEASE=3.2.0\nSIZE(page)=64\nOFFSET(page.flags)=0\n\
        OFFSET(page.mapping)=24\nOFFSET(page.lru)=32\nNUMBER(PG_lru)=4\nNUMBER(PG_private)=13\n\
        NUMBER(PG_swapcache)=10\nSYMBOL(mem_map)=100ff8\nSYMBOL(vmemmap)=101000\n\
        SYMBOL(contig_page_data)=102000\nOFFSET(pglist_data.node_zones)=0\nSIZE(zone)=512\n\
        OFFSET(zone.free_area)=16\nSIZE(free_area)=24\nOFFSET(free_area.free_list)=0\n\
        LENGTH(zone.free_area)=3\n";
    const NODE: u64 = 0x10_2000;
    let mut memory = vec![0; 0x3000];
    let mut put = |at: u64, value: u64| {
        let at = usize::try_from(at - 0x10_0000).unwrap();
        memory[at..at + 8].copy_from_slice(&value.to_le_bytes());
    };
    let page = |frame: u64| MAP + frame * PAGE as u64;
    put(page(2), LRU);
    put(page(2) + 24, 0x1000);
    for order in 0..3 {
        // Frame 1 alone, frames 4 to 7, and a block that does not lie as its size demands.
        let head = NODE + 16 + 24 * order;
        let frame = match order {
            0 => Some(1),
            1 => Some(9),
            _ => Some(4),
        };
        let entry = frame.map_or(head, |frame| page(frame) + 32);
        for (at, value) in [(head, entry), (head + 8, entry), (entry, head), (entry + 8, head)] {
            put(at, value);
        }
    }
    let mut checkpoint = Checkpoint::default();
    checkpoint.memory.map(Gpa(0x10_0000), 0x3000, Arc::new(memory), 0).unwrap();
    let facts = stated(OF_3_2.to_owned());
    let kernel = Kernel::open(&checkpoint, &facts, BetterSources::default()).unwrap();
    let found = kernel.page_classes().unwrap().classify(0..10);
    let expected = [Other, Free, Cache, Other, Free, Free, Free, Free, Other, Other];
    assert_eq!(found, expected);
}
