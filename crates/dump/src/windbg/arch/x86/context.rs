//! Registers of a vCPU in the forms that Windows keeps them in.

use vmss2core_guest::windows::WindowsCpu;
use vmss2core_machine::Registers;
use vmss2core_machine::x86::{self, DescriptorTable, Gpr};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::arch::x86::fpu;
use crate::windbg::header::low;
use vmss2core_formats::dmp::{
    CONTEXT_AMD64, CONTEXT_I386, Context32, Context64, SPECIAL64_WITH_XCR0, Special32, Special64,
};

/// A `CONTEXT` with the parts that a header wants of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::windbg) struct Context {
    pub(in crate::windbg) bytes: Vec<u8>,
    pub(in crate::windbg) instruction: u64,
    pub(in crate::windbg) stack: u64,
}

/// Control, integer and segment registers.
const GENERAL: u32 = 7;
const FLOATING: u32 = 8;
const DEBUG: u32 = 0x10;
const EXTENDED: u32 = 0x20;

impl Context {
    /// Bytes of the structure.
    pub(in crate::windbg) fn len_bytes(is_64_bit: bool) -> usize {
        if is_64_bit { size_of::<Context64>() } else { size_of::<Context32>() }
    }

    /// The registers of a vCPU. Those that are not known are 0, but for
    /// segments: a debugger takes a code segment of 0 for 16-bit code.
    pub(in crate::windbg) fn of_vcpu(registers: &Registers, is_64_bit: bool) -> Option<Self> {
        let vcpu = registers.x86()?;
        let bytes = if is_64_bit { context64(vcpu) } else { context32(vcpu) };
        let stack = vcpu.gpr(Gpr::Rsp).unwrap_or(0);
        Some(Self { bytes, instruction: vcpu.rip.unwrap_or(0), stack })
    }

    /// One that Windows itself saved, if it looks like one of the kernel.
    pub(in crate::windbg) fn saved(bytes: Vec<u8>, is_64_bit: bool) -> Option<Self> {
        let (is_valid, instruction, stack) = if is_64_bit {
            let context = Context64::ref_from_bytes(&bytes).ok()?;
            let is_valid = context.flags.get() & CONTEXT_AMD64 != 0;
            (is_valid, context.rip.get(), context.general.get(Gpr::Rsp as usize)?.get())
        } else {
            let context = Context32::ref_from_bytes(&bytes).ok()?;
            let is_valid = context.flags.get() & CONTEXT_I386 != 0;
            (is_valid, context.eip.get().into(), context.esp.get().into())
        };
        let kernel = if is_64_bit { 0xffff_8000_0000_0000 } else { 0x8000_0000 };
        (is_valid && instruction >= kernel).then_some(Self { bytes, instruction, stack })
    }
}

/// Debug registers 0 to 3, 6 and 7, if any is known.
fn debug(vcpu: &x86::Registers) -> Option<[u64; 6]> {
    let [d0, d1, d2, d3, _, _, d6, d7] = vcpu.debug;
    let known = [d0, d1, d2, d3, d6, d7];
    known.iter().any(Option::is_some).then(|| known.map(Option::unwrap_or_default))
}

/// A selector, or what Windows has there: in the kernel if nothing says
/// otherwise.
fn selector(known: Option<u16>, default: u16) -> u16 {
    known.unwrap_or(default)
}

/// The FXSAVE image and whether it is known; else that of a processor after
/// FNINIT, with all exceptions masked.
fn fxsave(vcpu: &x86::Registers) -> ([u8; 512], bool) {
    if let Some(known) = vcpu.fpu.as_ref().and_then(fpu::fxsave) {
        return (known, true);
    }
    let mut bytes = [0; 512];
    for (at, value) in [(0, 0x27f_u32), (24, MXCSR), (28, 0xffff)] {
        for (to, from) in bytes.iter_mut().skip(at).zip(value.to_le_bytes()) {
            *to = from;
        }
    }
    (bytes, false)
}

const MXCSR: u32 = 0x1f80;

fn mxcsr(fxsave: &[u8; 512]) -> u32 {
    let bytes = fxsave.get(24..28).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(MXCSR, u32::from_le_bytes)
}

fn flags(machine: u32, parts: [(bool, u32); 3]) -> u32 {
    let known = parts.iter().filter(|(is_known, _)| *is_known);
    known.fold(machine | GENERAL, |flags, (_, flag)| flags | flag)
}

fn context64(vcpu: &x86::Registers) -> Vec<u8> {
    let (fxsave, has_fpu) = fxsave(vcpu);
    let (debug, segments) = (debug(vcpu), &vcpu.segments);
    let none = (false, 0);
    let flags = flags(CONTEXT_AMD64, [(has_fpu, FLOATING), (debug.is_some(), DEBUG), none]);
    let context = Context64 {
        flags: U32::new(flags),
        mxcsr: U32::new(mxcsr(&fxsave)),
        cs: U16::new(selector(segments.cs.selector, 0x10)),
        ds: U16::new(selector(segments.ds.selector, 0x2b)),
        es: U16::new(selector(segments.es.selector, 0x2b)),
        fs: U16::new(selector(segments.fs.selector, 0x53)),
        gs: U16::new(selector(segments.gs.selector, 0x2b)),
        ss: U16::new(selector(segments.ss.selector, 0x18)),
        eflags: U32::new(low(vcpu.rflags.unwrap_or(0))),
        debug: debug.unwrap_or_default().map(U64::new),
        general: Gpr::ALL.map(|gpr| U64::new(vcpu.gpr(gpr).unwrap_or(0))),
        rip: U64::new(vcpu.rip.unwrap_or(0)),
        fxsave,
        ..Context64::new_zeroed()
    };
    context.as_bytes().to_vec()
}

fn context32(vcpu: &x86::Registers) -> Vec<u8> {
    let (fxsave, has_fpu) = fxsave(vcpu);
    let (debug, segments) = (debug(vcpu), &vcpu.segments);
    let gpr = |gpr| U32::new(low(vcpu.gpr(gpr).unwrap_or(0)));
    let segment = |known, default| U32::new(selector(known, default).into());
    let parts = [(has_fpu, FLOATING | EXTENDED), (debug.is_some(), DEBUG), (false, 0)];
    let context = Context32 {
        flags: U32::new(flags(CONTEXT_I386, parts)),
        debug: debug.unwrap_or_default().map(|value| U32::new(low(value))),
        fsave: fpu::fsave(&fxsave),
        cr0_npx: U32::ZERO,
        gs: segment(segments.gs.selector, 0),
        fs: segment(segments.fs.selector, 0x30),
        es: segment(segments.es.selector, 0x23),
        ds: segment(segments.ds.selector, 0x23),
        edi: gpr(Gpr::Rdi),
        esi: gpr(Gpr::Rsi),
        ebx: gpr(Gpr::Rbx),
        edx: gpr(Gpr::Rdx),
        ecx: gpr(Gpr::Rcx),
        eax: gpr(Gpr::Rax),
        ebp: gpr(Gpr::Rbp),
        eip: U32::new(low(vcpu.rip.unwrap_or(0))),
        cs: segment(segments.cs.selector, 8),
        eflags: U32::new(low(vcpu.rflags.unwrap_or(0))),
        esp: gpr(Gpr::Rsp),
        ss: segment(segments.ss.selector, 0x10),
        fxsave,
    };
    context.as_bytes().to_vec()
}

/// The register with the root of page tables.
pub(in crate::windbg) fn root_register(registers: &Registers) -> Option<u64> {
    registers.x86()?.control.cr3
}

/// Bytes of `KSPECIAL_REGISTERS` that we fill, for a processor.
pub(in crate::windbg) fn special_len(cpu: &WindowsCpu, is_64_bit: bool) -> usize {
    if !is_64_bit {
        return size_of::<Special32>();
    }
    let special = cpu.special_registers.map(|at| at.0);
    let room = cpu.embedded_context.and_then(|at| at.0.checked_sub(special?));
    // The context follows; the structure has grown by FS.base and a reserve.
    if room.is_some_and(|room| room >= size_of::<Special64>() as u64) {
        size_of::<Special64>()
    } else {
        SPECIAL64_WITH_XCR0
    }
}

/// Puts what is known into the `KSPECIAL_REGISTERS` that are in memory.
pub(in crate::windbg) fn set_special(
    bytes: &mut Vec<u8>,
    registers: &Registers,
    cpu: &WindowsCpu,
    cr3: Option<u64>,
) {
    let Some(vcpu) = registers.x86() else { return };
    if bytes.len() < SPECIAL64_WITH_XCR0 {
        if let Ok(special) = Special32::mut_from_bytes(bytes) {
            special32(special, vcpu, cr3);
        }
        return;
    }
    let len = bytes.len();
    bytes.resize(size_of::<Special64>(), 0);
    if let Ok(special) = Special64::mut_from_bytes(bytes) {
        special64(special, vcpu, cpu, cr3);
    }
    bytes.truncate(len);
}

fn special64(special: &mut Special64, vcpu: &x86::Registers, cpu: &WindowsCpu, cr3: Option<u64>) {
    let (control, msrs) = (&vcpu.control, &vcpu.msrs);
    for (to, known) in special.control.iter_mut().zip([control.cr0, control.cr2, cr3, control.cr4])
    {
        set(to, known);
    }
    if let Some(debug) = debug(vcpu) {
        special.debug = debug.map(U64::new);
    }
    let gs_swap = user_gs(vcpu, cpu);
    for (to, known) in [
        (&mut special.gdtr.base, vcpu.gdtr.base),
        (&mut special.idtr.base, vcpu.idtr.base),
        (&mut special.cr8, control.cr8),
        (&mut special.gs_base, Some(cpu.kpcr.0)),
        (&mut special.gs_swap, gs_swap),
        (&mut special.star, msrs.star),
        (&mut special.lstar, msrs.lstar),
        (&mut special.cstar, msrs.cstar),
        (&mut special.sfmask, msrs.sfmask),
        (&mut special.xcr0, msrs.xcr0),
        (&mut special.fs_base, vcpu.segments.fs.base),
    ] {
        set(to, known);
    }
    set16(&mut special.gdtr.limit, limit(vcpu.gdtr));
    set16(&mut special.idtr.limit, limit(vcpu.idtr));
    set16(&mut special.tr, vcpu.segments.tr.selector);
    set16(&mut special.ldtr, vcpu.segments.ldt.selector);
    if let Some(state) = vcpu.fpu.as_ref().and_then(fpu::fxsave) {
        special.mxcsr = U32::new(mxcsr(&state));
    }
}

fn special32(special: &mut Special32, vcpu: &x86::Registers, cr3: Option<u64>) {
    let control = &vcpu.control;
    for (to, known) in special.control.iter_mut().zip([control.cr0, control.cr2, cr3, control.cr4])
    {
        set32(to, known);
    }
    if let Some(debug) = debug(vcpu) {
        special.debug = debug.map(|value| U32::new(low(value)));
    }
    set32(&mut special.gdtr.base, vcpu.gdtr.base);
    set32(&mut special.idtr.base, vcpu.idtr.base);
    set16(&mut special.gdtr.limit, limit(vcpu.gdtr));
    set16(&mut special.idtr.limit, limit(vcpu.idtr));
    set16(&mut special.tr, vcpu.segments.tr.selector);
    set16(&mut special.ldtr, vcpu.segments.ldt.selector);
}

/// The base of GS that is user mode's: `SWAPGS` exchanges the two, and one is
/// the kernel's.
fn user_gs(vcpu: &x86::Registers, cpu: &WindowsCpu) -> Option<u64> {
    let (active, other) = (vcpu.segments.gs.base?, vcpu.msrs.kernel_gs_base?);
    match cpu.kpcr.0 {
        kpcr if kpcr == active => Some(other),
        kpcr if kpcr == other => Some(active),
        _ => None,
    }
}

/// A limit of 0 is what a checkpoint has that does not hold it.
fn limit(table: DescriptorTable) -> Option<u16> {
    table.limit.filter(|limit| *limit != 0)
}

fn set(to: &mut U64, known: Option<u64>) {
    if let Some(value) = known {
        *to = U64::new(value);
    }
}

fn set32(to: &mut U32, known: Option<u64>) {
    if let Some(value) = known {
        *to = U32::new(low(value));
    }
}

fn set16(to: &mut U16, known: Option<u16>) {
    if let Some(value) = known {
        *to = U16::new(value);
    }
}
