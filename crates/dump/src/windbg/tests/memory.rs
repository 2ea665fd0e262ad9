//! Memory in dumps.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use vmss2core_lab::windows::{CpuTruth, Fixture, Layout, fixture};
use vmss2core_mem::{Gpa, Zeroes};

use super::guests::Guest;
use super::reader::{Dump, Kernel};
use super::{complaints, write, written};
use crate::DumpError;

/// Physical ranges that a dump may have changed.
pub(super) fn patched(guest: &Guest) -> Vec<std::ops::Range<u64>> {
    let (truth, kernel) = (guest.truth(), Kernel::of(guest.truth()));
    let (context, special) = if truth.paging.is_64_bit() { (0x4d0, 0xe8) } else { (0x2cc, 0x3c) };
    let mut ranges = Vec::new();
    if let Some(keys) = truth.kdbg.keys {
        ranges.extend(kernel.ranges(truth.kdbg.va, truth.kdbg.plain.len()));
        ranges.extend(kernel.ranges(keys.flag, 1));
    }
    let of_cpu = |cpu: &CpuTruth| {
        let contexts = [cpu.context, Some(cpu.embedded_context)].into_iter().flatten();
        let contexts = contexts.flat_map(|va| kernel.ranges(va, context)).collect::<Vec<_>>();
        [contexts, kernel.ranges(cpu.special_registers, special)].concat()
    };
    ranges.extend(truth.cpus.iter().flat_map(of_cpu));
    ranges
}

/// Compares every page that the machine has with what `read` has of it, but for
/// the `changed` bytes.
pub(super) fn assert_pages(
    guest: &Guest,
    changed: &[std::ops::Range<u64>],
    what: &str,
    read: impl Fn(u64, &mut [u8]),
) {
    let machine = guest.machine();
    let (mut pages, mut differ) = (0, 0);
    let (mut want, mut is) = (vec![0; 4096], vec![0; 4096]);
    for range in &machine.memory {
        for gpa in (range.gpa..range.gpa + range.len).step_by(4096) {
            let offset = range.offset + (gpa - range.gpa);
            // Large guests are holes: of pages without data a sample will do.
            let has_data = machine.ram.has_data(offset, 4096).unwrap();
            if !has_data && gpa / 4096 % 1021 != 0 {
                continue;
            }
            machine.ram.read(offset, &mut want).unwrap();
            read(gpa, &mut is);
            differ += usize::from(is != want);
            for changed in changed.iter().filter(|range| range.start & !0xfff == gpa) {
                let start = usize::try_from(changed.start - gpa).unwrap();
                let end = usize::try_from(changed.end - gpa).unwrap();
                want[start..end].fill(0);
                is[start..end].fill(0);
            }
            assert!(is == want, "{what}: {gpa:#x} differs");
            pages += 1;
        }
    }
    assert!(pages > 100, "{what}: only {pages} pages compared");
    assert_eq!(differ == 0, changed.is_empty(), "{what}");
}

fn assert_memory(guest: &Guest, dump: &Dump, changed: &[std::ops::Range<u64>], what: &str) {
    assert_pages(guest, changed, what, |gpa, page| {
        let at = dump.offset_of(gpa).unwrap_or_else(|| panic!("{what}: {gpa:#x} is missing"));
        page.copy_from_slice(&dump.bytes(at, 4096));
    });
    for range in &guest.machine().memory {
        let mut pages = (range.gpa..range.gpa + range.len).step_by(4096);
        assert!(pages.all(|gpa| dump.offset_of(gpa).is_some()), "{what}");
    }
}

/// Every page is the guest's but for what debuggers need.
pub(super) fn assert_patched(guest: &Guest, dump: &Dump, what: &str) {
    assert_memory(guest, dump, &patched(guest), what);
}

#[test]
fn memory_can_be_had_as_it_is() {
    for name in ["win10-19041-x64", "win7-pae", "crashed"] {
        let guest = Guest::named(name);
        let dump = write(&guest, "windbg", "no-patch").unwrap().dump;
        assert_memory(&guest, &dump, &[], name);
        assert!(dump.comment().contains(" 0 ranges patched"), "{}", dump.comment());
    }
}

fn in_ranges(ranges: u64, base: &str) -> Guest {
    // The first range comes on top.
    Guest::of(&Fixture { memory: Layout::Many(ranges - 1), ..fixture(base).unwrap() })
}

#[test]
fn runs_that_no_longer_fit_make_a_bitmap() {
    for (base, ranges, kind) in [
        ("win10-19041-x64", 42, 1),
        ("win10-19041-x64", 43, 5),
        ("win10-19041-x64", 44, 5),
        ("win7-pae", 43, 1),
        ("win7-pae", 86, 1),
        ("win7-pae", 87, 5),
    ] {
        let guest = in_ranges(ranges, base);
        let written = written(&guest, "windbg");
        assert_eq!(written.dump.dump_type(), kind, "{base} {ranges}");
        assert_eq!(written.dump.runs.len() as u64, ranges, "{base}");
        let said = written.summary.problems.iter().any(|it| it.message.contains("bitmap"));
        assert_eq!(said, kind == 5, "{base} {ranges}");
        assert_memory(&guest, &written.dump, &patched(&guest), base);
    }
}

#[test]
fn parts_of_pages_are_left_out() {
    for (start, len) in [(0x300_0000, 4095), (0x300_0fff, 4097), (0x300_0800, 0x2800)] {
        let mut guest = Guest::named("win7-pae");
        let bytes = vec![7; len];
        guest.checkpoint.memory.map(Gpa(start), len as u64, Arc::new(bytes), 0).unwrap();
        let whole = (start + len as u64) / 4096 - start.div_ceil(4096);
        let dump = written(&guest, "windbg").dump;
        let behind = dump.runs.get(1).map_or(0, |(_, pages, _)| *pages);
        assert_eq!(behind, whole, "{start:#x}+{len}");
        assert_memory(&guest, &dump, &patched(&guest), "odd");
    }
}

#[test]
fn zeroes_can_be_left_out() {
    for name in ["win10-19041-x64", "win7-x86", "hole"] {
        let guest = Guest::named(name);
        let written = write(&guest, "windbg", "sparse").unwrap();
        assert!(complaints(&written).is_empty(), "{name}: {:?}", complaints(&written));
        let (dump, changed) = (&written.dump, patched(&guest));
        assert_eq!(dump.dump_type(), 5, "{name}");
        let mut left_out = 0;
        for range in &guest.machine().memory {
            for gpa in (range.gpa..range.gpa + range.len).step_by(4096) {
                let offset = range.offset + (gpa - range.gpa);
                if !guest.machine().ram.has_data(offset, 4096).unwrap() {
                    left_out += usize::from(dump.offset_of(gpa).is_none());
                    continue;
                }
                let mut want = vec![0; 4096];
                guest.machine().ram.read(offset, &mut want).unwrap();
                match dump.offset_of(gpa) {
                    None => {
                        assert!(want.iter().all(|byte| *byte == 0), "{name}: {gpa:#x} is missing");
                        left_out += 1;
                    }
                    Some(_) if changed.iter().any(|range| range.start & !0xfff == gpa) => {}
                    Some(at) => assert!(dump.bytes(at, 4096) == want, "{name}: {gpa:#x}"),
                }
            }
        }
        assert!(left_out > 1000, "{name}: {left_out}");
    }
}

#[test]
fn the_guests_own_runs_can_be_had() {
    for name in ["win10-19041-x64", "win7-pae", "winxp-x86", "hole"] {
        let guest = Guest::named(name);
        let written = write(&guest, "windbg", "runs=guest").unwrap();
        let runs: Vec<(u64, u64)> =
            written.dump.runs.iter().map(|(first, pages, _)| (*first, *pages)).collect();
        assert_eq!(runs, guest.truth().physical_memory, "{name}");
    }
}

#[test]
fn holes_of_the_input_stay_holes() {
    let guest = Guest::named("hole");
    for format in ["windbg", "windbg-bitmap"] {
        let written = written(&guest, format);
        let used = fs::metadata(&written.summary.path).unwrap().blocks() * 512;
        assert!(written.summary.len_bytes > 3 << 30);
        assert!(used < 64 << 20, "{format}: {used} bytes");
    }
}

/// A few pages at the end of all addresses take no more than their own memory.
#[test]
fn far_memory_does_not_take_what_lies_between() {
    let mut guest = Guest::named("win10-19041-x64");
    let far = Arc::new(vec![1; 8192]);
    guest.checkpoint.memory.map(Gpa(u64::MAX - 0x3fff), 8192, far, 0).unwrap();
    let written = write(&guest, "windbg", "");
    assert!(written.is_ok_and(|written| written.dump.runs.len() == 2));
}

/// More memory than there can be is refused before its bitmap is made.
#[test]
fn a_bitmap_of_memory_without_end_is_refused() {
    let mut guest = Guest::named("win10-19041-x64");
    let memory = &mut guest.checkpoint.memory;
    memory.map(Gpa(1 << 40), 1 << 60, Arc::new(Zeroes), 0).unwrap();
    let refused = write(&guest, "windbg-bitmap", "");
    assert!(matches!(refused, Err(DumpError::TooLarge)));
}
