use vmss2core_machine::x86::Gpr;

use super::*;
use crate::source::Folder;
use crate::source::{Ledger, Unpacker};
use crate::testing::source;
use crate::{ErrorKind, OpenOptions};

/// Version, offset of the memory description, offset of the processors without
/// holes, and length of a processor's record, as the format's readers list them.
const VERSIONS: [(u32, usize, usize, usize); 6] = [
    (1, 21, 61, 4490),
    (3, 22, 78, 4490),
    (4, 22, 78, 4487),
    (5, 22, 78, 4487),
    (6, 23, 79, 4487),
    (7, 16, 83, 4487),
];

/// A dump of 2 processors and `pages` pages around `holes`.
fn dump(version: (u32, usize, usize, usize), pages: u64, holes: &[(u64, u64)]) -> Vec<u8> {
    let (number, main, vcpus, record) = version;
    let vcpus = if number == 1 { vcpus + 8 * holes.len() } else { vcpus };
    let mut file = vec![0; vcpus + 2 * record];
    let end = (pages + holes.iter().map(|(_, len)| len).sum::<u64>()) * 4096;
    let mut memory = (end - 1).to_le_bytes().to_vec();
    let word = |value: u64| value.to_le_bytes()[..if number == 1 { 4 } else { 8 }].to_vec();
    memory.extend(word(pages));
    memory.extend([0; 4]);
    memory.extend(u32::try_from(holes.len()).unwrap().to_le_bytes());
    memory.extend(holes.iter().flat_map(|(start, len)| [word(*start), word(*len)].concat()));
    file[main..main + memory.len()].copy_from_slice(&memory);
    file[..4].copy_from_slice(&number.to_le_bytes());
    file[4] = 2;
    if number == 7 {
        file[72] = 1;
    }
    for index in 0..2 {
        let at = vcpus + index * record;
        let mark = 0x1000 * (index as u64 + 1);
        put(&mut file, at, 0x8005_0033, 4);
        put(&mut file, at + 4 + 8, mark, 8);
        put(&mut file, at + 108, 0xffff_fe00_0000_0000, 8);
        let regs = at + record - 4096 - 233;
        for slot in 0..27 {
            put(&mut file, regs + 8 * slot, mark + slot as u64, 8);
        }
    }
    file
}

fn put(file: &mut [u8], at: usize, value: u64, len: usize) {
    file[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
}

fn open(state: Vec<u8>, memory: Option<Vec<u8>>) -> Result<Checkpoint, OpenError> {
    let folder = Folder::default();
    let options = OpenOptions::default();
    let case = Case {
        lead: source("debug.guest", state).into(),
        memory: memory.map(|bytes| source("debug.vmem", bytes).into()),
        place: Place { folder: &folder, name: "debug.guest".to_owned() },
        unpacker: Unpacker { options: &options, ledger: &Ledger::default() },
    };
    GuestDump.open(case).map(|opened| opened.checkpoint)
}

/// A memory image whose pages hold their own number.
fn image(pages: u8) -> Vec<u8> {
    (0..pages).flat_map(|page| [page; 4096]).collect()
}

fn byte(checkpoint: &Checkpoint, page: u64) -> Option<u8> {
    let mut byte = [0];
    checkpoint.memory.read(Gpa(page * 4096), &mut byte).ok().map(|()| byte[0])
}

#[test]
fn every_version_gives_memory_around_its_holes() {
    for version in VERSIONS {
        for holes in [&[][..], &[(3, 5)], &[(3, 5), (10, 1)], &[(0, 2)]] {
            let state = dump(version, 6, holes);
            assert_eq!(GuestDump.recognise(&state), Some(Recognition::Lead), "{version:?}");
            let checkpoint = open(state, Some(image(6))).unwrap();
            assert!(
                checkpoint.about.problems.is_empty(),
                "{version:?} {:?}",
                checkpoint.about.problems
            );
            let mut next = 0;
            for page in 0..14 {
                let hole = holes.iter().any(|(start, len)| (*start..start + len).contains(&page));
                let want = (!hole && next < 6).then_some(next);
                next += u8::from(want.is_some());
                assert_eq!(byte(&checkpoint, page), want, "{version:?} {holes:?} page {page}");
            }
        }
    }
}

#[test]
fn every_version_gives_the_registers_in_the_order_of_linux() {
    for version in VERSIONS {
        let checkpoint = open(dump(version, 6, &[(3, 5)]), Some(image(6))).unwrap();
        assert_eq!(checkpoint.vcpus.len(), 2);
        let x86 = checkpoint.vcpus[1].x86().unwrap();
        let slots = [10, 11, 12, 5, 19, 4, 13, 14, 9, 8, 7, 6, 3, 2, 1, 0];
        for (gpr, slot) in Gpr::ALL.into_iter().zip(slots) {
            assert_eq!(x86.gpr(gpr), Some(0x2000 + slot), "{version:?} {}", gpr.name());
        }
        assert_eq!((x86.rip, x86.rflags), (Some(0x2010), Some(0x2012)));
        assert_eq!((x86.control.cr0, x86.control.cr3), (Some(0x8005_0033), Some(0x2000)));
        assert_eq!(x86.idtr.base, Some(0xffff_fe00_0000_0000));
        let segments = &x86.segments;
        assert_eq!((segments.cs.selector, segments.ss.selector), (Some(0x2011), Some(0x2014)));
        assert_eq!((segments.fs.base, segments.gs.base), (Some(0x2015), Some(0x2016)));
        assert_eq!((segments.ds.selector, segments.gs.selector), (Some(0x2017), Some(0x201a)));
        assert_eq!(x86.msrs.efer, None, "a dump does not hold it");
    }
}

#[test]
fn what_does_not_add_up_is_not_a_dump() {
    for version in VERSIONS {
        let good = dump(version, 6, &[(3, 5)]);
        let changed = |at: usize| {
            let mut file = good.clone();
            file[at] ^= 0x40;
            GuestDump.recognise(&file)
        };
        // Last address, size, first hole.
        for at in [version.1 + 1, version.1 + 8, version.1 + if version.0 == 1 { 24 } else { 32 }] {
            assert_eq!(changed(at), None, "{version:?} byte {at}");
        }
        for len in 0..90 {
            assert_eq!(GuestDump.recognise(&good[..len]), None, "{len} bytes");
        }
    }
    assert_eq!(GuestDump.recognise(&[0; 96]), None);
    assert_eq!(GuestDump.recognise(&[0xff; 96]), None);
}

#[test]
fn holes_in_disorder_or_past_the_end_are_not_believed() {
    for holes in [[(10, 1), (3, 5)], [(3, 5), (7, 1)], [(3, 5), (u64::MAX, 1)]] {
        assert_eq!(GuestDump.recognise(&dump(VERSIONS[3], 6, &holes)), None, "{holes:?}");
    }
}

#[test]
fn version_2_and_aarch64_are_explained() {
    let mut state = dump((2, 22, 78, 4490), 6, &[]);
    assert_eq!(GuestDump.recognise(&state), Some(Recognition::Lead));
    let error = open(state, Some(image(6))).unwrap_err();
    assert!(error.to_string().contains("version 2"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Failed);
    state = dump(VERSIONS[5], 6, &[]);
    state[72] = 0;
    let error = open(state, Some(image(6))).unwrap_err();
    assert!(error.to_string().contains("AArch64"), "{error}");
}

#[test]
fn a_cut_dump_gives_the_processors_that_are_there() {
    let mut state = dump(VERSIONS[3], 6, &[]);
    state.pop();
    let checkpoint = open(state, Some(image(6))).unwrap();
    assert_eq!(checkpoint.vcpus.len(), 1);
    assert!(checkpoint.about.problems[0].message.contains("1 of 2 processors"));
}

#[test]
fn memory_of_another_size_is_used_and_reported() {
    let checkpoint = open(dump(VERSIONS[3], 6, &[(3, 5)]), Some(image(4))).unwrap();
    assert_eq!((byte(&checkpoint, 8), byte(&checkpoint, 9)), (Some(3), None));
    assert_eq!(checkpoint.about.problems.len(), 1);
    let checkpoint = open(dump(VERSIONS[3], 6, &[(3, 5)]), Some(image(9))).unwrap();
    assert!(checkpoint.about.problems[0].message.contains("another checkpoint"));
}

#[test]
fn without_memory_the_message_says_what_was_looked_for() {
    let error = open(dump(VERSIONS[3], 6, &[]), None).unwrap_err();
    assert!(
        error.to_string().contains("looked for debug.vmem and for the one file of 24576 bytes")
    );
}
