//! Small Windows guests of the lab as checkpoints.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tempfile::NamedTempFile;
use vmss2core_lab::vmware::Cpu;
use vmss2core_lab::windows::{Fixture, Known, MiniNt, make};
use vmss2core_machine::x86::{DescriptorTable, Gpr, SegmentRegister};
use vmss2core_machine::{Checkpoint, Registers, Vcpu, x86};
use vmss2core_mem::Gpa;

/// A guest whose memory lies in a file.
pub(crate) struct Guest {
    pub(crate) nt: MiniNt,
    pub(crate) checkpoint: Checkpoint,
    ram: NamedTempFile,
}

impl Guest {
    pub(crate) fn of(fixture: &Fixture) -> Self {
        let nt = make(fixture).unwrap();
        let ram = NamedTempFile::new().unwrap();
        nt.machine.ram.write_to(ram.path()).unwrap();
        let mut checkpoint = Checkpoint::default();
        let source = Arc::new(File::open(ram.path()).unwrap());
        for range in &nt.machine.memory {
            checkpoint.memory.map(Gpa(range.gpa), range.len, source.clone(), range.offset).unwrap();
        }
        let cpus = (0..).zip(&nt.machine.cpus);
        checkpoint.vcpus = cpus.map(|(at, cpu)| vcpu(at, cpu, fixture.registers)).collect();
        Self { nt, checkpoint, ram }
    }

    /// Writes to the kernel's memory, at most a page.
    #[allow(dead_code, reason = "not all tests damage their guest")]
    pub(crate) fn overwrite(&mut self, va: u64, bytes: &[u8]) {
        let truth = &self.nt.truth;
        let mut pages = truth.mappings.iter().filter(|one| one.root == truth.dtb);
        let page = pages.find(|one| (one.va..one.va + one.len).contains(&va)).unwrap();
        let pa = page.pa + (va - page.va);
        let mut ranges = self.nt.machine.memory.iter();
        let range = ranges.find(|one| (one.gpa..one.gpa + one.len).contains(&pa)).unwrap();
        let file = File::options().write(true).open(self.ram.path()).unwrap();
        file.write_all_at(bytes, range.offset + pa - range.gpa).unwrap();
    }
}

fn vcpu(index: u32, cpu: &Cpu, known: Known) -> Vcpu {
    let mut x86 = x86::Registers::default();
    for (gpr, value) in Gpr::ALL.into_iter().zip(cpu.general) {
        x86.set_gpr(gpr, value);
    }
    x86.rip = Some(cpu.rip);
    x86.rflags = Some(cpu.rflags.into());
    let segment = |at: usize| {
        let (selector, base) = cpu.segments[at];
        let base = (known != Known::NoBases).then_some(base);
        SegmentRegister { selector: Some(selector), base, ..SegmentRegister::default() }
    };
    let segments = &mut x86.segments;
    (segments.es, segments.cs, segments.ss, segments.ds) =
        (segment(0), segment(1), segment(2), segment(3));
    (segments.fs, segments.gs, segments.ldt, segments.tr) =
        (segment(4), segment(5), segment(6), segment(7));
    let control = &mut x86.control;
    (control.cr0, control.cr2) = (Some(cpu.control[0]), Some(cpu.control[2]));
    (control.cr3, control.cr4) = (Some(cpu.control[3]), Some(cpu.control[4]));
    x86.gdtr = DescriptorTable { base: Some(cpu.gdtr.base), limit: Some(cpu.gdtr.limit) };
    x86.idtr = DescriptorTable { base: Some(cpu.idtr.base), limit: Some(cpu.idtr.limit) };
    x86.msrs.efer = cpu.msrs.efer;
    x86.msrs.star = cpu.msrs.star;
    x86.msrs.lstar = cpu.msrs.lstar;
    x86.msrs.kernel_gs_base = cpu.msrs.kernel_gs_base;
    Vcpu { index, halted: None, registers: Registers::X86(Box::new(x86)) }
}
