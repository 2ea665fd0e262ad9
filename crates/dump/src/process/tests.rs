//! Segments from runs made by hand.

use vmss2core_guest::linux::{Content, Missing, Run, VmaFlags};
use vmss2core_mem::{Gpa, Gva, Severity};

use super::memory::{Builder, Memory};
use crate::engine::Extent;

const READ_WRITE: VmaFlags = VmaFlags(3);
const CODE: VmaFlags = VmaFlags(5);

fn run(gva: u64, pages: u64, content: Content) -> Run {
    Run { gva: Gva(gva), len_bytes: pages * 0x1000, content }
}

/// A mapping: where it starts, what it allows, and its runs, one after the other,
/// each of so many pages.
type Mapping<'a> = (u64, VmaFlags, &'a [(u64, Content)]);

fn memory(zero_fill: bool, vmas: &[Mapping<'_>]) -> Memory {
    let mut builder = Builder::new(zero_fill, 1 << 30, false);
    for (start, flags, runs) in vmas {
        let mut writer = builder.start(*flags);
        let mut at = *start;
        for (pages, content) in *runs {
            assert!(writer.push(run(at, *pages, *content)).is_continue());
            at += pages * 0x1000;
        }
    }
    builder.finish(&|area| Some(format!("/swap{area}")))
}

/// Address, offset, bytes in the file, bytes in memory, flags.
fn segments(memory: &Memory) -> Vec<(u64, u64, u64, u64, u32)> {
    let segments = memory.segments.iter();
    segments.map(|s| (s.vaddr, s.offset, s.file_bytes, s.memory_bytes, s.flags)).collect()
}

const SWAPPED: Content = Content::Swapped { area: 0, page: 7 };

#[test]
fn what_is_available_is_one_segment_with_holes_for_zeroes() {
    let runs = [
        (2, Content::Memory(Gpa(0x5000))),
        (3, Content::Zero),
        (1, Content::PageCache(Gpa(0x9000))),
    ];
    let memory = memory(false, &[(0x40_0000, READ_WRITE, &runs)]);
    assert_eq!(segments(&memory), [(0x40_0000, 0, 0x6000, 0x6000, 6)]);
    let extent = |offset, gpa, len_bytes| Extent { offset, gpa: Gpa(gpa), len_bytes };
    assert_eq!(memory.extents, [extent(0, 0x5000, 0x2000), extent(0x5000, 0x9000, 0x1000)]);
    assert_eq!((memory.len_bytes, memory.problems.len()), (0x6000, 0));
    assert_eq!(
        (memory.counts.present, memory.counts.zero, memory.counts.page_cache),
        (0x2000, 0x3000, 0x1000)
    );
}

#[test]
fn what_is_not_available_has_no_bytes_in_the_file() {
    let runs = [
        (1, Content::Memory(Gpa(0x5000))),
        (2, SWAPPED),
        (1, Content::Missing(Missing::Special)),
        (1, Content::Memory(Gpa(0x6000))),
    ];
    let swapped = memory(false, &[(0x40_0000, CODE, &runs)]);
    assert_eq!(
        segments(&swapped),
        [
            (0x40_0000, 0, 0x1000, 0x1000, 5),
            (0x40_1000, 0x1000, 0, 0x3000, 5),
            (0x40_4000, 0x1000, 0x1000, 0x1000, 5),
        ]
    );
    assert_eq!((swapped.counts.swapped, swapped.counts.missing), (0x2000, 0x1000));
    let [of_swap, others] = swapped.problems.as_slice() else { panic!("{:?}", swapped.problems) };
    assert_eq!([of_swap, others].map(|problem| problem.severity), [Severity::Incomplete; 2]);
    assert!(of_swap.message.starts_with("swapped out to /swap"), "{}", of_swap.message);
    assert!(of_swap.message.ends_with(": 8 KiB"), "{}", of_swap.message);
    assert!(others.message.ends_with(": 4 KiB"), "{}", others.message);

    // Filled with zeroes only if the user wants that, and it is still said.
    let filled = memory(true, &[(0x40_0000, CODE, &runs)]);
    assert_eq!(segments(&filled), [(0x40_0000, 0, 0x5000, 0x5000, 5)]);
    assert_eq!(filled.extents.len(), 2);
    assert!(filled.problems[0].message.contains("zeroes in the core"));
}

#[test]
fn mappings_do_not_run_into_one_another() {
    let runs = [(1, Content::Memory(Gpa(0x5000)))];
    let more = [(1, Content::Memory(Gpa(0x6000)))];
    let memory = memory(false, &[(0x1000, CODE, &runs), (0x2000, READ_WRITE, &more)]);
    assert_eq!(
        segments(&memory),
        [(0x1000, 0, 0x1000, 0x1000, 5), (0x2000, 0x1000, 0x1000, 0x1000, 6)]
    );
    assert_eq!(memory.extents.len(), 1, "one copy does for both");
}

#[test]
fn devices_and_what_lies_in_files_lose_nothing() {
    let device = [(4, Content::Missing(Missing::OutsideMemory))];
    let file = [(4, Content::Missing(Missing::NotCached))];
    let vvar = VmaFlags(1 | VmaFlags::PFN_MAP.0);
    let memory = memory(false, &[(0x1000, vvar, &device), (0x9000, CODE, &file)]);
    assert!(memory.problems.iter().all(|problem| problem.severity == Severity::Note));
    assert!(memory.segments.iter().all(|segment| segment.file_bytes == 0));
}

#[test]
fn reserved_address_space_does_not_make_the_file_long() {
    let reserved = [(16 << 30, Content::Zero)];
    let memory = memory(
        false,
        &[(0x1000_0000, VmaFlags(0), &reserved), (0x7000_0000_0000, READ_WRITE, &reserved)],
    );
    assert_eq!(memory.len_bytes, 0);
    let [problem] = memory.problems.as_slice() else { panic!("{:?}", memory.problems) };
    assert_eq!(problem.severity, Severity::Warning);
}

#[test]
fn page_tables_that_map_memory_without_end_are_cut_off() {
    let mut builder = Builder::new(false, 1 << 30, false);
    let mut writer = builder.start(READ_WRITE);
    let mut taken = 0;
    while writer
        .push(run(taken << 30, 1 << 18, Content::Memory(Gpa(0x1000 * (taken % 2)))))
        .is_continue()
    {
        taken += 1;
        assert!(taken < 1000);
    }
    assert_eq!(taken, 16);
}
