//! Kernels that really ran, wrapped as checkpoints: every page and register
//! comes back, and foreign readers see the same.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops where it is wrong"
)]

mod common;

use common::{assert_foreign, assert_memory, assert_registers, chain, open_in};
use vmss2core_lab::foreign::ForeignReader::{LeechCore, Volatility3};
use vmss2core_lab::make;
use vmss2core_lab::vmware::{
    Delivery, Extra, Kind, Known, Level, Machine, Order, Packing, Placement, Regions, Registers,
    Shape, write_checkpoint,
};

fn round_trip(machine: &Machine, shape: &Shape) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let written = write_checkpoint(machine, shape, dir.path(), "guest").unwrap();
    let opened = open_in(dir.path(), std::slice::from_ref(&written.state));
    let checkpoint =
        opened.unwrap_or_else(|error| panic!("{shape:?}: {}", chain(&error))).checkpoint;
    assert_memory(&checkpoint, machine, &[]);
    let known = match shape.registers {
        Registers::Year2012 => Known::Year2012,
        registers if registers.is_bare() => Known::Bare,
        _ => Known::All,
    };
    assert_registers(&checkpoint, machine, known);
    (dir, written.memory.unwrap_or(written.state))
}

#[test]
fn a_linux_guest_comes_back_whole_in_every_shape() {
    let machine = Machine::of_guest(&make::guest("linux-6.1").unwrap()).unwrap();
    let inside = Shape { placement: Placement::Monolithic, ..Shape::default() };
    let regions = Regions { cuts: 4, in_image: Order::LastFirst, in_tags: Order::Descending };
    let shapes = [
        Shape { registers: Registers::Year2012, ..Shape::default() },
        Shape { registers: Registers::Year2016, ..Shape::default() },
        Shape { registers: Registers::BareBlocks, extras: vec![Extra::Msrs], ..Shape::default() },
        Shape { packing: Packing::FastLz(Level::Two), ..Shape::default() },
        Shape { regions, ..Shape::default() },
        Shape { packing: Packing::FastLz(Level::One), ..inside.clone() },
        Shape { packing: Packing::Zlib, ..inside.clone() },
        Shape { delivery: Delivery::Fragments(12), ..inside },
    ];
    for shape in shapes {
        round_trip(&machine, &shape);
    }
}

#[test]
fn foreign_readers_see_a_linux_guest_as_we_do() {
    let machine = Machine::of_guest(&make::guest("linux-6.1").unwrap()).unwrap();
    let (_dir, file) = round_trip(&machine, &Shape::default());
    assert_foreign(&file, &[Volatility3, LeechCore]);
    let inside =
        Shape { placement: Placement::Monolithic, kind: Kind::Snapshot, ..Shape::default() };
    let (_dir, file) = round_trip(&machine, &inside);
    assert_foreign(&file, &[LeechCore]);
}

/// Sparse, and with a hole between 3 and 4 GiB.
#[test]
fn a_guest_of_six_gigabytes_is_seen_the_same() {
    let machine = Machine::of_guest(&make::guest("linux-6.1-6g").unwrap()).unwrap();
    assert_eq!(machine.memory.len(), 2);
    let (_dir, file) = round_trip(&machine, &Shape::default());
    assert_foreign(&file, &[LeechCore]);
}
