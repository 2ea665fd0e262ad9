//! Checkpoints of the lab's guests, without any file format between.

use std::fs::File;
use std::sync::Arc;

use anyhow::{Context, Result};
use vmss2core_lab::{Guest, registers::CpuRegisters};
use vmss2core_machine::x86::{DescriptorTable, SegmentRegister};
use vmss2core_machine::{Checkpoint, Registers, Vcpu, x86};
use vmss2core_mem::{Gpa, PhysicalMemory};

/// The guest as it stopped.
pub(crate) fn checkpoint(guest: &Guest) -> Result<Checkpoint> {
    let ram = Arc::new(File::open(&guest.ram).context("opening memory")?);
    let mut memory = PhysicalMemory::new();
    for range in guest.memory_map() {
        memory.map(Gpa(range.gpa), range.len, ram.clone(), range.file_offset)?;
    }
    let vcpus = guest.cpus.iter().zip(0..).map(|(cpu, index)| Vcpu {
        index,
        halted: Some(cpu.halted),
        registers: Registers::X86(Box::new(x86(cpu))),
    });
    Ok(Checkpoint { memory, vcpus: vcpus.collect(), ..Checkpoint::default() })
}

fn x86(cpu: &CpuRegisters) -> x86::Registers {
    let mut vcpu = x86::Registers { rip: Some(cpu.rip), ..x86::Registers::default() };
    vcpu.general = cpu.gpr.map(Some);
    vcpu.rflags = Some(cpu.rflags);
    let [es, cs, ss, ds, fs, gs, ldt, tr] = cpu.segments.map(|segment| SegmentRegister {
        selector: Some(segment.selector),
        base: Some(segment.base),
        ..SegmentRegister::default()
    });
    let all = &mut vcpu.segments;
    (all.es, all.cs, all.ss, all.ds) = (es, cs, ss, ds);
    (all.fs, all.gs, all.ldt, all.tr) = (fs, gs, ldt, tr);
    let control = &mut vcpu.control;
    (control.cr0, control.cr3, control.cr4) = (Some(cpu.cr0), Some(cpu.cr3), Some(cpu.cr4));
    vcpu.msrs.efer = Some(cpu.efer);
    vcpu.msrs.kernel_gs_base = cpu.kernel_gs_base;
    let table = |base, limit| DescriptorTable { base: Some(base), limit: Some(limit) };
    vcpu.gdtr = table(cpu.gdt.base, cpu.gdt.limit);
    vcpu.idtr = table(cpu.idt.base, cpu.idt.limit);
    vcpu
}
