//! The registers of a guest dump.

use vmss2core_machine::x86::{
    ControlRegisters, DescriptorTable, Gpr, SegmentRegister, SegmentRegisters,
};
use vmss2core_machine::{Arch, Registers, Vcpu, x86};
use zerocopy::FromBytes as _;

use crate::OpenError;
use crate::guestdump::header::Header;
use crate::source::Source;
use vmss2core_formats::guestdump::{VcpuState1, VcpuState2};
use vmss2core_formats::notes::Registers64;

impl Header {
    /// The architecture of all versions that are known.
    pub(super) const ARCH: &dyn Arch = &x86::X86;

    /// Reads the record of processor `index`.
    pub(super) fn vcpu(&self, source: &Source, index: u32) -> Result<Vcpu, OpenError> {
        let mut first = [0; size_of::<VcpuState1>()];
        let mut second = [0; size_of::<VcpuState2>()];
        let at = self.record_offset(index);
        source.read(at, &mut first)?;
        source.read(
            at.saturating_add(first.len() as u64).saturating_add(self.version.gap),
            &mut second,
        )?;
        let mut x86 = x86::Registers::default();
        if let Ok(state) = VcpuState1::ref_from_bytes(&first) {
            x86.control = control(state);
            x86.idtr = DescriptorTable { base: Some(state.idt_base.get()), limit: None };
        }
        if let Ok(state) = VcpuState2::ref_from_bytes(&second) {
            set_user_regs(&mut x86, &state.regs);
        }
        Ok(Vcpu { index, halted: None, registers: Registers::X86(Box::new(x86)) })
    }
}

fn control(state: &VcpuState1) -> ControlRegisters {
    ControlRegisters {
        cr0: Some(state.cr0.get().into()),
        cr2: Some(state.cr2.get()),
        cr3: Some(state.cr3.get()),
        cr4: Some(state.cr4.get()),
        cr8: None,
    }
}

fn set_user_regs(x86: &mut x86::Registers, regs: &Registers64) {
    let general = [
        (Gpr::Rax, regs.rax),
        (Gpr::Rcx, regs.rcx),
        (Gpr::Rdx, regs.rdx),
        (Gpr::Rbx, regs.rbx),
        (Gpr::Rsp, regs.rsp),
        (Gpr::Rbp, regs.rbp),
        (Gpr::Rsi, regs.rsi),
        (Gpr::Rdi, regs.rdi),
        (Gpr::R8, regs.r8),
        (Gpr::R9, regs.r9),
        (Gpr::R10, regs.r10),
        (Gpr::R11, regs.r11),
        (Gpr::R12, regs.r12),
        (Gpr::R13, regs.r13),
        (Gpr::R14, regs.r14),
        (Gpr::R15, regs.r15),
    ];
    for (gpr, value) in general {
        x86.set_gpr(gpr, value.get());
    }
    x86.rip = Some(regs.rip.get());
    x86.rflags = Some(regs.eflags.get());
    x86.segments = segments(regs);
}

fn segments(regs: &Registers64) -> SegmentRegisters {
    // A selector is 16 bits; what a wider value would mean is not known.
    let register = |selector: u64, base: Option<u64>| SegmentRegister {
        selector: u16::try_from(selector).ok(),
        base,
        ..SegmentRegister::default()
    };
    SegmentRegisters {
        es: register(regs.es.get(), None),
        cs: register(regs.cs.get(), None),
        ss: register(regs.ss.get(), None),
        ds: register(regs.ds.get(), None),
        fs: register(regs.fs.get(), Some(regs.fs_base.get())),
        gs: register(regs.gs.get(), Some(regs.gs_base.get())),
        ..SegmentRegisters::default()
    }
}
