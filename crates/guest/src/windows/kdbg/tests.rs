use vmss2core_lab::windows::{Trap, fixture, fixtures};
use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_machine::x86::modes;
use vmss2core_mem::{Gpa, PhysicalMemory};

use super::super::image;
use super::*;
use crate::windows::tests::guests::Guest;

fn assert_is_the_block(guest: &Guest, found: Option<Found<Kdbg>>, what: &str) {
    let truth = &guest.nt.truth.kdbg;
    let kdbg = found.unwrap_or_else(|| panic!("{what}: no block")).value;
    assert_eq!(kdbg.gva.0, truth.va, "{what}");
    assert!(kdbg.plain == truth.plain, "{what}");
    let keys = kdbg.encoding.map(|encoding| encoding.keys.unwrap());
    let keys = keys.map(|keys| (keys.wait_never, keys.wait_always, keys.flag.0));
    assert_eq!(keys, truth.keys.map(|keys| (keys.never, keys.always, keys.flag)), "{what}");
}

#[test]
fn every_block_is_found_with_its_keys() {
    for fixture in fixtures() {
        let guest = Guest::of(&fixture);
        let (view, name) = (guest.view(), fixture.name);
        let image = image::find(&view, &[]).map(|found| found.value);
        assert_eq!(image.is_none(), fixture.has(Trap::HeaderPagedOut), "{name}");
        let given = Some(Gva(guest.nt.truth.kdbg.va));
        if fixture.has(Trap::OtherLinker) {
            // No section is known to hold data: it takes the version block.
            assert_eq!(find(&view, image.as_ref(), None), None, "{name}");
        } else {
            assert_is_the_block(&guest, find(&view, image.as_ref(), None), name);
        }
        assert_is_the_block(&guest, find(&view, image.as_ref(), given), &format!("{name}, given"));
        assert_is_the_block(&guest, find(&view, None, None), &format!("{name}, no image"));
        assert_is_the_block(&guest, find(&view, None, given), &format!("{name}, given alone"));
        let beside = given.map(|gva| Gva(gva.0 + 0x10));
        assert_eq!(find(&view, image.as_ref(), beside), None, "{name}");
    }
}

#[test]
fn all_of_memory_is_searched_and_the_mapped_block_comes_first() {
    let plain = fixture("stale-kdbg").unwrap();
    let mut plain = plain.clone();
    plain.traps.push(Trap::PlainKdbg);
    let guest = Guest::of(&plain);
    let found = scan_memory(&guest.memory, &guest.view());
    assert_eq!(found.len(), 3);
    let (gpa, first) = &found[0];
    assert_eq!(first.value.gva.0, guest.nt.truth.kdbg.va);
    assert!(first.value.plain == guest.nt.truth.kdbg.plain);
    assert_eq!(guest.view().translate(first.value.gva).unwrap(), *gpa);
    assert!(found[1..].iter().all(|(_, stale)| stale.value.gva == Gva(0)));
    // The encoded block has no tag: only the copies are left.
    let guest = Guest::of(&fixture("stale-kdbg").unwrap());
    assert_eq!(scan_memory(&guest.memory, &guest.view()).len(), 2);
}

#[test]
fn words_decode_as_the_kernel_encodes_them() {
    let vectors = [
        (0x0000_0380_4742_444b_u64, 0xdd49_8cde_2716_84fc_u64),
        (0xffff_f804_7ba0_0000, 0x1930_8529_d8e8_1275),
        (0xffff_f804_7c64_0770, 0x913e_8529_d8e8_f27a),
        (0, 0x59c6_8cd8_2716_1274),
    ];
    let (tag, base) = (vectors[0].1, vectors[1]);
    assert!(Distances::of(base.0).allow(tag, base.1));
    let found = [
        code::by_known_word(base.1, base.0, tag).unwrap(),
        code::by_known_word(vectors[3].1, 0, tag).unwrap(),
    ];
    for encoding in found {
        assert_eq!((encoding.rotation, encoding.constant), (0x2f, 0x8b13_6c46_e32c_3a09));
        for (plain, encoded) in vectors {
            assert_eq!(code::decode(encoded, encoding.rotation, encoding.constant), plain);
        }
    }
}

/// A splitmix64 generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

fn encode(plain: u64, keys: &KeysOf) -> u64 {
    let swapped = (plain ^ keys.always).swap_bytes() ^ keys.flag;
    swapped.rotate_right(keys.rotation) ^ keys.never
}

struct KeysOf {
    never: u64,
    always: u64,
    flag: u64,
    rotation: u32,
}

impl KeysOf {
    fn any(random: &mut Random) -> Self {
        let never = random.next();
        let flag = 0xffff_f800_0000_0000 | random.next() >> 21;
        let rotation = u32::try_from(never & 63).unwrap();
        Self { never, always: random.next(), flag, rotation }
    }
}

#[test]
fn any_keys_give_the_one_true_rotation() {
    let lengths = [0x290, 0x318, 0x328, 0x330, 0x340, 0x360, 0x368, 0x380, 0x3a8, 0x600];
    let mut random = Random(1);
    for _ in 0..1000 {
        let keys = KeysOf::any(&mut random);
        let base = 0xffff_f800_0000_0000 | random.next() >> 21 & !0xfff;
        let distances = Distances::of(base);
        let expected = keys.never.rotate_left(keys.rotation);
        let constant = (expected ^ keys.flag).swap_bytes() ^ keys.always;
        for len in lengths {
            let tag = encode(len << 32 | u64::from(TAG), &keys);
            let (encoded, zero) = (encode(base, &keys), encode(0, &keys));
            assert!(distances.allow(tag, encoded));
            for found in
                [code::by_known_word(encoded, base, tag), code::by_known_word(zero, 0, tag)]
            {
                let found = found.unwrap();
                assert_eq!((found.rotation, found.constant), (keys.rotation, constant));
            }
        }
    }
}

#[test]
fn noise_holds_no_block() {
    let mut random = Random(2);
    let base = 0xffff_f804_7ba0_0000;
    for _ in 0..200_000 {
        let (tag, word) = (random.next(), random.next());
        assert_eq!(code::by_known_word(word, base, tag), None);
        assert_eq!(code::by_known_word(word, 0, tag), None);
    }
}

#[test]
fn fields_end_with_the_block() {
    let plain = [1, 0, 0, 0, 0x80, 0xff, 0xff, 0xff, 0xff];
    let kdbg = Kdbg { gva: Gva(0), plain: plain.to_vec(), encoding: None };
    assert_eq!(kdbg.field(1), Some(0xffff_ffff_8000_0000));
    assert_eq!(kdbg.pointer(1, false), Some(Gva(0x8000_0000)));
    assert_eq!((kdbg.u32(0), kdbg.u16(7)), (Some(1), Some(0xffff)));
    assert_eq!((kdbg.field(2), kdbg.u32(6), kdbg.u16(8)), (None, None, None));
    assert_eq!(kdbg.u16(usize::MAX), None);
}

/// The beginning of the block of a 32-bit kernel of NT 5.2, as it was in memory.
const REAL: [u8; 24] = [
    0xc4, 0x3e, 0x65, 0x80, 0xc4, 0x3e, 0x65, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, b'K', b'D', b'B', b'G',
    0x18, 0x03, 0, 0,
];

#[test]
fn blocks_of_32_bits_are_linked_by_32_bits() {
    let memory = PhysicalMemory::new();
    let narrow = View::new(&memory, PagingMode::IDENTITY, Root(Gpa(0)));
    let wide = View::new(&memory, modes::FOUR_LEVEL, Root(Gpa(0)));
    let block = |plain: &[u8]| Kdbg { gva: Gva(0), plain: plain.to_vec(), encoding: None };
    assert_eq!(block(&REAL).links(&narrow), Some([Gva(0x8065_3ec4); 2]));
    assert_eq!(block(&REAL).links(&wide), None);
    // The links of a 64-bit kernel, and those of no kernel.
    let head = 0xffff_f804_7c64_0770_u64.to_le_bytes();
    assert_eq!(block(&head.repeat(2)).links(&narrow), None);
    assert!(block(&head.repeat(2)).links(&wide).is_some());
    let extended = 0xffff_ffff_8065_3ec4_u64.to_le_bytes();
    assert_eq!(block(&extended.repeat(2)).links(&narrow), None);
}

#[test]
fn the_list_of_a_version_block_leads_past_blocks_of_others() {
    for name in ["winxp-x86", "win7-pae", "win2003-x86"] {
        let guest = Guest::of(&fixture(name).unwrap());
        let view = guest.view();
        let region = Gva(guest.nt.truth.cpus[0].kpcr);
        let version = VersionBlock::of_regions(&view, &[Gva(0x8000_0000), region]).unwrap();
        let truth = &guest.nt.truth;
        let stated = (version.value.kern_base.0, version.value.build, version.value.is_checked);
        assert_eq!(stated, (truth.kernel.base, truth.build, false), "{name}");
        assert_eq!(version.value.gva, guest.symbol("KdVersionBlock"), "{name}");
        assert_is_the_block(&guest, of_version(&view, None, &version), name);
        // A list without the block of this kernel has none.
        let list = guest.symbol("PsActiveProcessHead");
        let other = Found::new(VersionBlock { list, ..version.value }, "made up");
        assert_eq!(of_version(&view, None, &other), None, "{name}");
        assert_eq!(VersionBlock::of_regions(&view, &[Gva(0x8000_0000)]), None, "{name}");
    }
    let guest = Guest::of(&fixture("win7-x64").unwrap());
    let region = Gva(guest.nt.truth.cpus[0].kpcr);
    assert_eq!(VersionBlock::of_regions(&guest.view(), &[region]), None);
}
