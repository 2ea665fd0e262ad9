//! Small Windows guests as checkpoints, with what is to be known of them.

use std::fs::File;
use std::sync::Arc;

use tempfile::NamedTempFile;
use vmss2core_guest::Facts;
use vmss2core_guest::windows::{
    Completeness, ForeignVcpu, Kdbg, KdbgEncoding, KdbgKeys, KernelImage, PdbIdentity, SharedData,
    WindowsCpu, WindowsFacts,
};
use vmss2core_lab::vmware::{Cpu, Machine};
use vmss2core_lab::windows::{CpuTruth, Doing, Fixture, MiniNt, Paging, Truth, fixture, make};
use vmss2core_machine::paging::Root;
use vmss2core_machine::x86::{DescriptorTable, FpuState, Gpr, SegmentRegister, modes};
use vmss2core_machine::{Checkpoint, Registers, Vcpu, x86};
use vmss2core_mem::{Found, Gpa, Gva};

/// A guest whose memory lies in a file.
pub(super) struct Guest {
    pub(super) nt: MiniNt,
    pub(super) checkpoint: Checkpoint,
    pub(super) facts: Facts,
    pub(super) ram: NamedTempFile,
}

impl Guest {
    pub(super) fn named(name: &str) -> Self {
        Self::of(&fixture(name).unwrap())
    }

    pub(super) fn of(fixture: &Fixture) -> Self {
        Self::of_nt(make(fixture).unwrap())
    }

    pub(super) fn of_nt(nt: MiniNt) -> Self {
        let ram = NamedTempFile::new().unwrap();
        nt.machine.ram.write_to(ram.path()).unwrap();
        let mut checkpoint = Checkpoint::default();
        let source = Arc::new(File::open(ram.path()).unwrap());
        for range in &nt.machine.memory {
            checkpoint.memory.map(Gpa(range.gpa), range.len, source.clone(), range.offset).unwrap();
        }
        checkpoint.vcpus = (0..).zip(&nt.machine.cpus).map(|(at, cpu)| vcpu(at, cpu)).collect();
        let facts = Facts::of(windows(&nt.truth), "the truth");
        Self { nt, checkpoint, facts, ram }
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut WindowsFacts)) {
        let mut windows = self.facts.windows().unwrap().clone();
        change(&mut windows);
        self.facts.boot = Facts::of(windows, "the truth").boot;
    }

    pub(super) fn truth(&self) -> &Truth {
        &self.nt.truth
    }

    pub(super) fn machine(&self) -> &Machine {
        &self.nt.machine
    }
}

fn found<T>(value: T) -> Found<T> {
    Found::new(value, "the truth")
}

fn vcpu(index: u32, cpu: &Cpu) -> Vcpu {
    let mut x86 = x86::Registers::default();
    for (gpr, value) in Gpr::ALL.into_iter().zip(cpu.general) {
        x86.set_gpr(gpr, value);
    }
    x86.rip = Some(cpu.rip);
    x86.rflags = Some(cpu.rflags.into());
    let segment = |at: usize| {
        let (selector, base) = cpu.segments[at];
        SegmentRegister { selector: Some(selector), base: Some(base), ..SegmentRegister::default() }
    };
    let segments = &mut x86.segments;
    (segments.es, segments.cs, segments.ss, segments.ds) =
        (segment(0), segment(1), segment(2), segment(3));
    (segments.fs, segments.gs, segments.ldt, segments.tr) =
        (segment(4), segment(5), segment(6), segment(7));
    let control = &mut x86.control;
    (control.cr0, control.cr2) = (Some(cpu.control[0]), Some(cpu.control[2]));
    (control.cr3, control.cr4) = (Some(cpu.control[3]), Some(cpu.control[4]));
    x86.debug = cpu.debug.map(Some);
    x86.gdtr = DescriptorTable { base: Some(cpu.gdtr.base), limit: Some(cpu.gdtr.limit) };
    x86.idtr = DescriptorTable { base: Some(cpu.idtr.base), limit: Some(cpu.idtr.limit) };
    x86.msrs.efer = cpu.msrs.efer;
    x86.msrs.star = cpu.msrs.star;
    x86.msrs.lstar = cpu.msrs.lstar;
    x86.msrs.cstar = cpu.msrs.cstar;
    x86.msrs.kernel_gs_base = cpu.msrs.kernel_gs_base;
    let image = cpu.vectors.as_ref().and_then(|vectors| vectors.fxsave.as_slice().try_into().ok());
    x86.fpu = image.map(|image| FpuState::Fxsave(Box::new(image)));
    Vcpu { index, halted: None, registers: Registers::X86(Box::new(x86)) }
}

/// The facts that a perfect search would find.
fn windows(truth: &Truth) -> WindowsFacts {
    let mode = match truth.paging {
        Paging::TwoLevel => modes::TWO_LEVEL_PSE,
        Paging::Pae => modes::PAE,
        Paging::FourLevel => modes::FOUR_LEVEL,
        Paging::FiveLevel => modes::FIVE_LEVEL,
    };
    let is_foreign = |cpu: &CpuTruth| matches!(cpu.doing, Doing::Hypervisor | Doing::SecureKernel);
    let foreign = (0..).zip(&truth.cpus).filter(|(_, cpu)| is_foreign(cpu));
    let foreign: Vec<ForeignVcpu> = foreign.map(|(at, _)| foreign_vcpu(at)).collect();
    WindowsFacts {
        kernel_root: found((mode, Root(Gpa(truth.dtb)))),
        is_64_bit: mode.is_64_bit(),
        image: Some(found(image(truth))),
        kdbg: Some(found(kdbg(truth))),
        shared: Some(shared(truth)),
        build: Some(found(truth.build)),
        is_checked: false,
        lab: Some(found(truth.lab.clone())),
        system_process: Some(found(Gva(truth.processes[0].eprocess))),
        cpus: (0..).zip(&truth.cpus).map(|(at, cpu)| windows_cpu(at, cpu, truth)).collect(),
        completeness: if foreign.is_empty() {
            Completeness::Full
        } else {
            Completeness::SomeProcessors
        },
        missing: foreign.iter().map(|vcpu| format!("vCPU {} is foreign", vcpu.vcpu)).collect(),
        foreign,
        bugcheck: truth.bugcheck.map(found),
    }
}

fn foreign_vcpu(vcpu: u32) -> ForeignVcpu {
    ForeignVcpu { vcpu, holder: "something".to_owned(), how: "the truth".to_owned() }
}

fn windows_cpu(number: u32, cpu: &CpuTruth, truth: &Truth) -> WindowsCpu {
    let is_windows = matches!(cpu.doing, Doing::Kernel | Doing::User);
    WindowsCpu {
        number,
        kpcr: Gva(cpu.kpcr),
        kprcb: Gva(cpu.kprcb),
        vcpu: is_windows.then(|| found(number)),
        context: cpu.context.map(Gva),
        embedded_context: Some(Gva(cpu.embedded_context)),
        special_registers: Some(Gva(cpu.special_registers)),
        thread: Some(Gva(cpu.thread)),
        process: Some(Gva(truth.processes[cpu.process].eprocess)),
        kernel_root: Some(Root(Gpa(cpu.kernel_dtb))),
    }
}

fn image(truth: &Truth) -> KernelImage {
    let pdb = &truth.pdb;
    KernelImage {
        base: Gva(truth.kernel.base),
        size_bytes: truth.kernel.size,
        timestamp: Some(truth.kernel.timestamp),
        checksum: None,
        pdb: Some(PdbIdentity { name: pdb.name.clone(), guid: pdb.guid.clone(), age: pdb.age }),
        sections: Vec::new(),
    }
}

fn kdbg(truth: &Truth) -> Kdbg {
    let encoding = truth.kdbg.keys.map(|keys| KdbgEncoding {
        rotation: u32::try_from(keys.never & 63).unwrap(),
        constant: 0,
        keys: Some(KdbgKeys {
            wait_never: keys.never,
            wait_always: keys.always,
            flag: Gva(keys.flag),
        }),
    });
    Kdbg { gva: Gva(truth.kdbg.va), plain: truth.kdbg.plain.clone(), encoding }
}

fn shared(truth: &Truth) -> SharedData {
    SharedData {
        product: truth.product,
        suite: truth.suite,
        system_time: truth.system_time,
        interrupt_time: truth.interrupt_time,
        boot_id: (truth.build >= 10240).then_some(truth.boot_id),
        ..SharedData::default()
    }
}
