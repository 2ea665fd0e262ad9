//! Random tables, walked by a second walker that knows nothing of the first:
//! written from the manual's figures, entry by entry, without merging.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Pages of memory that random tables live in and point to.
const PAGES: u64 = 10;

type Page = (u64, bool, bool, bool);

/// All mapped pages of memory: virtual page to physical page and permissions.
fn every_page(ram: &[u8], mode: PagingMode, root: u64) -> BTreeMap<u64, Page> {
    let mut pages = BTreeMap::new();
    if mode == FIVE_LEVEL {
        long(ram, root, 5, 0, (true, true, true), &mut pages);
        return extended(&pages, 1 << 56);
    } else if mode == FOUR_LEVEL {
        long(ram, root, 4, 0, (true, true, true), &mut pages);
        return extended(&pages, 1 << 47);
    } else if mode == PAE {
        for slot in 0..4 {
            let entry = word(ram, root + slot * 8);
            if entry % 2 == 1 {
                let next = entry & 0x000f_ffff_ffff_f000;
                long(ram, next, 2, slot << 30, (true, true, true), &mut pages);
            }
        }
    } else {
        short(ram, root, mode, &mut pages);
    }
    pages
}

/// Copies the sign bit of each address into all bits above.
fn extended(pages: &BTreeMap<u64, Page>, sign: u64) -> BTreeMap<u64, Page> {
    let extend = |gva: u64| if gva & sign == 0 { gva } else { gva.wrapping_sub(sign * 2) };
    pages.iter().map(|(gva, page)| (extend(*gva), *page)).collect()
}

fn long(
    ram: &[u8],
    table: u64,
    level: u32,
    base: u64,
    (w, u, x): (bool, bool, bool),
    pages: &mut BTreeMap<u64, Page>,
) {
    if table + 4096 > ram.len() as u64 {
        return;
    }
    let bits = [0, 12, 21, 30, 39, 48][level as usize];
    for slot in 0..512 {
        let entry = word(ram, table + slot * 8);
        if entry & 1 == 0 {
            continue;
        }
        let now = (w && entry & 2 != 0, u && entry & 4 != 0, x && entry >> 63 == 0);
        let gva = base + (slot << bits);
        let large = entry & 0x80 != 0;
        match level {
            4 | 5 if large => {}
            1 => add(ram, gva, entry & 0x000f_ffff_ffff_f000, 4096, now, pages),
            2 if large => add(ram, gva, entry & 0x000f_ffff_ffe0_0000, 1 << 21, now, pages),
            3 if large => add(ram, gva, entry & 0x000f_ffff_c000_0000, 1 << 30, now, pages),
            _ => long(ram, entry & 0x000f_ffff_ffff_f000, level - 1, gva, now, pages),
        }
    }
}

fn short(ram: &[u8], root: u64, mode: PagingMode, pages: &mut BTreeMap<u64, Page>) {
    let pse = mode == TWO_LEVEL_PSE;
    for slot in 0..1024 {
        let directory = word(ram, root + slot * 4) & 0xffff_ffff;
        if directory & 1 == 0 {
            continue;
        }
        let (w, u) = (directory & 2 != 0, directory & 4 != 0);
        if pse && directory & 0x80 != 0 {
            let gpa = directory & 0xffc0_0000 | (directory & 0x1f_e000) << 19;
            add(ram, slot << 22, gpa, 1 << 22, (w, u, true), pages);
            continue;
        }
        let table = directory & 0xffff_f000;
        if table + 4096 > ram.len() as u64 {
            continue;
        }
        for inner in 0..1024 {
            let entry = word(ram, table + inner * 4) & 0xffff_ffff;
            if entry & 1 != 0 {
                let now = (w && entry & 2 != 0, u && entry & 4 != 0, true);
                add(ram, slot << 22 | inner << 12, entry & 0xffff_f000, 4096, now, pages);
            }
        }
    }
}

fn add(
    ram: &[u8],
    gva: u64,
    gpa: u64,
    len: u64,
    (w, u, x): (bool, bool, bool),
    pages: &mut BTreeMap<u64, Page>,
) {
    let end = (gpa + len).min(ram.len() as u64);
    for page in (gpa..end).step_by(4096) {
        pages.insert(gva.wrapping_add(page - gpa), (page, w, u, x));
    }
}

/// Eight bytes, of which the last may be missing.
fn word(ram: &[u8], at: u64) -> u64 {
    let mut bytes = [0; 8];
    let from = &ram[at as usize..ram.len().min(at as usize + 8)];
    bytes[..from.len()].copy_from_slice(from);
    u64::from_le_bytes(bytes)
}

fn modes() -> impl Strategy<Value = PagingMode> {
    prop_oneof![Just(TWO_LEVEL), Just(TWO_LEVEL_PSE), Just(PAE), Just(FOUR_LEVEL), Just(FIVE_LEVEL),]
}

/// Entries at a few places of each table, so that chains of tables come about;
/// most lead to another page of the same memory.
fn entries() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
    let slot = prop::sample::select(vec![0, 1, 2, 255, 256, 384, 510, 511]);
    let target = prop_oneof![20 => 0..PAGES, 1 => 0..PAGES * 2, 1 => Just(0x3_ffff)];
    let flags = (0..8_u64, prop_oneof![6 => Just(0), 1 => Just(PS)], any::<bool>())
        .prop_map(|(low, large, nx)| low | P | large | if nx { NX } else { 0 });
    let entry = (0..PAGES, slot, target, flags)
        .prop_map(|(table, slot, target, flags)| (table, slot, (target * 4096) | flags));
    prop::collection::vec(entry, 10..45)
}

fn filled(entries: &[(u64, u64, u64)]) -> Ram {
    let empty = Ram::pages(PAGES as usize);
    entries.iter().fold(empty, |ram, (table, slot, entry)| ram.set(table * 4096 + slot * 8, *entry))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_walkers_agree_on_every_page(mode in modes(), entries in entries(), root in 0..PAGES) {
        let ram = filled(&entries);
        let bytes = ram.0.clone();
        let memory = ram.memory();
        let space = space(&memory, mode, root * 4096);
        let limits = Limits { visits_per_table: u8::MAX, ..Limits::default() };
        let leaves = space.leaves(&limits);
        prop_assume!(leaves.summary.tables_omitted == 0);

        let expected = every_page(&bytes, mode, root * 4096);
        let mut found = BTreeMap::new();
        let mut last = None;
        for leaf in &leaves.leaves {
            prop_assert!(last < Some(leaf.gva), "not sorted at {}", leaf.gva);
            last = Some(leaf.gva);
            let Permissions { write, user, execute } = leaf.permissions;
            for page in 0..u64::from(leaf.pages) {
                let (gva, gpa) = (leaf.gva.0 + page * 4096, leaf.gpa.0 + page * 4096);
                prop_assert_eq!(found.insert(gva, (gpa, write, user, execute)), None);
            }
        }
        prop_assert_eq!(&found, &expected);
        for (gva, (gpa, write, user, execute)) in expected {
            let at = space.translate(Gva(gva | 0x123)).unwrap();
            prop_assert_eq!(at.gpa, Gpa(gpa | 0x123));
            prop_assert_eq!(at.permissions, Permissions { write, user, execute });
        }
    }

    #[test]
    fn what_is_not_listed_does_not_translate_to_memory(
        mode in modes(), entries in entries(), root in 0..PAGES, gvas in prop::collection::vec(any::<u64>(), 50)
    ) {
        let ram = filled(&entries);
        let bytes = ram.0.clone();
        let memory = ram.memory();
        let space = space(&memory, mode, root * 4096);
        let expected = every_page(&bytes, mode, root * 4096);
        for gva in gvas {
            let near = expected.range(..=gva).next_back().map_or(0, |(page, _)| page + 4096);
            for gva in [gva, near, gva & 0xffff_ffff, gva & 0xff_ffff] {
                let mut byte = [0];
                let read = space.read(Gva(gva), &mut byte).is_ok();
                let want = expected.get(&(gva & !0xfff));
                prop_assert_eq!(read, want.is_some(), "{:#x}", gva);
                if let Some((gpa, ..)) = want {
                    prop_assert_eq!(byte[0], bytes[(gpa | gva & 0xfff) as usize]);
                }
            }
        }
    }
}

/// Memory full of present entries, each leading to another random page: the
/// worst a few pages can claim.
#[test]
fn tables_of_noise_are_walked_in_bounded_time_and_memory() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let pages = 64;
    for (mode, large) in [
        (FIVE_LEVEL, false),
        (FOUR_LEVEL, false),
        (FOUR_LEVEL, true),
        (PAE, true),
        (TWO_LEVEL_PSE, true),
    ] {
        let mut ram = Ram::pages(pages as usize);
        for slot in 0..pages * 512 {
            let page = random() % pages * 4096;
            let flags = if large { random() & (W | U | PS | NX) } else { random() & (W | U) };
            ram = ram.set(slot * 8, page | flags | P);
        }
        let memory = ram.memory();
        let start = Instant::now();
        let limits = Limits::default();
        let leaves = space(&memory, mode, 0).leaves(&limits);
        assert!(start.elapsed() < Duration::from_secs(5), "{mode}: {:?}", start.elapsed());
        assert!(leaves.leaves.len() <= limits.runs as usize);
        assert!(leaves.summary.tables <= pages * 8 * 5, "{mode}");
        assert!(leaves.summary.tables_omitted > 0 || !mode.is_64_bit());
    }
}
