//! One machine in every shape that a VMware checkpoint can have: all of its
//! pages and registers come back, and no shape is met with a warning.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops where it is wrong"
)]

mod common;

use vmss2core_checkpoint::Opened;
use vmss2core_lab::vmware::{
    Companion, Delivery, Extra, Kind, Known, Level, Machine, Order, Packing, Placement, RegionTags,
    Regions, Registers, Shape, Table, write_checkpoint, write_configuration, write_guest_dump,
};
use vmss2core_mem::Severity;

use common::{assert_memory, assert_registers, chain, open_in, problems};

fn opened(machine: &Machine, shape: &Shape) -> Opened {
    let dir = tempfile::tempdir().unwrap();
    let written = write_checkpoint(machine, shape, dir.path(), "a guest").unwrap();
    let state = std::slice::from_ref(&written.state);
    open_in(dir.path(), state).unwrap_or_else(|error| panic!("{shape:?}: {}", chain(&error)))
}

fn assert_round_trip(machine: &Machine, shape: &Shape, known: Known) {
    let checkpoint = opened(machine, shape).checkpoint;
    assert_memory(&checkpoint, machine, &[]);
    assert_registers(&checkpoint, machine, known);
    let serious = checkpoint.about.problems.iter().any(|problem| problem.severity > Severity::Note);
    assert!(!serious, "{shape:?}: {}", problems(&checkpoint));
}

fn two_ranges() -> Machine {
    Machine::synthetic(&[(0, 0x30_0000), (4 << 30, 0x12_3000)], 3)
}

/// Each form, and what it holds.
const FORMS: [(Registers, Known); 6] = [
    (Registers::Year2012, Known::Year2012),
    (Registers::Year2016, Known::All),
    (Registers::Year2022, Known::All),
    (Registers::BareTags, Known::Bare),
    (Registers::BareBlocks, Known::Bare),
    (Registers::BareBoth, Known::Bare),
];

#[test]
fn every_register_form_in_either_place() {
    for placement in [Placement::Split, Placement::Monolithic] {
        for (registers, known) in FORMS {
            let shape = Shape { placement, registers, ..Shape::default() };
            assert_round_trip(&two_ranges(), &shape, known);
        }
        let shape = Shape { placement, registers: Registers::Absent, ..Shape::default() };
        assert_memory(&opened(&two_ranges(), &shape).checkpoint, &two_ranges(), &[]);
    }
}

#[test]
fn every_packing_in_either_place() {
    // Longer than one container, so that borders are crossed.
    let machine = Machine::synthetic(&[(0, 0x90_0000), (4 << 30, 0x12_3000)], 1);
    let one = Packing::FastLz(Level::One);
    let two = Packing::FastLz(Level::Two);
    for packing in [Packing::Plain, Packing::StoredAsCompressed, one, two, Packing::Zlib] {
        let shape = Shape { packing, placement: Placement::Monolithic, ..Shape::default() };
        assert_round_trip(&machine, &shape, Known::All);
    }
    for packing in [one, two] {
        assert_round_trip(&machine, &Shape { packing, ..Shape::default() }, Known::All);
    }
}

#[test]
fn regions_in_any_number_and_order() {
    let orders = [Order::Ascending, Order::Descending, Order::LastFirst];
    for placement in [Placement::Split, Placement::Monolithic] {
        for cuts in [0, 1, 2, 7] {
            for (in_image, in_tags) in orders.into_iter().zip(orders.into_iter().cycle().skip(1)) {
                let regions = Regions { cuts, in_image, in_tags };
                let shape = Shape { regions, placement, ..Shape::default() };
                assert_round_trip(&two_ranges(), &shape, Known::All);
            }
        }
    }
}

#[test]
fn a_single_range_needs_no_region_tags() {
    let machine = Machine::synthetic(&[(0, 0x40_0000)], 1);
    for placement in [Placement::Split, Placement::Monolithic] {
        for region_tags in [RegionTags::Absent, RegionTags::CountZero] {
            let shape = Shape { region_tags, placement, ..Shape::default() };
            assert_round_trip(&machine, &shape, Known::All);
        }
    }
}

#[test]
fn extras_come_out_of_the_inventory_and_the_machine_facts() {
    let extras = vec![Extra::Msrs, Extra::Config, Extra::Screenshots, Extra::Bitmaps, Extra::Times];
    let shape = Shape { extras, kind: Kind::Snapshot, ..Shape::default() };
    let Opened { checkpoint, inventory } = opened(&two_ranges(), &shape);
    assert_registers(&checkpoint, &two_ranges(), Known::All);
    let machine = &checkpoint.about.machine;
    assert_eq!(machine.product.as_deref(), Some("VMware Workstation"));
    assert_eq!(machine.product_version.as_deref(), Some("17.6.3"));
    assert_eq!(machine.display_name.as_deref(), Some("a guest (1)"));
    assert_eq!(machine.configured_guest.as_deref(), Some("debian12-64"));
    assert_eq!(machine.firmware.as_deref(), Some("efi"));
    assert_eq!(machine.suspended_unix, Some(1_700_086_400));
    assert_eq!(machine.powered_on_unix, Some(1_700_000_000));
    let inventory = inventory.unwrap();
    let item = |name: &str, index: u32| {
        let items = inventory.items.iter();
        items.clone().find(|item| item.name == name && item.indices == [index]).unwrap()
    };
    let mut picture = Vec::new();
    inventory.copy_to(item("checkpoint.mks.screenshot", 2), &mut picture).unwrap();
    assert_eq!(picture, vmss2core_lab::vmware::png(5, 2).unwrap());
    let rip = item("rip", 1).value.clone().unwrap();
    assert_eq!(rip, two_ranges().cpus[1].rip.to_le_bytes());
}

#[test]
fn model_registers_are_told_apart() {
    let (registers, extras) = (Registers::BareTags, vec![Extra::Msrs]);
    let shape = Shape { registers, extras, ..Shape::default() };
    let checkpoint = opened(&two_ranges(), &shape).checkpoint;
    for (vcpu, cpu) in checkpoint.vcpus.iter().zip(two_ranges().cpus) {
        let (got, want) = (&vcpu.x86().unwrap().msrs, cpu.msrs);
        assert_eq!(got.efer, want.efer);
        assert_eq!([got.star, got.lstar, got.cstar], [want.star, want.lstar, want.cstar]);
        assert_eq!(got.kernel_gs_base, want.kernel_gs_base);
        assert_eq!(got.sysenter_cs, want.sysenter_cs);
        assert_eq!(got.sysenter_esp, want.sysenter_esp);
        assert_eq!(got.sysenter_eip, want.sysenter_eip);
        assert_eq!([got.tsc, got.pat, got.xcr0], [want.tsc, want.pat, want.xcr0]);
    }
}

#[test]
fn numbered_msrs_come_from_files_of_2022() {
    let checkpoint = opened(&two_ranges(), &Shape::default()).checkpoint;
    for (vcpu, cpu) in checkpoint.vcpus.iter().zip(two_ranges().cpus) {
        let got = &vcpu.x86().unwrap().other_msrs;
        assert!(!cpu.other_msrs.is_empty());
        assert_eq!(*got, cpu.other_msrs.into_iter().collect());
    }
}

#[test]
fn old_layouts_of_32_bit_products() {
    let machine = Machine::synthetic_32_bit(0x20_0000, 2);
    for table in [Table::Narrow72, Table::Narrow80] {
        for placement in [Placement::Split, Placement::Monolithic] {
            let shape = Shape { table, placement, magic: 0xbed0_bed0, ..Shape::default() };
            let checkpoint = opened(&machine, &shape).checkpoint;
            assert_memory(&checkpoint, &machine, &[]);
            assert_registers(&checkpoint, &machine, Known::Narrow);
        }
    }
}

#[test]
fn every_way_of_delivery() {
    let deliveries = [
        Delivery::Gzip,
        Delivery::Fragments(1),
        Delivery::Fragments(12),
        Delivery::Folder(11),
        Delivery::Bundle(3),
    ];
    for placement in [Placement::Split, Placement::Monolithic] {
        for delivery in deliveries {
            let shape = Shape { delivery, placement, ..Shape::default() };
            assert_round_trip(&two_ranges(), &shape, Known::All);
        }
    }
}

#[test]
fn the_memory_file_may_have_lost_its_name() {
    let shape = Shape { companion: Companion::Uuid, ..Shape::default() };
    assert_round_trip(&two_ranges(), &shape, Known::All);
}

#[test]
fn files_are_told_apart_by_content_not_by_order_or_name() {
    let dir = tempfile::tempdir().unwrap();
    let machine = two_ranges();
    let written = write_checkpoint(&machine, &Shape::default(), dir.path(), "x").unwrap();
    let (state, memory) = (dir.path().join("one.bin"), dir.path().join("two.bin"));
    std::fs::rename(&written.state, &state).unwrap();
    std::fs::rename(written.memory.unwrap(), &memory).unwrap();
    for inputs in [[state.clone(), memory.clone()], [memory, state]] {
        let checkpoint = open_in(dir.path(), &inputs).unwrap().checkpoint;
        assert_memory(&checkpoint, &machine, &[]);
        assert_registers(&checkpoint, &machine, Known::All);
    }
}

#[test]
fn any_one_file_of_a_machine_leads_to_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let machine = two_ranges();
    let shape = Shape { kind: Kind::Snapshot, ..Shape::default() };
    let written = write_checkpoint(&machine, &shape, dir.path(), "x-Snapshot1").unwrap();
    let (vmx, vmsd) = write_configuration(&machine, &shape, dir.path(), "x-Snapshot1").unwrap();
    let inputs = [written.state, written.memory.unwrap(), vmx, vmsd, dir.path().to_owned()];
    for input in inputs {
        let opened = open_in(dir.path(), std::slice::from_ref(&input));
        let opened = opened.unwrap_or_else(|e| panic!("{}: {}", input.display(), chain(&e)));
        assert_memory(&opened.checkpoint, &machine, &[]);
        assert_registers(&opened.checkpoint, &machine, Known::All);
        let snapshot = opened.checkpoint.about.provenance.snapshot.as_ref().unwrap();
        assert_eq!((snapshot.name.as_str(), snapshot.list.as_str()), LISTED);
        assert_eq!(snapshot.taken_unix, Some(1_444_377_107));
    }
}

const LISTED: (&str, &str) = ("before the crash", "guest.vmsd");

/// Two snapshots of one machine, of one size: only the list of snapshots tells.
#[test]
fn files_of_two_snapshots_are_named_by_the_list() {
    let dir = tempfile::tempdir().unwrap();
    let machine = two_ranges();
    let shape = Shape { kind: Kind::Snapshot, ..Shape::default() };
    let [one, two] = ["x-Snapshot1", "x-Snapshot2"]
        .map(|stem| write_checkpoint(&machine, &shape, dir.path(), stem).unwrap());
    let list = "snapshot.numSnapshots = \"2\"\n\
                snapshot0.filename = \"x-Snapshot1.vmsn\"\nsnapshot0.displayName = \"one\"\n\
                snapshot1.filename = \"x-Snapshot2.vmsn\"\nsnapshot1.displayName = \"two\"\n";
    std::fs::write(dir.path().join("x.vmsd"), list).unwrap();
    let open = |inputs: &[std::path::PathBuf]| open_in(dir.path(), inputs);
    let mixed = open(&[one.state.clone(), two.memory.clone().unwrap()]).unwrap().checkpoint;
    let said = mixed.about.problems.iter().map(ToString::to_string).collect::<Vec<_>>().concat();
    for part in
        ["x-Snapshot2.vmem is of the snapshot \"two\"", "of the snapshot \"one\" (x-Snapshot1"]
    {
        assert!(said.contains(part), "{said}");
    }
    let right = open(&[two.state, two.memory.unwrap()]).unwrap().checkpoint;
    assert!(right.about.problems.is_empty(), "{:?}", right.about.problems);
    assert_eq!(right.about.provenance.snapshot.as_ref().unwrap().name, "two");
    let choices = open(&[dir.path().to_owned()]).unwrap_err().to_string();
    assert!(choices.contains("x-Snapshot1.vmsn  # one\n"), "{choices}");
}

#[test]
fn debug_dumps_of_every_version_also_packed() {
    let machine = two_ranges();
    for version in [1, 3, 4, 5, 6, 7] {
        for delivery in [Delivery::Plain, Delivery::Gzip] {
            let dir = tempfile::tempdir().unwrap();
            let written = write_guest_dump(&machine, version, delivery, dir.path()).unwrap();
            for input in [written.state, written.memory.unwrap()] {
                let opened = open_in(dir.path(), std::slice::from_ref(&input));
                let opened =
                    opened.unwrap_or_else(|e| panic!("{version} {delivery:?}: {}", chain(&e)));
                assert_memory(&opened.checkpoint, &machine, &[]);
                assert_registers(&opened.checkpoint, &machine, Known::GuestDump);
            }
        }
    }
}
