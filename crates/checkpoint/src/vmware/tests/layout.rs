//! Header, group table and tag stream.

use super::*;
use crate::inventory::ItemKind;

fn names(file: &StateFile) -> Vec<String> {
    file.inventory.items.iter().map(ToString::to_string).collect()
}

fn small(magic: u32) -> State {
    let mut state = State::new()
        .group("cpu", vec![Tag::u32("cpu:numVCPUs", &[], 1), Tag::block("gpregs", &[0], &[7; 128])])
        .group("memory", vec![Tag::u32("regionsCount", &[], 0)]);
    state.magic = magic;
    state
}

/// The worked example of the format description, typed in as it stands there.
#[test]
fn the_worked_example_is_read_byte_by_byte() {
    let mut bytes = Vec::new();
    let mut put = |at: usize, part: &[u8]| {
        bytes.resize(bytes.len().max(at + part.len()), 0);
        bytes[at..at + part.len()].copy_from_slice(part);
    };
    put(0x00, b"\xd2\xbe\xd2\xbe\x08\0\0\0\x02\0\0\0");
    put(0x0c, b"cpu");
    put(0x4c, b"\xac\0\0\0\0\0\0\0\x32\0\0\0\0\0\0\0");
    put(0x5c, b"memory");
    put(0x9c, b"\xde\0\0\0\0\0\0\0\x6a\0\0\0\0\0\0\0");
    put(0xac, b"\x04\x0ccpu:numVCPUs\x01\0\0\0");
    put(0xbe, b"\x48\x03rip\0\0\0\0\x11\x22\x33\x44\x55\x66\x77\x88");
    put(0xcf, b"\x44\x03eip\0\0\0\0\x11\x22\x33\x44");
    put(0xdc, b"\0\0");
    put(0xde, b"\x84\x0aalign_mask\0\0\0\0\0\0\0\0\xff\xff\0\0");
    put(0xf6, b"\x04\x0cregionsCount\x01\0\0\0");
    put(0x108, b"\x44\x09regionPPN\0\0\0\0\0\0\0\0");
    put(0x11b, b"\x44\x0dregionPageNum\0\0\0\0\0\0\0\0");
    put(0x132, b"\x44\x0aregionSize\0\0\0\0\0\x40\0\0");
    put(0x146, b"\0\0");
    assert_eq!(bytes.len(), 0x148);

    let file = open_state(bytes).unwrap();
    assert_eq!(
        names(&file),
        [
            "cpu/cpu:numVCPUs",
            "cpu/rip[0]",
            "cpu/eip[0]",
            "memory/align_mask[0][0]",
            "memory/regionsCount",
            "memory/regionPPN[0]",
            "memory/regionPageNum[0]",
            "memory/regionSize[0]"
        ]
    );
    let offsets: Vec<u64> = file.inventory.items.iter().map(|item| item.offset).collect();
    assert_eq!(offsets, [0xba, 0xc7, 0xd8, 0xf2, 0x104, 0x117, 0x12e, 0x142]);
    assert!(file.problems.listed().is_empty(), "{:?}", file.problems.listed());
    assert!(!file.has_memory());
    assert_eq!(file.expected_memory_len(), Some(64 << 20));

    let memory =
        Source { len: 64 << 20, bytes: Arc::new(Sparse::new(vec![])), ..source("m", vec![]) };
    let opened = file.into_opened(Some(memory), &no_spill()).unwrap();
    let vcpu = opened.checkpoint.vcpus[0].x86().unwrap();
    assert_eq!(vcpu.rip, Some(0x8877_6655_4433_2211));
    assert_eq!(vcpu.control.cr3, None);
    assert_eq!(opened.checkpoint.memory.ranges(), [0..64 << 20]);
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
}

#[test]
fn every_magic_is_known_and_nothing_else() {
    let wide = [0xbed2_bed2, 0xbed3_bed3, 0xbad1_bad1, 0xbad2_bad2, 0xbed1_bed1];
    let narrow = [0xbed0_bed0, 0xbed2_bed0, 0xbad0_bad0];
    for magic in wide {
        let bytes = small(magic).bytes();
        assert!(is_state(&bytes), "{magic:#x}");
        assert_eq!(open_state(bytes).unwrap().inventory.items.len(), 3, "{magic:#x}");
    }
    for magic in narrow {
        for entry_len in [72, 80] {
            let state = State { entry_len, wide_blocks: false, ..small(magic) };
            let file = open_state(state.bytes()).unwrap();
            assert_eq!(file.inventory.items.len(), 3, "{magic:#x} {entry_len}");
            assert!(file.problems.listed().iter().all(|p| p.severity == Severity::Warning));
        }
    }
    for other in [0_u32, 0xbed2_bed3, 0x8943_dd9e, 0x464c_457f] {
        assert!(!is_state(&other.to_le_bytes()), "{other:#x}");
    }
    assert!(!is_state(&[0xd2, 0xbe, 0xd2]));
}

#[test]
fn partial_and_restored_files_are_read_with_a_warning() {
    for (magic, word) in [(0xbed3_bed3, "partial"), (0xbad1_bad1, "newer than the registers")] {
        let opened = opened(&small(magic), Some(vec![0; 4096]));
        assert!(has_problem(&opened, Severity::Warning, &[word]), "{magic:#x}");
    }
}

/// Of the 32-bit layout's block headers only one source speaks; a file that has
/// 64-bit ones all the same is read.
#[test]
fn old_files_may_have_wide_block_headers() {
    let state = State { wide_blocks: true, entry_len: 72, ..small(0xbed0_bed0) };
    let file = open_state(state.bytes()).unwrap();
    assert_eq!(file.inventory.named("cpu/gpregs[0]").unwrap().size_in_file, 128);
    assert!(file.problems.listed().is_empty(), "{:?}", file.problems.listed());
}

#[test]
fn an_old_table_of_neither_form_asks_for_a_sample() {
    let state = State { entry_len: 72, wide_blocks: false, ..small(0xbed0_bed0) };
    let mut bytes = state.bytes();
    bytes[12] = 0x07;
    let error = open_state(bytes).err().unwrap();
    assert!(matches!(error, VmwareError::UnknownTable { magic: 0xbed0_bed0, .. }), "{error}");
}

#[test]
fn hostile_group_counts_are_refused_before_allocating() {
    for count in [3_u32, 0x1_0000, u32::MAX] {
        let mut bytes = small(0xbed2_bed2).bytes();
        bytes.truncate(200);
        bytes[8..12].copy_from_slice(&count.to_le_bytes());
        let error = open_state(bytes).err().unwrap();
        assert!(matches!(error, VmwareError::TableTooLong { .. }), "{error}");
    }
    // Where the file is long enough for such a table.
    let head = [0xbed2_bed2_u32, 8, u32::MAX].map(u32::to_le_bytes).concat();
    let large = Source { len: 1 << 40, bytes: Arc::new(Sparse::new(head)), ..source("x", vec![]) };
    let error = StateFile::open(&large).err().unwrap();
    assert!(matches!(error, VmwareError::TooManyGroups { .. }), "{error}");
}

#[test]
fn short_files_are_no_state_files() {
    for len in 0..12 {
        let bytes = small(0xbed2_bed2).bytes()[..len].to_vec();
        let error = open_state(bytes).err().unwrap();
        assert!(matches!(error, VmwareError::NotState { .. }), "{error}");
    }
}

#[test]
fn odd_but_legal_tags_are_read() {
    let long = "n".repeat(255);
    let state = State::new().group(
        "odd",
        vec![
            Tag::value("flag", &[], &[]),
            Tag::value("flag", &[9], &[]),
            Tag::value(&long, &[1, 2, u32::MAX], &[1, 2, 3]),
            Tag::value("longest", &[], &[5; 61]),
            Tag::block("empty", &[], &[]),
            Tag::u64("hv:ttbrEL1[0]", &[0], 1),
            Tag::u32("last", &[], 1),
        ],
    );
    let file = open_state(state.bytes()).unwrap();
    assert!(file.problems.listed().is_empty(), "{:?}", file.problems.listed());
    let long = format!("odd/{long}[1][2][4294967295]");
    let expected = [
        "odd/flag",
        "odd/flag[9]",
        &long,
        "odd/longest",
        "odd/empty",
        "odd/hv:ttbrEL1[0][0]",
        "odd/last",
    ];
    assert_eq!(names(&file), expected);
    let value = |path| file.inventory.named(path).unwrap().value.clone();
    assert_eq!(value("odd/flag"), Some(vec![]));
    assert_eq!(value(&long), Some(vec![1, 2, 3]));
    assert_eq!(value("odd/longest"), Some(vec![5; 61]));
    assert_eq!(file.inventory.named(&long).unwrap().number(), Some(0x0003_0201));
    assert_eq!(file.inventory.named("odd/flag").unwrap().number(), None);
}

#[test]
fn a_group_name_may_fill_its_field() {
    let name = "g".repeat(64);
    let state = State::new().group(&name, vec![Tag::u32("x", &[], 1)]);
    let file = open_state(state.bytes()).unwrap();
    assert_eq!(names(&file), [format!("{name}/x")]);
}

#[test]
fn groups_of_one_name_are_both_read() {
    let state = State::new()
        .group("cpu", vec![Tag::u32("a", &[], 1)])
        .group("cpu", vec![Tag::u32("b", &[], 2)]);
    assert_eq!(names(&open_state(state.bytes()).unwrap()), ["cpu/a", "cpu/b"]);
}

#[test]
fn pads_are_skipped() {
    let state = State::new().group(
        "memory",
        vec![
            Tag::block("Memory", &[0, 0], &[3; 4096]).aligned(0x1_0000),
            Tag::u32("after", &[], 5),
        ],
    );
    let file = open_state(state.bytes()).unwrap();
    let memory = file.inventory.named("memory/Memory[0][0]").unwrap();
    assert_eq!((memory.offset, memory.kind), (0x1_0000, ItemKind::Block));
    assert_eq!(file.inventory.named("memory/after").unwrap().number(), Some(5));
}

#[test]
fn a_tag_without_a_name_ends_its_group_only() {
    let mut bytes =
        State::new().group("a", vec![Tag::u32("x", &[], 1); 2]).group("b", vec![]).bytes();
    // Second tag of group a: 7 bytes after the first.
    bytes[12 + 160 + 7 + 1] = 0;
    let file = open_state(bytes).unwrap();
    assert_eq!(names(&file), ["a/x"]);
    assert_eq!(file.problems.listed().len(), 1);
    assert!(
        file.problems.listed()[0].message.contains("has no name"),
        "{:?}",
        file.problems.listed()
    );
}

#[test]
fn a_group_without_a_terminator_does_not_run_into_the_next() {
    let state = State::new()
        .group("a", vec![Tag::u32("x", &[], 1)])
        .group("b", vec![Tag::u32("y", &[], 2)]);
    let mut bytes = state.bytes();
    let terminator = 12 + 160 + 7;
    // A value in place of the terminator swallows part of the next group.
    bytes[terminator..terminator + 2].copy_from_slice(&[0x05, 0x01]);
    let file = open_state(bytes).unwrap();
    let groups: Vec<&str> = file.inventory.items.iter().map(|item| item.group.as_str()).collect();
    assert_eq!(groups, ["a", "a", "b"]);
    assert_eq!(file.inventory.named("b/y").unwrap().number(), Some(2));
    assert_eq!(file.problems.listed().len(), 1, "{:?}", file.problems.listed());
    assert!(
        file.problems.listed()[0].message.contains("goes on after its end"),
        "{:?}",
        file.problems.listed()
    );
}

#[test]
fn a_group_within_another_is_reported_and_not_read_twice() {
    let state = State::new()
        .group("a", vec![Tag::u32("x", &[], 1), Tag::u32("y", &[], 1)])
        .group("b", vec![]);
    let mut bytes = state.bytes();
    let second = 12 + 80 + 64;
    bytes[second..second + 8].copy_from_slice(&(12 + 160 + 7_u64).to_le_bytes());
    let file = open_state(bytes).unwrap();
    assert_eq!(names(&file), ["a/x", "a/y"]);
    assert!(
        file.problems.listed()[0].message.contains("within another group"),
        "{:?}",
        file.problems.listed()
    );
}

#[test]
fn files_cut_anywhere_give_what_is_before_the_cut() {
    let state = State::new().group(
        "g",
        vec![
            Tag::u32("one", &[1, 2, 3], 1),
            Tag::block("two", &[0], &[9; 100]),
            Tag::u64("three", &[], 3),
        ],
    );
    let whole = state.bytes();
    let table_end = 12 + 80;
    let mut seen = 0;
    for len in table_end..whole.len() {
        let file = open_state(whole[..len].to_vec()).unwrap();
        // A block that is cut stays listed with its full size.
        let items = file.inventory.items.len();
        assert!(items >= seen && items <= 3, "{len}: {items} after {seen}");
        assert!(!file.problems.listed().is_empty(), "{len}");
        seen = items;
    }
    assert_eq!(seen, 3);
}

#[test]
fn a_file_cut_off_is_one_sentence_however_many_groups_are_lost() {
    let filler = || vec![Tag::block("b", &[], &[7; 100])];
    let mut state = State::new()
        .group("Checkpoint", filler())
        .group("cpu", vec![Tag::u32("cpu:numVCPUs", &[], 1), Tag::u64("rip", &[0], 7)])
        .group("Cs440bx", filler());
    for n in 0..100 {
        state = state.group(&format!("late{n}"), filler());
    }
    let whole = state.group("memory", vec![Tag::u32("regionsCount", &[], 0)]).bytes();
    let third = 12 + 2 * 80 + 64;
    let start = u64::from_le_bytes(whole[third..third + 8].try_into().unwrap());
    let file = open_state(whole[..usize::try_from(start).unwrap() + 50].to_vec()).unwrap();
    let [problem] = file.problems.listed() else { panic!("{:?}", file.problems.listed()) };
    assert_eq!(problem.severity, Severity::Incomplete);
    for words in [
        &format!("ends at {:#x}", start + 50),
        &format!("go on to {:#x}", whole.len()),
        "group Cs440bx is there in part",
        "101 groups are missing (late0, late1, late2 and 98 more)",
        "the registers are there",
        "the memory map is missing",
    ] {
        assert!(problem.message.contains(words), "{words}: {}", problem.message);
    }
    // Nor does what follows from it add sentences.
    let first = whole[12 + 64..12 + 72].try_into().unwrap();
    let file = open_state(whole[..usize::try_from(u64::from_le_bytes(first)).unwrap()].to_vec());
    let opened = file.unwrap().into_opened(Some(source("x.vmem", vec![0; 4096])), &no_spill());
    let problems = &opened.as_ref().unwrap().checkpoint.about.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].message.contains("the registers are missing"), "{problems:?}");
}

/// A group that claims too much is odd; the file is not cut.
#[test]
fn a_group_that_claims_to_end_past_the_file_is_not_cut_off() {
    let mut bytes = State::new().group("a", vec![Tag::u32("x", &[], 1)]).bytes();
    let size = 12 + 64 + 8;
    bytes[size..size + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    let file = open_state(bytes).unwrap();
    let [problem] = file.problems.listed() else { panic!("{:?}", file.problems.listed()) };
    assert!(problem.message.contains("claims to end at"), "{problem:?}");
}

#[test]
fn compressed_values_can_be_read() {
    use flate2::{Compression, write::ZlibEncoder};
    use std::io::Write;
    let plain = b"all work and no play ".repeat(50);
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&plain).unwrap();
    let zlib = encoder.finish().unwrap();
    let state = State::new().group(
        "g",
        vec![
            Tag::packed("zlib", &[], &zlib, plain.len() as u64),
            Tag::packed("stored", &[], &plain, plain.len() as u64),
            Tag::packed("bad", &[], &[0xff; 70], 1000),
            Tag::packed("huge", &[], &[0xff; 70], u64::MAX),
        ],
    );
    let file = open_state(state.bytes()).unwrap();
    let read = |path| file.inventory.read(file.inventory.named(path).unwrap(), 1 << 20);
    assert_eq!(read("g/zlib").unwrap(), plain);
    assert_eq!(read("g/stored").unwrap(), plain);
    assert_eq!(read("g/bad").unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(read("g/huge").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    let mut raw = Vec::new();
    file.inventory.copy_to(file.inventory.named("g/zlib").unwrap(), &mut raw).unwrap();
    assert_eq!(raw, zlib);
}

/// Block data are never read while tags are walked.
#[test]
fn a_huge_sparse_file_is_walked_without_reading_its_memory() {
    let state = State::new()
        .group("memory", vec![Tag::block("Memory", &[0, 0], &[0; 100])])
        .group("cpu", vec![Tag::u32("cpu:numVCPUs", &[], 2)]);
    let mut bytes = state.bytes();
    // 256 GiB of memory between the groups.
    let grow = (256_u64 << 30) - 100;
    let sizes = 12 + 160 + 2 + 6 + 8;
    for at in [sizes, sizes + 8] {
        bytes[at..at + 8].copy_from_slice(&(256_u64 << 30).to_le_bytes());
    }
    let memory_size = 12 + 64 + 8;
    bytes[memory_size..memory_size + 8].copy_from_slice(&((256_u64 << 30) + 36).to_le_bytes());
    let second = 12 + 80 + 64;
    let at = u64::from_le_bytes(bytes[second..second + 8].try_into().unwrap());
    bytes[second..second + 8].copy_from_slice(&(at + grow).to_le_bytes());
    let tail = bytes.split_off(usize::try_from(at).unwrap() - 2);

    let start = at - 2 + grow;
    let len = start + tail.len() as u64;
    let sparse = Arc::new(Sparse { tail_start: start, tail, ..Sparse::new(bytes) });
    let bytes: Arc<dyn ReadAt> = Arc::<Sparse>::clone(&sparse);
    let file = StateFile::open(&Source { bytes, len, ..source("x", vec![]) }).unwrap();
    assert!(file.problems.listed().is_empty(), "{:?}", file.problems.listed());
    assert_eq!(names(&file), ["memory/Memory[0][0]", "cpu/cpu:numVCPUs"]);
    let read = sparse.bytes_read.load(Ordering::Relaxed);
    assert!(read < 100_000, "{read} bytes read");
}
