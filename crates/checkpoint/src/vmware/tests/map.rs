//! The memory map and the image after it.

use super::build::regions;
use super::*;

const GIB: u64 = 1 << 30;

/// A machine with these `memory` tags and one processor.
fn machine(memory: Vec<Tag>) -> State {
    State::new().group("cpu", vec![Tag::u32("cpu:numVCPUs", &[], 1)]).group("memory", memory)
}

fn sized(len: u64) -> Source {
    Source { len, bytes: Arc::new(Sparse::new(vec![])), ..source("x.vmem", vec![]) }
}

fn ranges_of(state: &State, memory_len: u64) -> Vec<std::ops::Range<u64>> {
    let file = open_state(state.bytes()).unwrap();
    file.into_opened(Some(sized(memory_len)), &no_spill()).unwrap().checkpoint.memory.ranges()
}

#[test]
fn regions_come_in_any_number_and_order() {
    // (first page, image page, pages): the last one lowest, holes between, one
    // beyond 4 GiB, more than the three that other readers have room for.
    let map = [(0x500, 2, 3), (0x10_0000, 9, 2), (0x20, 5, 4), (0x100, 11, 1), (0, 0, 2)];
    let opened = opened(&machine(regions(&map)), Some(numbered_pages(12)));
    let memory = &opened.checkpoint.memory;
    for (ppn, page, pages) in map {
        for n in 0..pages {
            let gpa = u64::from(ppn + n) << 12;
            assert_eq!(page_number(memory, gpa), Some(page + n), "{gpa:#x}");
        }
        assert_eq!(page_number(memory, u64::from(ppn + pages) << 12), None);
    }
    assert_eq!(memory.len_bytes(), 12 * 4096);
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
}

#[test]
fn a_missing_image_page_is_the_sum_of_what_came_before() {
    let mut tags = regions(&[(0, 0, 2), (0x100, 2, 3), (0x200, 5, 1)]);
    let whole = opened(&machine(tags.clone()), Some(numbered_pages(6)));
    tags.retain(|tag| !format!("{:?}", tag_name(tag)).contains("PageNum"));
    let opened = opened(&machine(tags), Some(numbered_pages(6)));
    for gpa in [0, 0x1000, 0x10_0000, 0x10_2000, 0x20_0000] {
        let number = page_number(&opened.checkpoint.memory, gpa);
        assert!(number.is_some(), "{gpa:#x}");
        assert_eq!(number, page_number(&whole.checkpoint.memory, gpa), "{gpa:#x}");
    }
}

fn tag_name(tag: &Tag) -> String {
    let bytes = State::new().group("x", vec![tag.clone()]).bytes();
    open_state(bytes).unwrap().inventory.items[0].name.clone()
}

#[test]
fn overlapping_regions_are_reported_and_the_first_one_stays() {
    let map = [(0, 0, 4), (2, 4, 4)];
    let opened = opened(&machine(regions(&map)), Some(numbered_pages(8)));
    assert!(has_problem(&opened, Severity::Incomplete, &["region 1", "overlaps"]));
    assert_eq!(page_number(&opened.checkpoint.memory, 0x2000), Some(2));
    assert_eq!(page_number(&opened.checkpoint.memory, 0x4000), None);
}

#[test]
fn regions_that_share_image_bytes_are_reported() {
    let opened = opened(&machine(regions(&[(0, 0, 4), (8, 2, 4)])), Some(numbered_pages(6)));
    assert!(has_problem(&opened, Severity::Warning, &["regions 0 and 1 share", "0x2000"]));
}

#[test]
fn hostile_region_numbers_are_left_out() {
    let wide = |name: &str, value: u64| Tag::u64(name, &[1], value);
    for (ppn, page, size) in
        [(u64::MAX, 0, 1), (0, u64::MAX, 1), (1, 1, u64::MAX), (1 << 40, 0, 1), (8, 1 << 52, 1)]
    {
        let mut tags = regions(&[(0, 0, 1)]);
        tags[0] = Tag::u32("regionsCount", &[], 2);
        tags.extend([
            wide("regionPPN", ppn),
            wide("regionPageNum", page),
            wide("regionSize", size),
        ]);
        let opened = opened(&machine(tags), Some(numbered_pages(1)));
        assert_eq!(opened.checkpoint.memory.ranges(), [0..4096]);
        assert!(has_problem(&opened, Severity::Incomplete, &["region 1", "out of range"]));
    }
}

#[test]
fn a_region_count_that_does_not_fit_is_reported() {
    let mut tags = regions(&[(0, 0, 1), (8, 1, 1)]);
    tags[0] = Tag::u32("regionsCount", &[], u32::MAX);
    let many = opened(&machine(tags.clone()), Some(numbered_pages(2)));
    assert!(has_problem(&many, Severity::Warning, &["announces 4294967295", "names 2"]));
    assert_eq!(many.checkpoint.memory.len_bytes(), 2 * 4096);
    tags[0] = Tag::u32("regionsCount", &[], 1);
    let few = opened(&machine(tags), Some(numbered_pages(2)));
    assert!(has_problem(&few, Severity::Warning, &["1 beyond that"]));
    assert_eq!(few.checkpoint.memory.ranges(), [0..4096]);
}

#[test]
fn a_short_image_leaves_the_rest_absent_and_says_which() {
    let state = machine(regions(&[(0, 0, 2), (0x100, 2, 4)]));
    let opened = opened(&state, Some(numbered_pages(4)));
    assert_eq!(opened.checkpoint.memory.ranges(), [0..0x2000, 0x10_0000..0x10_2000]);
    let words = ["0x2000 bytes short", "0x6000", "0x102000..0x104000"];
    assert!(
        has_problem(&opened, Severity::Incomplete, &words),
        "{:?}",
        opened.checkpoint.about.problems
    );
}

#[test]
fn a_partial_last_page_is_absent() {
    let mut image = numbered_pages(2);
    image.truncate(0x1800);
    let opened = opened(&machine(regions(&[(0, 0, 2)])), Some(image));
    assert_eq!(opened.checkpoint.memory.ranges(), [0..0x1000]);
    assert!(has_problem(&opened, Severity::Incomplete, &["0x1000..0x2000"]));
}

#[test]
fn a_long_image_is_a_note() {
    let opened = opened(&machine(regions(&[(0, 0, 2)])), Some(numbered_pages(3)));
    assert!(has_problem(&opened, Severity::Note, &["0x1000 bytes longer"]));
    assert_eq!(opened.checkpoint.memory.ranges(), [0..0x2000]);
}

#[test]
fn without_a_map_up_to_3_gib_lie_at_0_and_the_rest_at_4_gib() {
    let state = machine(vec![Tag::u32("align_mask", &[0, 0], 0xffff)]);
    assert_eq!(ranges_of(&state, 64 << 20), [0..64 << 20]);
    assert_eq!(ranges_of(&state, 3 * GIB), [0..3 * GIB]);
    assert_eq!(ranges_of(&state, 5 * GIB), [0..3 * GIB, 4 * GIB..6 * GIB]);
    let file = open_state(state.bytes()).unwrap();
    let opened = file.into_opened(Some(sized(5 * GIB)), &no_spill()).unwrap();
    assert!(has_problem(&opened, Severity::Warning, &["usually", "0xc0000000..0x100000000"]));
}

#[test]
fn without_a_map_the_configured_hole_counts() {
    let with = |text: &str| {
        machine(vec![]).group("Snapshot", vec![Tag::block("cfgFile", &[], text.as_bytes())])
    };
    let long = "# a configuration is a block of more than a few bytes\n".repeat(2);
    let start = with(&format!("{long}pciHole.start = \"2048\"\n"));
    assert_eq!(ranges_of(&start, 2 * GIB), [0..2 * GIB]);
    assert_eq!(ranges_of(&start, 3 * GIB), [0..2 * GIB, 4 * GIB..5 * GIB]);
    let both = with(&format!("{long}pciHole.start = \"1024\"\npciHole.end = \"2048\"\n"));
    assert_eq!(ranges_of(&both, 3 * GIB), [0..GIB, 2 * GIB..4 * GIB]);
    // Nonsense is as good as nothing.
    for (start, end) in [("2048", "1024"), ("x", "4096"), ("1", "18446744073709551615")] {
        let text = format!("{long}pciHole.start = \"{start}\"\npciHole.end = \"{end}\"\n");
        let expected = [0..3 * GIB, 4 * GIB..6 * GIB];
        assert_eq!(ranges_of(&with(&text), 5 * GIB), expected, "{start} {end}");
    }
}

#[test]
fn without_a_map_the_configured_size_tells_a_short_image() {
    let state = machine(vec![]).group("Checkpoint", vec![Tag::u32("memSize", &[], 4)]);
    assert_eq!(open_state(state.bytes()).unwrap().expected_memory_len(), Some(4 << 20));
    let opened = opened(&state, Some(numbered_pages(3)));
    assert!(has_problem(&opened, Severity::Incomplete, &["0x3000..0x400000"]));
}

#[test]
fn arm_memory_starts_at_2_gib() {
    let state = machine(vec![])
        .group("Checkpoint", vec![Tag::u32("Platform", &[], 3), Tag::u32("memSize", &[], 4096)]);
    assert_eq!(ranges_of(&state, 4 * GIB), [2 * GIB..6 * GIB]);
}

#[test]
fn memory_inside_is_found_behind_its_pad_and_before_later_groups() {
    for (map, tagged) in [(regions(&[(0, 0, 2), (0x100, 2, 1)]), true), (vec![], false)] {
        let mut tags = map;
        let indices: &[u32] = if tagged { &[0, 0] } else { &[] };
        tags.push(Tag::block("Memory", indices, &numbered_pages(3)).aligned(0x1_0000));
        tags.push(Tag::block("MainMemKnownZero", &[0, 0], &[0xff; 200]));
        let cfg = b"displayName = \"inside\"\n";
        let state = machine(tags).group("Snapshot", vec![Tag::block("cfgFile", &[], cfg)]);
        let opened = opened(&state, None);
        let last = if tagged { 0x10_0000 } else { 0x2000 };
        assert_eq!(page_number(&opened.checkpoint.memory, 0x1000), Some(1));
        assert_eq!(page_number(&opened.checkpoint.memory, last), Some(2));
        assert_eq!(opened.checkpoint.about.machine.display_name.as_deref(), Some("inside"));
        assert!(
            opened.checkpoint.about.problems.is_empty(),
            "{:?}",
            opened.checkpoint.about.problems
        );
        let kind = &opened.checkpoint.about.provenance.kind;
        assert!(kind.contains("memory inside"), "{kind}");
    }
}

#[test]
fn a_memory_block_that_is_cut_is_used_as_far_as_it_goes() {
    let state = machine(vec![Tag::block("Memory", &[0, 0], &numbered_pages(4))]);
    let mut bytes = state.bytes();
    bytes.truncate(bytes.len() - 2 - 4096);
    let opened = open_state(bytes).unwrap().into_opened(None, &no_spill()).unwrap();
    assert_eq!(opened.checkpoint.memory.ranges(), [0..0x3000]);
    assert!(has_problem(
        &opened,
        Severity::Incomplete,
        &["cut off", "group memory is there in part"]
    ));
}

#[test]
fn memory_inside_wins_over_a_companion() {
    let state = machine(vec![Tag::block("Memory", &[0, 0], &numbered_pages(2))]);
    let opened = opened(&state, Some(vec![0xff; 8192]));
    assert_eq!(page_number(&opened.checkpoint.memory, 0x1000), Some(1));
    assert!(has_problem(&opened, Severity::Warning, &["x.vmem is not used"]));
    let files = &opened.checkpoint.about.provenance.files;
    assert_eq!(files.len(), 1, "{files:?}");
}

#[test]
fn plain_files_can_be_cloned_from() {
    use std::io::Write;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&numbered_pages(4)).unwrap();
    let memory = Source { len: 4 << 12, bytes: Arc::new(file), ..source("x.vmem", vec![]) };
    let state = machine(regions(&[(0x100, 2, 2), (0, 0, 2)]));
    let file = open_state(state.bytes()).unwrap();
    let opened = file.into_opened(Some(memory), &no_spill()).unwrap();
    let [low, high] = opened.checkpoint.memory.segments() else { panic!("two segments") };
    for (segment, expected) in [(low, 0), (high, 0x2000)] {
        let (bytes, offset) = segment.source();
        assert_eq!(bytes.file_at(offset).unwrap().1, expected);
    }
}

/// 64 zeroes compressed, the rest stored.
fn containers(image: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for block in image.chunks(5000) {
        let split =
            if block.iter().all(|&b| b == 0) && block.len() > 264 { block.len() } else { 0 };
        if split > 0 {
            let extra = split - 10;
            let mut stream = vec![0x20, 0, 0xe0];
            stream.extend(vec![0xff; extra / 255]);
            stream.extend([u8::try_from(extra % 255).unwrap(), 0]);
            out.extend([split as u64, stream.len() as u64].map(u64::to_le_bytes).concat());
            out.extend(stream);
        } else {
            out.extend([block.len() as u64; 2].map(u64::to_le_bytes).concat());
            out.extend(block);
        }
    }
    out
}

fn image_with_zeroes() -> Vec<u8> {
    [numbered_pages(3), vec![0; 5 * 4096], numbered_pages(2)].concat()
}

fn assert_image(opened: &Opened) {
    let image = image_with_zeroes();
    let mut bytes = vec![1; image.len()];
    opened.checkpoint.memory.read(Gpa(0), &mut bytes).unwrap();
    assert!(bytes == image);
}

#[test]
fn compressed_memory_is_read_inside_and_beside() {
    let image = image_with_zeroes();
    let packed = containers(&image);
    let block = Tag::packed("Memory", &[0, 0], &packed, image.len() as u64).aligned(0x1000);
    let inside = opened(&machine(vec![block]), None);
    assert_image(&inside);
    assert!(inside.checkpoint.about.provenance.kind.contains("FastLZ"), "{:?}", inside.checkpoint);
    let pages = u32::try_from(image.len() / 4096).unwrap();
    let beside = opened(&machine(regions(&[(0, 0, pages)])), Some(packed.clone()));
    assert_image(&beside);
    assert!(beside.checkpoint.about.problems.is_empty(), "{:?}", beside.checkpoint.about.problems);
    let file = open_compressed_image(&source("x.vmem", packed)).unwrap().unwrap();
    assert_eq!(file.len, image.len() as u64);
    assert!(open_compressed_image(&source("x.vmem", image)).unwrap().is_none());
}

#[test]
fn a_stored_block_marked_compressed_is_taken_as_it_is() {
    let image = image_with_zeroes();
    let block = Tag::packed("Memory", &[0, 0], &image, image.len() as u64);
    assert_image(&opened(&machine(vec![block]), None));
}

#[test]
fn zlib_memory_goes_through_a_temporary_file() {
    use flate2::{Compression, write::ZlibEncoder};
    use std::io::Write;
    let image = image_with_zeroes();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&image).unwrap();
    let packed = encoder.finish().unwrap();
    let block = Tag::packed("Memory", &[0, 0], &packed, image.len() as u64);
    let state = machine(vec![block]).bytes();
    let (_dir, options) = crate::testing::spilling();
    let opened = open_state(state.clone()).unwrap().into_opened(None, &options).unwrap();
    assert_image(&opened);
    let error = open_state(state).unwrap().into_opened(None, &no_spill()).err().unwrap();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("temporary file"), "{cause}");
}

#[test]
fn cut_containers_give_what_is_whole() {
    let image = image_with_zeroes();
    let mut packed = containers(&image);
    packed.truncate(packed.len() - 100);
    let pages = u32::try_from(image.len() / 4096).unwrap();
    let opened = opened(&machine(regions(&[(0, 0, pages)])), Some(packed));
    assert!(has_problem(&opened, Severity::Incomplete, &["cut or damaged"]));
    assert!(has_problem(&opened, Severity::Incomplete, &["bytes short"]));
    assert_eq!(opened.checkpoint.memory.ranges(), [0..0x9000]);
}

#[test]
fn memory_of_no_known_compression_is_an_error() {
    let block = Tag::packed("Memory", &[0, 0], &[0xff; 5000], 8192);
    let state = open_state(machine(vec![block]).bytes()).unwrap();
    let error = state.into_opened(None, &no_spill()).err().unwrap();
    assert!(matches!(error, VmwareError::CompressedMemory { .. }), "{error}");
}

#[test]
fn a_checkpoint_taken_without_memory_differs_from_a_lost_memory_file() {
    let state = State::new().group("Checkpoint", vec![Tag::u32("memSize", &[], 16)]);
    let error = open_state(state.bytes()).unwrap().into_opened(None, &no_spill()).err().unwrap();
    assert!(matches!(error, VmwareError::TakenWithoutMemory { .. }), "{error}");
    let state = machine(regions(&[(0, 0, 2)]));
    let error = open_state(state.bytes()).unwrap().into_opened(None, &no_spill()).err().unwrap();
    assert!(
        matches!(error, VmwareError::MemoryFileMissing { expected: Some(8192), .. }),
        "{error}"
    );
    assert!(error.to_string().contains("8192 bytes long"), "{error}");
}

/// Slots as (first, end, present).
fn slots(slots: &[(u64, u64, u8)]) -> Vec<Tag> {
    let count = u32::try_from(slots.len()).unwrap();
    let mut tags = vec![Tag::u32("entries", &[], count)];
    for (i, (base, end, present)) in (0..).zip(slots) {
        tags.push(Tag::u64("base", &[i], *base));
        tags.push(Tag::u64("end", &[i], *end));
        tags.push(Tag::value("present", &[i], &[*present]));
    }
    tags
}

/// The slots of a machine of 2 GiB (2022), and what of them is RAM.
const SLOTS_2022: [(u64, u64, u8); 5] = [
    (0, 0xa_0000, 1),
    (0x10_0000, 0x1000_0000, 1),
    (0x1000_0000, 0x8000_0000, 1),
    (0x8000_0000, 0xc000_0000, 0),
    (0x1_0000_0000, 0x8_4000_0000, 0),
];

fn machine_with_slots(memory: Vec<Tag>, list: &[(u64, u64, u8)]) -> State {
    machine(memory).group("MemoryHotplug", slots(list))
}

fn opened_sized(state: &State, len: u64) -> Opened {
    open_state(state.bytes()).unwrap().into_opened(Some(sized(len)), &no_spill()).unwrap()
}

#[test]
fn memory_slots_are_a_map_where_there_are_no_regions() {
    let none = || vec![Tag::u32("regionsCount", &[], 0)];
    let state = machine_with_slots(none(), &SLOTS_2022);
    assert_eq!(open_state(state.bytes()).unwrap().expected_memory_len(), Some(2 * GIB));
    let opened = opened_sized(&state, 2 * GIB);
    assert_eq!(opened.checkpoint.memory.ranges(), [0..2 * GIB]);
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
    // A hole that is not where it usually is, without a word of doubt.
    let mut moved = SLOTS_2022;
    (moved[3].2, moved[4]) = (0, (5 * GIB, 6 * GIB, 1));
    let opened = opened_sized(&machine_with_slots(none(), &moved), 3 * GIB);
    assert_eq!(opened.checkpoint.memory.ranges(), [0..2 * GIB, 5 * GIB..6 * GIB]);
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
    // Slots of another memory than the image are not believed.
    let opened = opened_sized(&machine_with_slots(none(), &SLOTS_2022), 4 * GIB);
    assert_eq!(opened.checkpoint.memory.ranges(), [0..3 * GIB, 4 * GIB..5 * GIB]);
    assert!(has_problem(&opened, Severity::Warning, &["two maps", "0x0..0x80000000"]));
}

#[test]
fn memory_slots_and_regions_must_agree() {
    let two = || regions(&[(0, 0, 0x8_0000)]);
    let opened = opened_sized(&machine_with_slots(two(), &SLOTS_2022), 2 * GIB);
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
    let hot_added = regions(&[(0, 0, 0x8_0000), (0x10_0000, 0x8_0000, 0x4_0000)]);
    let opened = opened_sized(&machine_with_slots(hot_added.clone(), &SLOTS_2022), 3 * GIB);
    assert!(has_problem(&opened, Severity::Warning, &["two maps", "0x100000000..0x140000000"]));
    let mut with_added = SLOTS_2022;
    with_added[4] = (4 * GIB, 5 * GIB, 1);
    let opened = opened_sized(&machine_with_slots(hot_added, &with_added), 3 * GIB);
    assert_eq!(opened.checkpoint.memory.ranges(), [0..2 * GIB, 4 * GIB..5 * GIB]);
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
}

#[test]
fn hostile_memory_slots_are_no_map() {
    let none = || vec![Tag::u32("regionsCount", &[], 0)];
    for list in [
        [(0, u64::MAX, 1), (1, 0, 1)],
        [(0, 8 * 4096, 1), (4096, 8 * 4096, 1)],
        [(1, 8 * 4096, 1), (0, 0, 0)],
        [(4096, 0, 1), (0, 4096, 1)],
    ] {
        let opened = opened(&machine_with_slots(none(), &list), Some(numbered_pages(8)));
        assert_eq!(opened.checkpoint.memory.ranges(), [0..8 * 4096], "{list:?}");
    }
}

/// Files since 2016 have 8-byte page numbers elsewhere; regions may get them.
#[test]
fn region_tags_may_have_eight_bytes() {
    let quad = |name: &str, value: u64| Tag::u64(name, &[0], value);
    let tags = vec![
        Tag::u64("regionsCount", &[], 1),
        quad("regionPPN", 0x10_0000),
        quad("regionPageNum", 0),
        quad("regionSize", 2),
    ];
    let opened = opened(&machine(tags), Some(numbered_pages(2)));
    assert_eq!(opened.checkpoint.memory.ranges(), [4 * GIB..4 * GIB + 0x2000]);
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
}
