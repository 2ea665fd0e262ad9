//! A kept guest as the checkpoint writer takes it.

use anyhow::Result;

use crate::guest::Guest;
use crate::vmware::{
    Delivery, Extra, Kind, Level, Machine, Packing, Placement, RegionTags, Registers, Shape,
};

impl Guest {
    /// Its memory and registers, to be written as a checkpoint.
    pub fn machine(&self) -> Result<Machine> {
        Machine::of_guest(self)
    }
}

/// Shapes that a guest is wrapped in by name: the ones met in the field.
pub fn shapes() -> Vec<(&'static str, Shape)> {
    let split = Shape::default();
    let with = |change: fn(&mut Shape)| {
        let mut shape = Shape::default();
        change(&mut shape);
        shape
    };
    vec![
        ("split", split),
        ("snapshot", with(|shape| shape.kind = Kind::Snapshot)),
        ("monolithic", with(|shape| shape.placement = Placement::Monolithic)),
        ("year-2012", with(|shape| shape.registers = Registers::Year2012)),
        ("year-2016", with(|shape| shape.registers = Registers::Year2016)),
        ("bare-tags", with(|shape| shape.registers = Registers::BareTags)),
        ("bare-blocks", with(|shape| shape.registers = Registers::BareBlocks)),
        ("bare-both", with(|shape| shape.registers = Registers::BareBoth)),
        ("no-registers", with(|shape| shape.registers = Registers::Absent)),
        ("no-region-tags", with(|shape| shape.region_tags = RegionTags::Absent)),
        ("msrs", with(bare_with_msrs)),
        ("fastlz", with(|shape| pack(shape, Packing::FastLz(Level::One)))),
        ("zlib", with(|shape| pack(shape, Packing::Zlib))),
        ("gzip", with(|shape| shape.delivery = Delivery::Gzip)),
        ("fragments", with(|shape| shape.delivery = Delivery::Fragments(12))),
        ("bundle", with(|shape| shape.delivery = Delivery::Bundle(3))),
    ]
}

fn bare_with_msrs(shape: &mut Shape) {
    shape.registers = Registers::BareTags;
    shape.extras = vec![Extra::Msrs];
}

fn pack(shape: &mut Shape, packing: Packing) {
    shape.placement = Placement::Monolithic;
    shape.packing = packing;
}
