//! Page tables built by hand, one for each row of the manual.

#![expect(clippy::cast_possible_truncation, reason = "small test numbers")]

mod naive;

use std::ops::ControlFlow;
use std::sync::Arc;

use vmss2core_mem::{Gpa, Gva, PhysicalMemory};

use super::*;
use crate::x86::modes::{FIVE_LEVEL, FOUR_LEVEL, PAE, TWO_LEVEL, TWO_LEVEL_PSE};

pub(crate) const P: u64 = 1;
const W: u64 = 1 << 1;
const U: u64 = 1 << 2;
const PS: u64 = 1 << 7;
const NX: u64 = 1 << 63;

/// Memory from 0 on, to write tables into.
pub(crate) struct Ram(Vec<u8>);

impl Ram {
    pub(crate) fn pages(count: usize) -> Self {
        Self(vec![0; count * 4096])
    }

    pub(crate) fn set(mut self, gpa: u64, entry: u64) -> Self {
        self.0[gpa as usize..gpa as usize + 8].copy_from_slice(&entry.to_le_bytes());
        self
    }

    pub(crate) fn set32(mut self, gpa: u64, entry: u32) -> Self {
        self.0[gpa as usize..gpa as usize + 4].copy_from_slice(&entry.to_le_bytes());
        self
    }

    pub(crate) fn memory(self) -> PhysicalMemory {
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0), self.0.len() as u64, Arc::new(self.0), 0).unwrap();
        memory
    }
}

fn space(memory: &PhysicalMemory, mode: PagingMode, cr3: u64) -> AddressSpace {
    AddressSpace::new(memory, mode, mode.root_of(cr3))
}

/// Four levels at 0x1000, 0x2000, 0x3000 and 0x4000, all for the lowest address.
pub(crate) fn four_levels() -> Ram {
    Ram::pages(16)
        .set(0x1000, 0x2000 | P | W | U)
        .set(0x2000, 0x3000 | P | W | U)
        .set(0x3000, 0x4000 | P | W | U)
}

fn runs(space: &AddressSpace) -> Vec<(u64, u64, u64)> {
    let leaves = space.leaves(&Limits::default());
    leaves.leaves.iter().map(|leaf| (leaf.gva.0, leaf.gpa.0, leaf.len_bytes())).collect()
}

#[test]
fn without_paging_virtual_is_physical_below_4_gib() {
    let mut memory = four_levels().memory();
    memory.map(Gpa(0xffff_f000), 0x2000, Arc::new(vec![7; 0x2000]), 0).unwrap();
    let space = space(&memory, PagingMode::IDENTITY, 0xdead_b000);
    assert_eq!(space.translate(Gva(0x1234)).unwrap().gpa, Gpa(0x1234));
    assert!(matches!(space.translate(Gva(1 << 32)), Err(AccessError::NonCanonical { .. })));
    assert_eq!(runs(&space), [(0, 0, 0x10000), (0xffff_f000, 0xffff_f000, 0x1000)]);
    assert!(space.read(Gva(0xffff_ffff), &mut [0; 2]).is_err());
}

#[test]
fn two_levels_map_4_kib_and_with_pse_4_mib() {
    let memory = Ram::pages(8)
        .set32(0x1000 + 4 * 0x300, (0x2000 | P | W) as u32)
        .set32(0x2000 + 4 * 5, (0x3000 | P | U) as u32)
        .set32(0x1000 + 4 * 0x301, (P | PS) as u32)
        .memory();
    let with = space(&memory, TWO_LEVEL_PSE, 0x1018);
    let found = with.translate(Gva(0xc000_5123)).unwrap();
    assert_eq!((found.gpa, found.page_len), (Gpa(0x3123), 0x1000));
    assert_eq!(found.permissions, Permissions { write: false, user: false, execute: true });
    assert_eq!(with.translate(Gva(0xc040_4567)).unwrap().page_len, 4 << 20);
    assert_eq!(runs(&with), [(0xc000_5000, 0x3000, 0x1000), (0xc040_0000, 0, 0x8000)]);
    // Without PSE the second entry is a table, at 0.
    let without = space(&memory, TWO_LEVEL, 0x1018);
    let error = without.translate(Gva(0xc040_4567)).unwrap_err();
    assert!(matches!(error, AccessError::NotMapped { level: 1, .. }), "{error}");
}

#[test]
fn pse36_reaches_above_4_gib() {
    let mut memory = Ram::pages(2).set32(0x1000, (P | PS | 1 << 13) as u32).memory();
    memory.map(Gpa(0x1_0000_0000), 4 << 20, Arc::new(vec![9; 4 << 20]), 0).unwrap();
    let space = space(&memory, TWO_LEVEL_PSE, 0x1000);
    assert_eq!(space.translate(Gva(0x12_3456)).unwrap().gpa, Gpa(0x1_0012_3456));
    assert_eq!(runs(&space), [(0, 0x1_0000_0000, 4 << 20)]);
}

#[test]
fn pae_roots_are_32_byte_aligned_and_their_entries_carry_no_permissions() {
    // Bits 1, 2 and 5 to 8 of a PDPTE are reserved: whatever they are, they
    // neither take permissions nor make a large page.
    let memory = Ram::pages(8)
        .set(0x1e20 + 8 * 3, 0x2000 | P | PS)
        .set(0x2000 + 8 * 511, 0x3000 | P | W | U)
        .set(0x3000 + 8 * 511, 0x4000 | P | W | U | NX)
        .set(0x2000, P | PS | 1 << 12)
        .memory();
    let space = space(&memory, PAE, 0x1e2b);
    let found = space.translate(Gva(0xffff_fffc)).unwrap();
    assert_eq!(found.gpa, Gpa(0x4ffc));
    assert_eq!(found.permissions, Permissions { write: true, user: true, execute: false });
    // Bit 12 of a large page is PAT, not address.
    assert_eq!(space.translate(Gva(0xc000_1234)).unwrap().gpa, Gpa(0x1234));
    assert_eq!(runs(&space), [(0xc000_0000, 0, 0x8000), (0xffff_f000, 0x4000, 0x1000)]);
    assert!(matches!(
        space.read(Gva(0xffff_fffc), &mut [0; 5]),
        Err(AccessError::NonCanonical { .. })
    ));
}

#[test]
pub(crate) fn four_levels_map_4_kib_2_mib_and_1_gib() {
    let memory = four_levels()
        .set(0x4000 + 8, 0x5000 | P | W | U | PS)
        .set(0x3000 + 8, P | W | PS)
        .set(0x2000 + 8, P | PS | NX)
        .memory();
    // PCID, LAM and no-flush bits around the root.
    let space = space(&memory, FOUR_LEVEL, 0xe000_0000_0000_1fff);
    for (gva, gpa, page_len) in
        [(0x1abc, 0x5abc, 0x1000), (0x20_1abc, 0x1abc, 2 << 20), (0x4012_3456, 0x12_3456, 1 << 30)]
    {
        let found = space.translate(Gva(gva)).unwrap();
        assert_eq!((found.gpa.0, found.page_len), (gpa, page_len), "{gva:#x}");
    }
    assert_eq!(
        runs(&space),
        [(0x1000, 0x5000, 0x1000), (0x20_0000, 0, 0x10000), (0x4000_0000, 0, 0x10000)]
    );
}

#[test]
fn five_levels_reach_the_top_of_the_address_space() {
    let mut ram = Ram::pages(8);
    for (table, next) in [(0x1000, 0x2000), (0x2000, 0x3000), (0x3000, 0x4000), (0x4000, 0x5000)] {
        ram = ram.set(table + 8 * 511, next | P | W);
    }
    let memory = ram.set(0x5000 + 8 * 511, 0x6000 | P | W).memory();
    let space = space(&memory, FIVE_LEVEL, 0x1000);
    assert_eq!(runs(&space), [(0xffff_ffff_ffff_f000, 0x6000, 0x1000)]);
    assert!(space.read(Gva(u64::MAX - 7), &mut [0; 8]).is_ok());
    assert!(matches!(
        space.read(Gva(u64::MAX - 7), &mut [0; 9]),
        Err(AccessError::NonCanonical { .. })
    ));
    // Canonical for five levels only.
    let error = space.translate(Gva(1 << 47)).unwrap_err();
    assert!(matches!(error, AccessError::NotMapped { level: 5, entry: 0, .. }), "{error}");
    let four = AddressSpace::new(&memory, FOUR_LEVEL, space.root());
    assert!(matches!(four.translate(Gva(1 << 47)), Err(AccessError::NonCanonical { .. })));
}

#[test]
fn permissions_are_those_of_all_levels_together() {
    let memory = Ram::pages(8)
        .set(0x1000, 0x2000 | P | W | U)
        .set(0x2000, 0x3000 | P | U | NX)
        .set(0x3000, 0x4000 | P | W)
        .set(0x4000, 0x5000 | P | W | U)
        .memory();
    let space = space(&memory, FOUR_LEVEL, 0x1000);
    let none = Permissions { write: false, user: false, execute: false };
    assert_eq!(space.translate(Gva(0)).unwrap().permissions, none);
    let without_nx = space.with_no_execute(false).translate(Gva(0)).unwrap();
    assert!(without_nx.permissions.execute);
}

#[test]
fn a_large_page_bit_where_it_is_reserved_is_an_error_and_skipped() {
    let memory = four_levels().set(0x1000 + 8, 0x2000 | P | PS).memory();
    let space = space(&memory, FOUR_LEVEL, 0x1000);
    let error = space.translate(Gva(1 << 39)).unwrap_err();
    assert!(matches!(error, AccessError::Reserved { level: 4, .. }), "{error}");
    assert_eq!(space.leaves(&Limits::default()).summary.reserved_skipped, 1);
}

#[test]
fn errors_say_which_level_and_entry_stopped_them() {
    let memory = four_levels().set(0x4000, 0x0fff_e000).memory();
    let space = space(&memory, FOUR_LEVEL, 0x1000);
    let error = space.read(Gva(0x10), &mut [0; 4]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "virtual address 0x10 is not mapped: entry at level 1 is 0xfffe000"
    );
}

#[test]
fn a_read_names_the_first_address_it_misses() {
    let memory = four_levels()
        .set(0x4000, 0x5000 | P)
        .set(0x4008, 0x4_0000 | P) // after the end of memory
        .memory();
    let space = space(&memory, FOUR_LEVEL, 0x1000);
    assert!(space.read(Gva(0xff0), &mut [0; 16]).is_ok());
    let error = space.read(Gva(0xff0), &mut [0; 17]).unwrap_err();
    assert!(matches!(error, AccessError::Page { gva: Gva(0x1000), .. }), "{error}");
}

#[test]
fn a_table_outside_memory_is_counted_and_passed_over() {
    let memory = four_levels().set(0x4000, 0x5000 | P).set(0x3000 + 8, 0xdead_b000 | P).memory();
    let space = space(&memory, FOUR_LEVEL, 0x1000);
    let leaves = space.leaves(&Limits::default());
    assert_eq!(leaves.leaves.len(), 1);
    assert_eq!(leaves.summary.tables_outside_ram, 1);
    let error = space.translate(Gva(0x20_0000)).unwrap_err();
    assert!(matches!(error, AccessError::Table { level: 1, .. }), "{error}");
}

#[test]
fn pages_are_clipped_to_what_the_checkpoint_holds() {
    // A 2 MiB page over a hole from 0x10000 to 0x20000, and half a page at the end.
    let mut memory = four_levels().set(0x3000, P | PS | W).memory();
    memory.map(Gpa(0x2_0000), 0x1800, Arc::new(vec![1; 0x1800]), 0).unwrap();
    let space = space(&memory, FOUR_LEVEL, 0x1000);
    assert_eq!(runs(&space), [(0, 0, 0x1_0000), (0x2_0000, 0x2_0000, 0x1000)]);
    let outside = space.leaves(&Limits::default()).summary.bytes_outside_ram;
    assert_eq!(outside, (2 << 20) - 0x1_1000);
}

#[test]
fn adjacent_pages_are_one_run_if_their_permissions_are_equal() {
    let memory = four_levels()
        .set(0x4000, 0x5000 | P | W)
        .set(0x4008, 0x6000 | P | W)
        .set(0x4010, 0x7000 | P)
        .set(0x4018, 0x5000 | P)
        .memory();
    let space = space(&memory, FOUR_LEVEL, 0x1000);
    let expected = [(0, 0x5000, 0x2000), (0x2000, 0x7000, 0x1000), (0x3000, 0x5000, 0x1000)];
    assert_eq!(runs(&space), expected);
}

#[test]
fn a_self_map_ends_and_shows_the_tables() {
    let memory = four_levels()
        .set(0x4000, 0x5000 | P | W)
        .set(0x1000 + 8 * 0x1ed, 0x1000 | P | W) // as Windows has it
        .memory();
    let space = space(&memory, FOUR_LEVEL, 0x1000);
    let leaves = space.leaves(&Limits::default());
    let of_table = |gpa: u64| leaves.leaves.iter().filter(|leaf| leaf.gpa == Gpa(gpa)).count();
    // The page itself, then each table once through the self-map.
    assert_eq!([0x5000, 0x4000, 0x3000, 0x2000, 0x1000].map(of_table), [1; 5]);
    assert!(!leaves.summary.truncated);
    for leaf in &leaves.leaves {
        assert_eq!(space.translate(leaf.gva).unwrap().gpa, leaf.gpa);
    }
}

#[test]
fn a_table_shared_many_times_is_entered_eight_times() {
    let mut ram = four_levels().set(0x4000, 0x5000 | P);
    for index in 0..512 {
        ram = ram.set(0x3000 + 8 * index, 0x4000 | P);
    }
    let memory = ram.memory();
    let leaves = space(&memory, FOUR_LEVEL, 0x1000).leaves(&Limits::default());
    assert_eq!(leaves.leaves.len(), 8);
    assert_eq!(leaves.summary.tables_omitted, 504);
}

#[test]
fn limits_end_a_walk_and_say_so() {
    let mut ram = four_levels();
    for index in 0..512 {
        ram = ram.set(0x4000 + 8 * index, 0x5000 | P);
    }
    let memory = ram.memory();
    let space = space(&memory, FOUR_LEVEL, 0x1000);
    let runs = space.leaves(&Limits { runs: 100, ..Limits::default() });
    assert_eq!((runs.leaves.len(), runs.summary.truncated), (100, true));
    let tables = space.leaves(&Limits { tables: 3, ..Limits::default() });
    assert_eq!((tables.leaves.len(), tables.summary.truncated), (0, true));
    let mut seen = 0;
    let stopped = space.walk(&Limits::default(), &mut |_| {
        seen += 1;
        if seen < 5 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!((seen, stopped.truncated), (5, true));
}

#[test]
fn a_range_walk_reports_pages_of_that_range_only() {
    let memory = four_levels()
        .set(0x4000, 0x5000 | P)
        .set(0x4000 + 8 * 9, 0x7000 | P)
        .set(0x3000 + 8, P | PS)
        .memory();
    let space = space(&memory, FOUR_LEVEL, 0x1000);
    let mut seen = Vec::new();
    space.walk_range(0x9fff..0x20_0000, &Limits::default(), &mut |leaf| {
        seen.push(leaf.gva);
        ControlFlow::Continue(())
    });
    assert_eq!(seen, [Gva(0x9000)]);
}
