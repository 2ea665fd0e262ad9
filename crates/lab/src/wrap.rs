//! A kept guest as the checkpoint writer takes it.

use anyhow::{Context, Result};

use crate::guest::Guest;
use crate::registers::CpuRegisters;
use crate::vmware::{
    Contents, Cpu, Delivery, Extra, Kind, Level, Machine, MemoryRange, ModelRegisters, Packing,
    Placement, RegionTags, Registers, Shape, TableRegister,
};

impl Guest {
    /// Its memory and registers, to be written as a checkpoint.
    pub fn machine(&self) -> Result<Machine> {
        let ranges = self.memory_map().into_iter();
        let range = ranges.map(|range| MemoryRange {
            gpa: range.gpa,
            len: range.len,
            offset: range.file_offset,
        });
        let cpus = self.cpus.iter().map(|cpu| wrap(cpu, self.is_64_bit));
        Ok(Machine {
            memory: range.collect(),
            ram: Contents::of_file(&self.ram)?,
            cpus: cpus.collect::<Result<_>>()?,
        })
    }
}

fn wrap(cpu: &CpuRegisters, is_64_bit: bool) -> Result<Cpu> {
    let table = |base, limit| TableRegister { base, limit };
    Ok(Cpu {
        general: cpu.gpr,
        rip: cpu.rip,
        rflags: u32::try_from(cpu.rflags).context("flags have 32 bits")?,
        segments: cpu.segments.map(|segment| (segment.selector, segment.base)),
        control: [cpu.cr0, 0, cpu.cr2, cpu.cr3, cpu.cr4],
        task_priority: cpu.cr8.unwrap_or_default(),
        debug: cpu.dr,
        gdtr: table(cpu.gdt.base, cpu.gdt.limit),
        idtr: table(cpu.idt.base, cpu.idt.limit),
        halted: cpu.halted,
        msrs: ModelRegisters {
            efer: is_64_bit.then_some(cpu.efer),
            kernel_gs_base: cpu.kernel_gs_base,
            ..ModelRegisters::default()
        },
    })
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
        ("block", with(|shape| shape.registers = Registers::Block)),
        ("both", with(|shape| shape.registers = Registers::Both)),
        ("no-registers", with(|shape| shape.registers = Registers::Absent)),
        ("no-region-tags", with(|shape| shape.region_tags = RegionTags::Absent)),
        ("msrs", with(|shape| shape.extras = vec![Extra::Msrs])),
        ("fastlz", with(|shape| pack(shape, Packing::FastLz(Level::One)))),
        ("zlib", with(|shape| pack(shape, Packing::Zlib))),
        ("gzip", with(|shape| shape.delivery = Delivery::Gzip)),
        ("fragments", with(|shape| shape.delivery = Delivery::Fragments(12))),
        ("bundle", with(|shape| shape.delivery = Delivery::Bundle(3))),
    ]
}

fn pack(shape: &mut Shape, packing: Packing) {
    shape.placement = Placement::Monolithic;
    shape.packing = packing;
}
