//! The same bytes on every page as volatility3 and LeechCore see them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops where it is wrong"
)]

mod common;

use common::assert_foreign;
use vmss2core_lab::foreign::ForeignReader;
use vmss2core_lab::vmware::{
    Extra, Kind, Machine, Order, Placement, Regions, Registers, Shape, write_checkpoint,
};

/// LeechCore takes no memory file below 16 MiB.
fn machine() -> Machine {
    Machine::synthetic(&[(0, 16 << 20), (4 << 30, 3 << 20)], 2)
}

fn assert_same(machine: &Machine, shape: &Shape, readers: &[ForeignReader]) {
    let dir = tempfile::tempdir().unwrap();
    let written = write_checkpoint(machine, shape, dir.path(), "guest").unwrap();
    let file = written.memory.unwrap_or(written.state);
    assert_foreign(&file, readers);
}

const BOTH: &[ForeignReader] = &[ForeignReader::Volatility3, ForeignReader::LeechCore];

#[test]
fn foreign_readers_see_the_same_memory_in_every_register_form() {
    let products = [Registers::Year2012, Registers::Year2016, Registers::Year2022];
    for registers in products.into_iter().chain([Registers::BareTags, Registers::BareBlocks]) {
        assert_same(&machine(), &Shape { registers, ..Shape::default() }, BOTH);
    }
}

#[test]
fn foreign_readers_see_the_same_memory_in_a_snapshot_with_extras() {
    let extras = vec![Extra::Msrs, Extra::Config, Extra::Screenshots, Extra::Bitmaps];
    let shape = Shape { kind: Kind::Snapshot, extras, ..Shape::default() };
    assert_same(&machine(), &shape, BOTH);
}

/// Only the image is shuffled: tags that are not in the order of addresses make
/// volatility3 find nothing and LeechCore lose the lower regions.
#[test]
fn foreign_readers_see_the_same_memory_in_shuffled_regions() {
    for in_image in [Order::LastFirst, Order::Descending] {
        let regions = Regions { cuts: 3, in_image, in_tags: Order::Ascending };
        assert_same(&machine(), &Shape { regions, ..Shape::default() }, BOTH);
    }
}

/// It wants more than 256 MiB, and MiB as a unit.
#[test]
fn leechcore_sees_the_same_memory_inside_a_snapshot() {
    let machine = Machine::synthetic(&[(0, 258 << 20)], 1);
    let inside = Shape {
        placement: Placement::Monolithic,
        kind: Kind::Snapshot,
        extras: vec![Extra::Config],
        ..Shape::default()
    };
    assert_same(&machine, &inside, &[ForeignReader::LeechCore]);
}
