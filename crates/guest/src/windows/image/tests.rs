use std::sync::Arc;

use proptest::prelude::*;
use vmss2core_lab::windows::{Trap, fixture, fixtures};
use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_mem::{Gpa, PhysicalMemory};

use super::super::kdbg;
use super::*;
use crate::windows::tests::guests::Guest;

fn hints(guest: &Guest) -> Vec<(Gva, String)> {
    let names = ["KiDivideErrorFault", "KiSystemCall64"];
    names.iter().map(|name| (guest.symbol(name), (*name).to_owned())).collect()
}

fn assert_is_the_kernel(guest: &Guest, image: &KernelImage, name: &str) {
    let truth = &guest.nt.truth;
    assert_eq!((image.base.0, image.size_bytes), (truth.kernel.base, truth.kernel.size), "{name}");
    let pdb = image.pdb.as_ref().unwrap();
    assert_eq!(
        (&pdb.name, &pdb.guid, pdb.age),
        (&truth.pdb.name, &truth.pdb.guid, truth.pdb.age),
        "{name}"
    );
}

#[test]
fn every_kernel_is_found_by_its_code_and_by_page_tables() {
    for fixture in fixtures() {
        let guest = Guest::of(&fixture);
        let (view, name) = (guest.view(), fixture.name);
        let by_code = find(&view, &hints(&guest));
        let by_tables = find(&view, &[]);
        if fixture.has(Trap::HeaderPagedOut) {
            assert_eq!((by_code, by_tables), (None, None), "{name}");
            continue;
        }
        let (by_code, by_tables) = (by_code.unwrap(), by_tables.unwrap());
        if fixture.has(Trap::OtherLinker) {
            let truth = &guest.nt.truth.kernel;
            let found = (by_code.value.base.0, by_code.value.pdb.as_ref());
            assert_eq!(found, (truth.base, None), "{name}");
            assert_eq!(by_code.value, by_tables.value, "{name}");
            continue;
        }
        assert_is_the_kernel(&guest, &by_code.value, name);
        assert!(by_code.how.contains("KiDivideErrorFault"), "{name}: {}", by_code.how);
        assert_eq!(by_code.value, by_tables.value, "{name}");
        let image = by_code.value;
        assert_eq!(image.timestamp, Some(guest.nt.truth.kernel.timestamp), "{name}");
        assert_eq!(image.checksum, Some(image.size_bytes ^ 0x1234), "{name}");
        let sections: Vec<_> = image.sections.iter().map(|section| section.name.as_str()).collect();
        let expected =
            [".rdata", ".edata", ".text", "KVASCODE", "POOLCODE", ".data", "PAGE", "INIT", ".rsrc"];
        assert_eq!(sections, expected, "{name}");
        let exports = exports(&view, &image);
        if fixture.has(Trap::ExportsPagedOut) {
            assert!(exports.is_empty(), "{name}");
        } else {
            for export in ["NtBuildNumber", "PsInitialSystemProcess"] {
                assert_eq!(exports[export], guest.symbol(export), "{name}: {export}");
            }
        }
    }
}

#[test]
fn hints_outside_the_kernel_do_not_mislead() {
    let guest = Guest::of(&fixture("win10-19041-x64").unwrap());
    let base = guest.nt.truth.kernel.base;
    let stray = [base - 0x1000, 0x1000, base + (20 << 20), u64::MAX];
    let mut hints: Vec<_> = stray.iter().map(|at| (Gva(*at), "stray".to_owned())).collect();
    hints.push((guest.symbol("KiSystemCall64"), "LSTAR".to_owned()));
    let found = find(&guest.view(), &hints).unwrap();
    assert!(found.how.contains("LSTAR"), "{}", found.how);
    assert_is_the_kernel(&guest, &found.value, "stray");
}

#[test]
fn a_kernel_without_its_header_is_described_by_the_debugger_data() {
    let guest = Guest::of(&fixture("header-paged-out").unwrap());
    let view = guest.view();
    let kdbg = kdbg::find(&view, None, None).unwrap().value;
    let image = from_kdbg(&view, &kdbg).unwrap().value;
    assert_is_the_kernel(&guest, &image, "header-paged-out");
    assert_eq!((image.timestamp, image.checksum, image.sections.len()), (None, None, 0));
}

/// A view of these bytes as 32-bit memory without paging, from 2 GiB on.
fn memory_of(bytes: Vec<u8>) -> PhysicalMemory {
    let mut memory = PhysicalMemory::new();
    memory.map(Gpa(0x8000_0000), bytes.len() as u64, Arc::new(bytes), 0).unwrap();
    memory
}

fn look(memory: &PhysicalMemory) {
    let view = View::new(memory, PagingMode::IDENTITY, Root(Gpa(0)));
    for page in 0..4 {
        let base = Gva(0x8000_0000 + page * PAGE_SIZE);
        let image = from_base(&view, base, None);
        let exports = exports(&view, &image);
        assert!(exports.len() <= 0x1_0000 && image.sections.len() <= 96);
    }
    let hint = (Gva(0x8000_3fff), "hint".to_owned());
    drop(find(&view, &[hint]));
}

fn header() -> Vec<u8> {
    let guest = Guest::of(&fixture("win7-x86").unwrap());
    guest.view().bytes(Gva(guest.nt.truth.kernel.base), 0x1000).unwrap()
}

#[test]
fn kernels_may_be_shorter_than_2_mib() {
    // Length of the kernel with PAE of Windows XP SP3, and of other images.
    for (len, is_kernel) in [(0x1f_8580_u32, true), (0xf_0000, false), (0x210_0000, false)] {
        let mut bytes = header();
        bytes[0x160..0x164].copy_from_slice(&len.to_le_bytes());
        let memory = memory_of(bytes);
        let view = View::new(&memory, PagingMode::IDENTITY, Root(Gpa(0)));
        let found = find(&view, &[(Gva(0x8000_0000), "hint".to_owned())]);
        assert_eq!(found.is_some(), is_kernel, "{len:#x}");
    }
}

#[test]
fn headers_that_claim_everything_are_bounded() {
    let sound = header();
    for at in (0x110..0x400).step_by(4) {
        for value in [u32::MAX, 0x7fff_ffff, 0x110, 0] {
            let mut hostile = sound.clone();
            hostile[at..at + 4].copy_from_slice(&value.to_le_bytes());
            look(&memory_of(hostile.repeat(4)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_headers_do_no_harm(changes in prop::collection::vec((0..0x1000_usize, any::<u8>()), 1..64)) {
        let mut bytes = vec![0; 0x1000];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x40;
        bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
        bytes[0x58..0x5a].copy_from_slice(&0x10b_u16.to_le_bytes());
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        look(&memory_of(bytes.repeat(4)));
    }
}
