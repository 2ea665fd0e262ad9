use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use vmss2core_mem::{Gpa, ReadAt};

use super::*;
use crate::source::{Folder, Ledger, Unpacker};
use crate::testing::{put, source};
use crate::{ErrorKind, OpenOptions};

const GIB: u64 = 1 << 30;

/// An image of any length that is zero but for a few pages.
#[derive(Default)]
struct Pages {
    pages: BTreeMap<u64, [u8; 4096]>,
}

impl Pages {
    fn set(&mut self, offset: u64, index: usize, entry: u64) {
        let page = self.pages.entry(offset).or_insert([0; 4096]);
        page[8 * index..8 * index + 8].copy_from_slice(&entry.to_le_bytes());
    }
}

impl ReadAt for Pages {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        buf.fill(0);
        let end = offset + buf.len() as u64;
        for (at, page) in self.pages.range(offset & !4095..end) {
            let bytes = (*at..).zip(page).filter(|(at, _)| (offset..end).contains(at));
            for (at, byte) in bytes {
                buf[usize::try_from(at - offset).unwrap()] = *byte;
            }
        }
        Ok(())
    }
}

/// Tables of a kernel like Linux: the root at `root`, then four tables of each
/// level from `tables` on, all addresses guest physical, placed with `place`.
fn kernel(place: impl Fn(u64) -> u64, root: u64, tables: u64) -> Pages {
    let mut pages = Pages::default();
    let table = |level: u64, i: u64| tables + (level * 4 + i) * 4096;
    for (i, slot) in (0..4).zip([0, 273, 400, 511]) {
        pages.set(place(root), slot, table(0, i) | 0x67);
        for slot in [3, 17] {
            pages.set(place(table(0, i)), slot, table(1, i) | 0x63);
            pages.set(place(table(1, i)), slot, table(2, i) | 0x63);
            pages.set(place(table(1, i)), slot + 1, (0x4000_0000 + (i << 21)) | 0x1e3);
            pages.set(place(table(2, i)), slot, 0x8000_0000_0012_3163);
        }
    }
    pages
}

fn open(image: Pages, len: u64, beside: &[(&str, &[u8])]) -> Result<Opened, OpenError> {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in beside {
        put(dir.path(), name, bytes);
    }
    let folder = Folder::read(dir.path()).unwrap();
    let options = OpenOptions::default();
    let lead = Source { bytes: Arc::new(image), len, ..source("x.vmem", Vec::new()) };
    let place = Place { folder: &folder, name: "x.vmem".to_owned() };
    let unpacker = Unpacker { options: &options, ledger: &Ledger::default() };
    FlatMemory.open(Case { lead: lead.into(), memory: None, place, unpacker })
}

fn ranges(opened: &Opened) -> Vec<std::ops::Range<u64>> {
    opened.checkpoint.memory.segments().iter().map(|s| s.start().0..s.end().0).collect()
}

fn problems(opened: &Opened) -> String {
    opened
        .checkpoint
        .about
        .problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect::<Vec<_>>()
        .concat()
}

#[test]
fn tables_above_the_hole_prove_it() {
    let split = |gpa: u64| if gpa >= 4 * GIB { gpa - GIB } else { gpa };
    let image = kernel(split, 0x1_2000, 4 * GIB + 0x10_0000);
    let opened = open(image, 4 * GIB, &[]).unwrap();
    assert_eq!(ranges(&opened), [0..3 * GIB, 4 * GIB..5 * GIB]);
    assert!(problems(&opened).contains("as its page tables show"), "{}", problems(&opened));
    let mut entry = [0; 8];
    opened.checkpoint.memory.read(Gpa(4 * GIB + 0x10_0000), &mut [0; 4096]).unwrap();
    opened.checkpoint.memory.pieces(Gpa(4 * GIB), 4096).for_each(drop);
    assert!(opened.checkpoint.memory.read(Gpa(3 * GIB), &mut entry).is_err());
}

#[test]
fn tables_across_the_usual_hole_disprove_it() {
    let image = kernel(|gpa| gpa, 0x1_2000, 3 * GIB + 0x10_0000);
    let opened = open(image, 4 * GIB, &[]).unwrap();
    assert_eq!(ranges(&opened), vec![0..4 * GIB]);
    assert!(problems(&opened).contains("without a hole, as its page tables show"));
}

#[test]
fn a_configured_hole_is_tried_and_needs_the_same_proof() {
    let vmx = b"config.version = \"8\"\npciHole.start = \"2048\"\npciHole.end = \"4096\"\n";
    let split = |gpa: u64| if gpa >= 4 * GIB { gpa - 2 * GIB } else { gpa };
    let image = kernel(split, 0x1_2000, 4 * GIB + 0x10_0000);
    let opened = open(image, 4 * GIB, &[("vm.vmx", vmx)]).unwrap();
    assert_eq!(ranges(&opened), [0..2 * GIB, 4 * GIB..6 * GIB]);
    assert!(problems(&opened).contains("pciHole in vm.vmx"), "{}", problems(&opened));
    let usual = |gpa: u64| if gpa >= 4 * GIB { gpa - GIB } else { gpa };
    let image = kernel(usual, 0x1_2000, 4 * GIB + 0x10_0000);
    let opened = open(image, 4 * GIB, &[("vm.vmx", vmx)]).unwrap();
    assert_eq!(ranges(&opened), [0..3 * GIB, 4 * GIB..5 * GIB]);
}

#[test]
fn without_proof_the_usual_hole_is_assumed_aloud() {
    let image = kernel(|gpa| gpa, 0x1_2000, 0x10_0000);
    let opened = open(image, 4 * GIB, &[]).unwrap();
    assert_eq!(ranges(&opened), [0..3 * GIB, 4 * GIB..5 * GIB]);
    assert!(problems(&opened).contains("no page table proves it"), "{}", problems(&opened));
}

#[test]
fn memory_below_any_hole_is_where_it_seems_and_has_no_registers() {
    let opened = open(kernel(|gpa| gpa, 0x1_2000, 0x10_0000), GIB, &[("a.log", b"")]).unwrap();
    assert_eq!(ranges(&opened), vec![0..GIB]);
    assert!(opened.checkpoint.vcpus.is_empty());
    assert!(problems(&opened).contains("no registers"), "{}", problems(&opened));
    assert!(problems(&opened).contains("of the 1 other files"), "{}", problems(&opened));
}

#[test]
fn pae_roots_count_and_lie_anywhere_in_a_page() {
    let split = |gpa: u64| if gpa >= 4 * GIB { gpa - GIB } else { gpa };
    let mut pages = Pages::default();
    for i in 0..4 {
        let directory = 4 * GIB + 0x20_0000 + i * 4096;
        let table = 4 * GIB + 0x30_0000 + i * 4096;
        pages.set(0x5000, 64 + usize::try_from(i).unwrap(), directory | 1);
        pages.set(split(directory), 5, table | 0x67);
        pages.set(split(table), 9, 0x12_3067);
    }
    pages.set(0x5000, 200, 0x7265_746e_6920_796d);
    let opened = open(pages, 5 * GIB, &[]).unwrap();
    assert_eq!(ranges(&opened), [0..3 * GIB, 4 * GIB..6 * GIB]);
    assert!(problems(&opened).contains("as its page tables show"), "{}", problems(&opened));
}

#[test]
fn a_bios_is_proof_enough_of_memory() {
    let mut pages = Pages::default();
    for i in 0..128 {
        pages.set(0, i, 0xf000_ff53_f000_ff53);
    }
    assert_eq!(ranges(&open(pages, 1 << 24, &[]).unwrap()), vec![0..1 << 24]);
}

#[test]
fn other_files_are_not_memory() {
    let mut noise = Pages::default();
    let mut state = 1_u64;
    for page in 0..256 {
        for index in 0..512 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            noise.set(page * 4096, index, state ^ state >> 29);
        }
    }
    for image in [noise, Pages::default()] {
        let error = open(image, 1 << 20, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotACheckpoint, "{error}");
    }
}

#[test]
fn tables_that_point_at_each_other_end() {
    let mut pages = Pages::default();
    for page in 0..256 {
        for index in 0..300 {
            let target = (page * 7 + index) % 256 * 4096;
            pages.set(page * 4096, usize::try_from(index + 200).unwrap(), target | 0x63);
        }
    }
    open(pages, 1 << 20, &[]).unwrap();
}

#[test]
fn an_image_that_has_lost_its_end_is_said_to() {
    let vmx = b"config.version = \"8\"\nmemsize = \"1024\"\n";
    for (len, beside, wanted) in [
        (GIB - 0x10_0000, &[("x.vmx", &vmx[..])][..], "its last 0x100000 bytes are missing"),
        (GIB - 0x234, &[], "0x3ffffdcc bytes, which is no whole number of pages"),
    ] {
        let opened = open(kernel(|gpa| gpa, 0x1_2000, 0x10_0000), len, beside).unwrap();
        assert!(problems(&opened).contains(wanted), "{}", problems(&opened));
        let incomplete = opened.checkpoint.about.problems.iter().map(|problem| problem.severity);
        assert_eq!(incomplete.max(), Some(vmss2core_mem::Severity::Incomplete));
    }
    for (len, beside) in [(GIB, "x.vmx"), (GIB - 0x10_0000, "y.vmx")] {
        let opened = open(kernel(|gpa| gpa, 0x1_2000, 0x10_0000), len, &[(beside, vmx)]).unwrap();
        assert!(!problems(&opened).contains("cut off"), "{}", problems(&opened));
    }
}

/// Two programs under one kernel, whose last tables are beyond the end of the image.
#[test]
fn tables_beyond_the_end_show_that_it_was_cut_off() {
    let tables = 0x10_0000;
    let cut = tables + 11 * 4096;
    let image = |roots: [u64; 2]| {
        let mut image = kernel(|gpa| gpa, roots[0], tables);
        let root = image.pages[&roots[0]];
        image.pages.insert(roots[1], root);
        image
    };
    let opened = open(image([0x1_2000, 0x1_5000]), cut, &[]).unwrap();
    let said = problems(&opened);
    assert!(said.contains("lead to other tables at 0x10b000, and it ends at 0x10b000"), "{said}");
    let whole = open(image([0x1_2000, 0x1_5000]), 2 << 20, &[]).unwrap();
    assert!(!problems(&whole).contains("missing"), "{}", problems(&whole));
    // One alone may be anything that looks like a root.
    let opened = open(kernel(|gpa| gpa, 0x1_2000, tables), cut, &[]).unwrap();
    assert!(!problems(&opened).contains("missing"), "{}", problems(&opened));
}

/// Pages that look like roots and lead to what is no table as well are none.
#[test]
fn pointers_to_anything_do_not_show_that_it_was_cut_off() {
    let mut image = kernel(|gpa| gpa, 0x1_2000, 0x10_0000);
    for slot in 300..340 {
        image.set(0x1_2000, slot, (0x8000_0000 + (slot as u64) * 4096) | 0x67);
    }
    image.set(0x1_2000, 341, 0x13_0000 | 0x67);
    image.set(0x13_0000, 0, 0x7fff_ffff_ffff_ffff);
    let root = image.pages[&0x1_2000];
    image.pages.insert(0x1_5000, root);
    image.pages.insert(0x1_6000, kernel(|gpa| gpa, 0x1_2000, 0x10_0000).pages[&0x1_2000]);
    let opened = open(image, 2 << 20, &[]).unwrap();
    assert!(!problems(&opened).contains("missing"), "{}", problems(&opened));
}
