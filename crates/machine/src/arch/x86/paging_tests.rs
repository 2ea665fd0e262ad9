//! The paging mode from registers, complete and incomplete ones.

#![expect(clippy::cast_possible_truncation, reason = "small test numbers")]

use vmss2core_mem::PhysicalMemory;

use super::modes::{FIVE_LEVEL, FOUR_LEVEL, PAE, TWO_LEVEL, TWO_LEVEL_PSE};
use super::*;
use crate::paging::tests::{P, Ram, four_levels};
use crate::paging::{PagingError, PagingMode};

const PG: u64 = 1 << 31 | 1;
const PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const LA57: u64 = 1 << 12;
const PCIDE: u64 = 1 << 17;
const LMA: u64 = 1 << 10;

fn vcpu(
    cr0: u64,
    cr3: u64,
    cr4: impl Into<Option<u64>>,
    efer: impl Into<Option<u64>>,
) -> Registers {
    let mut vcpu = Registers::default();
    vcpu.control.cr0 = Some(cr0);
    vcpu.control.cr3 = Some(cr3);
    vcpu.control.cr4 = cr4.into();
    vcpu.msrs.efer = efer.into();
    vcpu.rip = Some(0x1000);
    vcpu
}

fn mode(memory: &PhysicalMemory, vcpu: &Registers) -> (PagingMode, u64, String) {
    let paging = paging_of(memory, vcpu).unwrap();
    (paging.mode.value, paging.root.0.0, paging.mode.how)
}

#[test]
fn registers_decide_the_mode_and_the_root() {
    let memory = PhysicalMemory::new();
    for (vcpu, expected, root) in [
        (vcpu(1, 0x1234, 0, 0), PagingMode::IDENTITY, 0),
        (vcpu(PG, 0x1018, 0, 0), TWO_LEVEL, 0x1000),
        (vcpu(PG, 0x1018, PSE, 0), TWO_LEVEL_PSE, 0x1000),
        (vcpu(PG, 0x1e2b, CR4_PAE, 0), PAE, 0x1e20),
        (vcpu(PG, 0x1e2b, CR4_PAE, LMA), FOUR_LEVEL, 0x1000),
        (vcpu(PG, 0x8000_0000_0000_1801, CR4_PAE | LA57, LMA), FIVE_LEVEL, 0x1000),
    ] {
        let (mode, found, _) = mode(&memory, &vcpu);
        assert_eq!((mode, found), (expected, root));
    }
}

#[test]
fn without_cr3_there_is_no_mode_but_without_paging_there_is() {
    let memory = PhysicalMemory::new();
    let mut no_cr3 = vcpu(PG, 0, CR4_PAE, LMA);
    no_cr3.control.cr3 = None;
    assert_eq!(paging_of(&memory, &no_cr3), Err(PagingError::Missing("CR3")));
    no_cr3.control.cr0 = Some(0);
    assert!(paging_of(&memory, &no_cr3).is_ok());
}

#[test]
fn a_missing_efer_is_inferred_and_said() {
    // Only PAE maps the instruction pointer here; only four levels there.
    let pae = Ram::pages(8)
        .set(0x1000, 0x2000 | P)
        .set(0x2000, 0x3000 | P)
        .set(0x3008, 0x4000 | P)
        .memory();
    let four = four_levels().set(0x4008, 0x5000 | P).memory();
    let empty = PhysicalMemory::new();
    for (memory, vcpu, expected) in [
        (&empty, vcpu(PG, 0x1000, CR4_PAE | LA57, None), FIVE_LEVEL),
        (&empty, vcpu(PG, 0x1003, CR4_PAE | PCIDE, None), FOUR_LEVEL),
        (&empty, vcpu(PG, 0x1e20, CR4_PAE, None), PAE),
        (&pae, vcpu(PG, 0x1000, CR4_PAE, None), PAE),
        (&four, vcpu(PG, 0x1000, CR4_PAE, None), FOUR_LEVEL),
    ] {
        let (found, _, how) = mode(memory, &vcpu);
        assert_eq!(found, expected);
        assert!(how.contains("EFER is missing"), "{how}");
    }
    let (_, _, how) = mode(&empty, &vcpu(PG, 0x1000, CR4_PAE, None));
    assert!(how.contains("a guess"), "{how}");
}

#[test]
fn code_above_4_gib_proves_64_bit_paging() {
    let mut high = vcpu(PG, 0x1e20, CR4_PAE, None);
    high.rip = Some(0xffff_ffff_8100_0000);
    assert_eq!(mode(&PhysicalMemory::new(), &high).0, FOUR_LEVEL);
    let mut long = vcpu(PG, 0x1e20, CR4_PAE, None);
    long.segments.cs.attributes = Some(0xa09b);
    assert_eq!(mode(&PhysicalMemory::new(), &long).0, FOUR_LEVEL);
}

#[test]
fn a_missing_cr4_is_inferred_from_what_resolves() {
    let two = Ram::pages(8)
        .set32(0x1000, (0x2000 | P) as u32)
        .set32(0x2004, (0x3000 | P) as u32)
        .memory();
    let four = four_levels().set(0x4008, 0x5000 | P).memory();
    let short = mode(&two, &vcpu(PG, 0x1000, None, None));
    assert_eq!(short.0, TWO_LEVEL_PSE);
    assert!(short.2.contains("CR4 is missing"), "{}", short.2);
    assert_eq!(mode(&four, &vcpu(PG, 0x1000, None, LMA)).0, FOUR_LEVEL);
}
