//! Kernels that say nothing of their pages.

use std::collections::{HashMap, HashSet};

use vmss2core_mem::Gva;

use super::*;
use crate::linux::pages::evidence::Evidence;
use crate::linux::pages::fields::{Fields, Uses};
use crate::linux::pages::learned::{Array, marks};
use crate::linux::pages::memory_map::MemoryMap;
use crate::linux::pages::owners::Owners;
use crate::linux::pages::zones::FreeLists;
use crate::linux::pages::{PageClasses, Parts};
use crate::linux::{MappedPage, PageArray};

const START: u64 = 0x10_0000;
const END: u64 = 0x20_0000;
const FRAMES: u64 = END >> 12;
const NODE: u64 = 0x11_0000;
const ORDERS: u64 = 10;
/// As `struct page` of x86-64 was for long.
const LEN: u64 = 56;
/// Its place in a list.
const LIST: u64 = 40;
/// First frame, power of two, kind of use.
const BLOCKS: [(u64, u64, u64); 9] = [
    (33, 0, 0),
    (35, 0, 0),
    (37, 0, 1),
    (40, 1, 0),
    (44, 2, 1),
    (48, 4, 0),
    (96, 5, 0),
    (128, 7, 1),
    (256, 8, 0),
];

/// Memory to be filled in.
struct Ram(Vec<u8>);

impl Ram {
    fn new() -> Self {
        let mut ram = Self(vec![0; usize::try_from(END - START).unwrap()]);
        ram.set(MAP_POINTER, MAP);
        ram
    }

    fn set(&mut self, at: u64, value: u64) {
        let at = usize::try_from(at - START).unwrap();
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn word(&self, at: u64) -> u64 {
        let at = usize::try_from(at - START).unwrap();
        u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    /// Puts an entry at the end of a list.
    fn append(&mut self, head: u64, entry: u64) {
        let last = self.word(head + 8);
        for (at, value) in [(last, entry), (entry + 8, last), (entry, head), (head + 8, entry)] {
            self.set(at, value);
        }
    }

    fn with<T>(self, ask: impl FnOnce(&Kernel) -> T) -> T {
        let mut checkpoint = Checkpoint::default();
        checkpoint.memory.map(Gpa(START), END - START, Arc::new(self.0), 0).unwrap();
        let facts = stated(format!(
            "OSRELEASE=2.6.30\nSYMBOL(mem_map)={MAP_POINTER:x}\nSYMBOL(contig_page_data)={NODE:x}\n"
        ));
        ask(&Kernel::open(&checkpoint, &facts, BetterSources::default()).unwrap())
    }
}

fn area(kinds: u64, order: u64) -> u64 {
    NODE + 0x48 + order * (2 * kinds + 1) * 8
}

/// Lists of so many kinds; each followed by how many blocks there are, or by a bitmap.
fn zone(kinds: u64, is_counted: bool) -> Ram {
    let mut ram = Ram::new();
    for order in 0..ORDERS {
        for head in (0..kinds).map(|kind| area(kinds, order) + 16 * kind) {
            ram.set(head, head);
            ram.set(head + 8, head);
        }
        let count = BLOCKS.iter().filter(|block| block.1 == order).count() as u64;
        let last = match order {
            _ if is_counted => count,
            9 => 0,
            _ => START + 0x8_0000 + order * 0x100,
        };
        ram.set(area(kinds, order) + 16 * kinds, last);
    }
    for (frame, order, kind) in BLOCKS {
        ram.append(area(kinds, order) + 16 * (kind % kinds), MAP + frame * LEN + LIST);
    }
    ram
}

fn blocks() -> HashMap<u64, u64> {
    BLOCKS.into_iter().map(|(frame, order, _)| (frame, order)).collect()
}

#[test]
fn lists_of_free_pages_are_told_by_their_form() {
    for (kinds, is_counted) in [(1, false), (1, true), (4, true), (5, true), (6, true)] {
        zone(kinds, is_counted).with(|kernel| {
            let found = FreeLists::find(kernel, MAP);
            for len_bytes in (32..=128).step_by(8) {
                let expected = (len_bytes == LEN).then(blocks);
                let array = PageArray { base: MAP, len_bytes };
                assert_eq!(found.blocks(array, FRAMES), expected, "{kinds} {len_bytes}");
            }
        });
    }
}

/// Lists of pages in use have no such count.
#[test]
fn lists_that_are_not_counted_right_are_others() {
    let mut ram = zone(5, true);
    for order in [0, 4, 8] {
        ram.set(area(5, order) + 80, 7);
    }
    assert!(ram.with(|kernel| FreeLists::find(kernel, MAP).entries.is_empty()));
}

#[test]
fn a_block_that_cannot_lie_there_spoils_the_array() {
    for (frame, order) in [(50, 2), (256, 9), (FRAMES, 1), (52, 1)] {
        let mut ram = zone(1, false);
        ram.append(area(1, order), MAP + frame * LEN + LIST);
        let array = PageArray { base: MAP, len_bytes: LEN };
        assert_eq!(ram.with(|kernel| FreeLists::find(kernel, MAP).blocks(array, FRAMES)), None);
    }
}

#[test]
fn free_pages_alone_are_left_out_where_nothing_else_is_known() {
    zone(5, true).with(|kernel| {
        let mut classes = kernel.page_classes().unwrap();
        let untold: Vec<PageClass> = classes.untold().iter().map(|one| one.class).collect();
        assert_eq!(untold, [Cache, User, PrivateCache]);
        let found = classes.classify(0..FRAMES);
        for (frame, class) in (0..).zip(found) {
            let is_free = BLOCKS
                .iter()
                .any(|(start, order, _)| (*start..start + (1 << order)).contains(&frame));
            assert_eq!(class, if is_free { Free } else { Other }, "{frame}");
        }
    });
}

const ZONE: u64 = 1 << 62;
const UPTODATE: u64 = 1 << 3;
const INODE: u64 = 0x13_0000;
const MAPPING: u64 = 0x13_0100;

/// Pages 0 to 19 of a file, 20 to 39 of a process, 40 to 49 of the kernel.
fn ram_of_pages(of_kernel: u64) -> Ram {
    let mut ram = Ram::new();
    // `address_space.host` first, `inode.i_mapping` at 8.
    ram.set(MAPPING, INODE);
    ram.set(INODE + 8, MAPPING);
    for frame in 0..50 {
        let (flags, mapping) = match frame {
            // One that is not on its list yet.
            0 | 20 => (UPTODATE, if frame == 0 { MAPPING } else { 0x12_0001 }),
            1..20 => (LRU | UPTODATE | PRIVATE, MAPPING),
            21..40 => (LRU | UPTODATE | SWAP_BACKED, 0x12_0001),
            _ => (of_kernel, 0),
        };
        ram.set(MAP + frame * LEN, flags | ZONE);
        ram.set(MAP + frame * LEN + 24, mapping);
    }
    ram
}

fn evidence() -> Evidence {
    Evidence {
        cached: (0..20).map(|frame| MappedPage { mapping: MAPPING, index: frame, frame }).collect(),
        anonymous: (20..40).collect(),
        kernel: (40..50).collect(),
    }
}

fn array() -> Array {
    let map = MemoryMap::Flat { base: Gva(MAP), page_len: LEN };
    Array { map, page_len: LEN, mapping: Some(24), free: None }
}

fn marks_of(of_kernel: u64) -> Result<u64, &'static str> {
    ram_of_pages(of_kernel).with(|kernel| marks(kernel, &array(), &evidence()))
}

#[test]
fn flags_that_only_pages_of_users_have_mark_them() {
    assert_eq!(marks_of(0), Ok(LRU | UPTODATE));
    assert_eq!(marks_of(SLAB | UPTODATE), Ok(LRU));
    assert_eq!(marks_of(LRU | UPTODATE), Err("no flag is set in these only"));
    let few = Evidence { kernel: vec![40], ..evidence() };
    let found = ram_of_pages(0).with(|kernel| marks(kernel, &array(), &few));
    assert_eq!(found, Err("too few pages are known"));
}

#[test]
fn a_page_is_of_a_file_only_if_that_leads_back() {
    let mut ram = ram_of_pages(0);
    // What a page leads to is no `address_space`, and is not there.
    ram.set(MAP + 5 * LEN + 24, MAPPING + 8);
    ram.set(MAP + 6 * LEN + 24, u64::MAX - 7);
    // Of a process, as only its page tables say, which lead to 41 and 42 as well.
    ram.set(MAP + 7 * LEN + 24, 0);
    let found = ram.with(|kernel| {
        let uses = Uses::Learned { mask: LRU | UPTODATE };
        let known = Parts {
            fields: Fields::new(kernel, LEN, Some(24), uses),
            map: array().map,
            free_blocks: HashMap::new(),
            users: HashSet::from([7, 41, 42, 1]),
            untold: Vec::new(),
        };
        let owners = Some(Owners { host: 0, mapping: 8, known: HashMap::new() });
        let (buffer, next, unreadable) = (Vec::new(), Next::default(), 0);
        let mut classes = PageClasses { kernel, known, owners, buffer, next, unreadable };
        classes.classify(0..50)
    });
    for (frame, class) in (0..).zip(found) {
        let expected = match frame {
            0 | 5 | 6 | 20 | 40 | 43.. => Other,
            7 | 21..40 | 41 | 42 => User,
            _ => PrivateCache,
        };
        assert_eq!(class, expected, "{frame}");
    }
}
