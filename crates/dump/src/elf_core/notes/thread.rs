//! A thread's registers.

use vmss2core_machine::x86::{self, Gpr, SegmentRegister};
use zerocopy::little_endian::{I32, U32, U64};
use zerocopy::{FromZeros, IntoBytes};

use super::super::Machine;
use super::Notes;
use crate::x86::fpu;
use vmss2core_formats::notes::{
    CORE, LINUX, NT_FPREGSET, NT_PRSTATUS, NT_PRXFPREG, NT_X86_XSTATE, Prstatus32, Prstatus64,
    Registers32, Registers64,
};

/// Parent, process group and session.
pub(crate) type Family = [u32; 3];

/// What NT_PRSTATUS says.
pub(crate) struct ThreadStatus<'a> {
    pub(crate) cpu: &'a x86::Registers,
    /// Number of the system call that it is in, or -1.
    pub(crate) system_call: u64,
    pub(crate) tid: u32,
    pub(crate) family: Family,
    /// Whether x87 and SSE registers follow.
    pub(crate) has_fp: bool,
}

impl<'a> ThreadStatus<'a> {
    /// Of a processor that passes for a thread.
    pub(super) fn of_vcpu(cpu: &'a x86::Registers, tid: u32) -> Self {
        Self { cpu, system_call: u64::MAX, tid, family: Family::default(), has_fp: false }
    }
}

impl Notes {
    /// NT_PRSTATUS. Registers that are not known read as 0, for the format knows no
    /// other way.
    pub(crate) fn status(&mut self, machine: Machine, thread: &ThreadStatus<'_>) {
        let ppid_pgrp_sid = thread.family.map(U32::new);
        let fpvalid = I32::new(thread.has_fp.into());
        if machine == Machine::I386 {
            let status = Prstatus32 {
                pid: thread.tid.into(),
                ppid_pgrp_sid,
                registers: registers32(thread.cpu, thread.system_call),
                fpvalid,
                ..Prstatus32::new_zeroed()
            };
            self.push(CORE, NT_PRSTATUS, status.as_bytes());
        } else {
            let status = Prstatus64 {
                pid: thread.tid.into(),
                ppid_pgrp_sid,
                registers: registers64(thread.cpu, thread.system_call),
                fpvalid,
                ..Prstatus64::new_zeroed()
            };
            self.push(CORE, NT_PRSTATUS, status.as_bytes());
        }
    }

    /// x87, SSE and later registers, as far as there are any.
    pub(crate) fn vectors(&mut self, machine: Machine, cpu: &x86::Registers) {
        let Some(state) = &cpu.fpu else { return };
        if let Some(fxsave) = fpu::fxsave(state) {
            if machine == Machine::I386 {
                self.push(CORE, NT_FPREGSET, &fpu::fsave(&fxsave));
                self.push(LINUX, NT_PRXFPREG, &fxsave);
            } else {
                self.push(CORE, NT_FPREGSET, &fxsave);
            }
        }
        if let Some(area) = fpu::xstate(state, cpu.msrs.xcr0) {
            self.push(LINUX, NT_X86_XSTATE, &area);
        }
    }
}

fn registers64(x86: &x86::Registers, system_call: u64) -> Registers64 {
    let gpr = |gpr| U64::new(x86.gpr(gpr).unwrap_or(0));
    let selector = |segment: SegmentRegister| U64::new(segment.selector.unwrap_or(0).into());
    let base = |segment: SegmentRegister| U64::new(segment.base.unwrap_or(0));
    let segments = &x86.segments;
    Registers64 {
        r15: gpr(Gpr::R15),
        r14: gpr(Gpr::R14),
        r13: gpr(Gpr::R13),
        r12: gpr(Gpr::R12),
        rbp: gpr(Gpr::Rbp),
        rbx: gpr(Gpr::Rbx),
        r11: gpr(Gpr::R11),
        r10: gpr(Gpr::R10),
        r9: gpr(Gpr::R9),
        r8: gpr(Gpr::R8),
        rax: gpr(Gpr::Rax),
        rcx: gpr(Gpr::Rcx),
        rdx: gpr(Gpr::Rdx),
        rsi: gpr(Gpr::Rsi),
        rdi: gpr(Gpr::Rdi),
        orig_rax: U64::new(system_call),
        rip: U64::new(x86.rip.unwrap_or(0)),
        cs: selector(segments.cs),
        eflags: U64::new(x86.rflags.unwrap_or(0)),
        rsp: gpr(Gpr::Rsp),
        ss: selector(segments.ss),
        fs_base: base(segments.fs),
        gs_base: base(segments.gs),
        ds: selector(segments.ds),
        es: selector(segments.es),
        fs: selector(segments.fs),
        gs: selector(segments.gs),
    }
}

fn registers32(x86: &x86::Registers, system_call: u64) -> Registers32 {
    let low = |value: Option<u64>| low(value.unwrap_or(0));
    let gpr = |gpr| low(x86.gpr(gpr));
    let selector = |segment: SegmentRegister| U32::new(segment.selector.unwrap_or(0).into());
    let segments = &x86.segments;
    Registers32 {
        ebx: gpr(Gpr::Rbx),
        ecx: gpr(Gpr::Rcx),
        edx: gpr(Gpr::Rdx),
        esi: gpr(Gpr::Rsi),
        edi: gpr(Gpr::Rdi),
        ebp: gpr(Gpr::Rbp),
        eax: gpr(Gpr::Rax),
        ds: selector(segments.ds),
        es: selector(segments.es),
        fs: selector(segments.fs),
        gs: selector(segments.gs),
        orig_eax: low(Some(system_call)),
        eip: low(x86.rip),
        cs: selector(segments.cs),
        eflags: low(x86.rflags),
        esp: gpr(Gpr::Rsp),
        ss: selector(segments.ss),
    }
}

/// The 32 bits that a 32-bit processor has of a register.
pub(crate) fn low(value: u64) -> U32 {
    U32::new(u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0))
}
