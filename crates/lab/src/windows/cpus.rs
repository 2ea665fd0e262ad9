//! Processors: their control regions, descriptor tables and registers.

use super::bytes::align;
use super::fixture::{Doing, Known, Trap};
use super::kdbg::{context, pcr_head, pcr_len, special_registers};
use super::make::Maker;
use super::pe::{self, Image};
use super::processes::{Planned, Spaces, running, user_code, user_stack};
use super::space::{Access, Paging, SpaceId};
use super::truth::{CpuTruth, Module, Process};
use crate::bytes::Bytes;
use crate::vmware::{Cpu, ModelRegisters, TableRegister, Vectors};

/// All processors.
pub(super) struct Cpus {
    pub(super) registers: Vec<Cpu>,
    pub(super) truth: Vec<CpuTruth>,
    /// Address of the `CONTEXT` that a crash saved.
    pub(super) crashed: Option<u64>,
}

/// Where the tables of a processor are.
#[derive(Clone, Copy)]
struct Tables {
    kpcr: u64,
    idt: u64,
    gdt: u64,
    tss: u64,
}

/// Roots that are not NT's, made when the first processor is caught there.
struct Foreign {
    hypervisor: Option<Outside>,
    secure: Option<Outside>,
}

#[derive(Clone, Copy)]
struct Outside {
    root: u64,
    base: u64,
}

/// Writes all processors and returns what they hold.
pub(super) fn make(
    maker: &mut Maker<'_>,
    plan: &[Planned],
    processes: &mut [Process],
    spaces: &[Spaces],
) -> Cpus {
    let mut made = Cpus { registers: Vec::new(), truth: Vec::new(), crashed: None };
    let foreign = foreign(maker);
    for (number, doing) in maker.fixture.cpus.iter().enumerate() {
        let (process, thread) = running(plan, number);
        let one =
            One { number: number as u64, doing: *doing, tables: tables(maker, number as u64) };
        let Some(owner) = processes.get(process) else { continue };
        let space = spaces.get(process).copied().unwrap_or(Spaces { own: 0, shadow: None });
        let mut truth = region(maker, &one, owner, thread);
        truth.process = process;
        let registers = one.registers(maker, &truth, owner, space, &foreign);
        if maker.has(Trap::Crashed) {
            saved(maker, &one, &mut truth);
            if number == crashed_cpu(maker) {
                made.crashed = Some(truth.context.unwrap_or(truth.embedded_context));
            }
        }
        for shadow in spaces.iter().filter_map(|space| space.shadow) {
            show(maker, shadow, &one.tables);
        }
        let slot = maker.symbol("KiProcessorBlock") + one.number * maker.width();
        maker.pointer(slot, truth.kprcb);
        made.registers.push(registers);
        made.truth.push(truth);
    }
    made
}

struct One {
    number: u64,
    doing: Doing,
    tables: Tables,
}

/// The tables of the first processor lie apart from those of the others, which
/// have one allocation each.
fn tables(maker: &Maker<'_>, number: u64) -> Tables {
    let build = maker.build;
    if number > 0 {
        let start = match (build.bits, build.number) {
            (64, 0..10240) => 0xffff_f880_009e_5000,
            (64, _) => 0xffff_9c80_1234_0000,
            (_, 2600 | 3790) => 0xf772_7000,
            _ => 0x807c_0000,
        };
        let kpcr = start + number * 0x2_0000;
        let idt = kpcr + align(pcr_len(build), 0x1000) + 0x1000;
        let (gdt, tss) = (idt + maker.pick(0x2fb0, 0x1000), idt + maker.pick(0x1000, 0x1400));
        return Tables { kpcr, idt, gdt, tss };
    }
    let inside = maker.symbol("KiInitialPCR");
    match (build.bits, build.number) {
        (64, 0..14393) => {
            let idt = build.base - 0x1e7_6000;
            Tables { kpcr: inside, idt, gdt: idt + 0x1000, tss: idt + 0x2000 }
        }
        (64, _) => {
            let idt = build.base + 0x4ee_0000;
            let (gdt, tss) = (idt + 0x2fb0, idt + 0x1000);
            Tables { kpcr: build.base - 0x372_c000, idt, gdt, tss }
        }
        (_, 2600 | 3790) => {
            Tables { kpcr: 0xffdf_f000, idt: 0x8003_f400, gdt: 0x8003_f000, tss: 0x8004_2000 }
        }
        _ => Tables { kpcr: inside, idt: 0x80b9_5400, gdt: 0x80b9_5000, tss: 0x801d_a000 },
    }
}

/// Writes `KPCR`, `KPRCB`, descriptor tables.
fn region(maker: &mut Maker<'_>, one: &One, process: &Process, thread: usize) -> CpuTruth {
    let build = maker.build;
    let Tables { kpcr, idt, gdt, tss } = one.tables;
    let kprcb = kpcr + pcr_head(build);
    let thread = process.threads.get(thread).map_or(0, |thread| thread.ethread);
    let mut out = Bytes::zeroed(pcr_len(build));
    let wide = build.bits == 64;
    for (at, value) in [
        (maker.pick(0, 0x3c), gdt),
        (maker.pick(8, 0x40), tss),
        (maker.pick(0x18, 0x1c), kpcr),
        (0x20, kprcb),
        (0x38, idt),
        (pcr_head(build) + maker.pick(8, 4), thread),
        (pcr_head(build) + maker.pick(0x18, 0xc), thread),
    ] {
        maker.set(&mut out, at, value);
    }
    let at = pcr_head(build);
    if !wide {
        let version = maker.symbol("KdVersionBlock");
        // The region of the first processor has it.
        let is_told = one.number == 0 && !maker.has(Trap::NoVersionBlock);
        maker.set(&mut out, 0x34, if is_told { version } else { 0 });
        out.u8(0x51, u8::try_from(one.number).unwrap_or_default());
    }
    out.u32(at + build.prcb.number, one.number).u32(at + build.prcb.mhz, 2904);
    out.put(at + build.prcb.vendor, b"GenuineIntel");
    let special = special_bytes(maker, one);
    out.put(at + special_registers(build), &special);
    let context_at = (build.prcb.context != 0)
        .then(|| align(maker.pool(*b"Ctxt", maker.pick(0x4e0, 0x2dc)), 16));
    if let Some(context) = context_at {
        maker.set(&mut out, at + build.prcb.context, context);
    }
    if maker.shadows()
        && let Some(shadow) = build.shadow
    {
        out.u64(shadow, process.dtb | 2).u64(shadow + 8, tss + 0x800).u64(shadow + 0x18, 1);
    }
    maker.put(kpcr, &out.0);
    descriptors(maker, one);
    CpuTruth {
        doing: one.doing,
        kpcr,
        kprcb,
        idt,
        gdt,
        tss,
        context: context_at,
        embedded_context: kprcb + context(build),
        special_registers: kprcb + special_registers(build),
        saved: None,
        thread,
        process: 0,
        kernel_dtb: process.dtb,
    }
}

/// `KSPECIAL_REGISTERS` as they were when the processor started.
fn special_bytes(maker: &Maker<'_>, one: &One) -> Vec<u8> {
    let Tables { idt, gdt, .. } = one.tables;
    let root = maker.memory.root(0);
    let (idt_limit, gdt_limit) = limits(maker);
    if maker.is_64_bit() {
        let mut out = Bytes::zeroed(0xd8);
        out.u64(0, 0x8005_0033).u64(0x10, root).u64(0x18, cr4(maker, maker.shadows()));
        out.u64(0x48, 0x400).u16(0x56, gdt_limit).u64(0x58, gdt).u16(0x66, idt_limit);
        out.u64(0x68, idt).u16(0x70, 0x40).u32(0x74, 0x1f80);
        return out.0;
    }
    let mut out = Bytes::zeroed(0x54);
    out.u32(0, 0x8001_003b).u32(8, root).u32(0xc, cr4(maker, false)).u32(0x24, 0x400);
    out.u16(0x2a, gdt_limit).u32(0x2c, gdt).u16(0x32, idt_limit).u32(0x34, idt).u16(0x38, 0x28);
    out.0
}

fn limits(maker: &Maker<'_>) -> (u64, u64) {
    (maker.pick(0xfff, 0x7ff), maker.pick(0x57, 0x3ff))
}

pub(super) fn cr4(maker: &Maker<'_>, with_pcid: bool) -> u64 {
    let paging = match maker.fixture.paging {
        Paging::TwoLevel => 0x6d8,
        Paging::Pae | Paging::FourLevel => 0x6f8,
        Paging::FiveLevel => 0x16f8,
    };
    let smep = if maker.build.number >= 9200 { 0x10_0000 } else { 0 };
    paging | smep | u64::from(with_pcid) << 17
}

/// Descriptor tables and the task state.
fn descriptors(maker: &mut Maker<'_>, one: &One) {
    let Tables { kpcr, idt, gdt, tss } = one.tables;
    let shadowed = maker.shadows();
    let name = if shadowed { "KiDivideErrorFaultShadow" } else { "KiDivideErrorFault" };
    let handlers = maker.symbol(name);
    let gate_len = maker.pick(16, 8);
    let mut gates = Bytes::zeroed(256 * gate_len);
    for index in 0..32 {
        let (at, handler) = (index * gate_len, handlers + index * 0x40);
        let code = maker.pick(0x10, 8);
        gates.u16(at, handler).u16(at + 2, code).u8(at + 5, 0x8e).u16(at + 6, handler >> 16);
        if maker.is_64_bit() {
            gates.u32(at + 8, handler >> 32);
        }
    }
    maker.put(idt, &gates.0);
    let mut table = Bytes::zeroed(maker.pick(0x58, 0x400));
    let flat: &[(u64, u64)] = if maker.is_64_bit() {
        &[
            (0x10, 0x0020_9b00_0000_0000),
            (0x18, 0x0000_9300_0000_0000),
            (0x20, 0x00cf_fb00_0000_ffff),
            (0x28, 0x00cf_f300_0000_ffff),
            (0x30, 0x0020_fb00_0000_0000),
            (0x50, 0x0040_f300_0000_3c00),
        ]
    } else {
        &[
            (8, 0x00cf_9b00_0000_ffff),
            (0x10, 0x00cf_9300_0000_ffff),
            (0x18, 0x00cf_fb00_0000_ffff),
            (0x20, 0x00cf_f300_0000_ffff),
        ]
    };
    for (at, descriptor) in flat {
        table.u64(*at, *descriptor);
    }
    if maker.is_64_bit() {
        table.u64(0x40, descriptor(tss, 0x67, 0x8b)).u64(0x48, tss >> 32);
    } else {
        table.u64(0x28, descriptor(tss, 0x20ab, 0x8b)).u64(0x30, descriptor(kpcr, 0x1fff, 0x93));
    }
    maker.put(gdt, &table.0);
    maker.put(tss, &Bytes::zeroed(0x68).0);
}

/// A segment of up to 64 KiB anywhere in 32 bits.
fn descriptor(base: u64, limit: u64, access: u64) -> u64 {
    limit | (base & 0xff_ffff) << 16 | access << 40 | (base >> 24 & 0xff) << 56
}

/// Maps in a shadow what the entry into the kernel needs.
fn show(maker: &mut Maker<'_>, shadow: SpaceId, tables: &Tables) {
    let code = maker.symbol("KiDivideErrorFaultShadow");
    let region = tables.kpcr + maker.build.shadow.unwrap_or_default();
    let pages = [code, code + 0x1000, tables.idt, tables.gdt, tables.tss, tables.kpcr, region];
    for va in pages.map(|va| va & !0xfff) {
        let pa = maker.memory.translate(0, va);
        maker.memory.map(shadow, va, pa, 0x1000);
    }
}

impl One {
    /// What the processor holds.
    fn registers(
        &self,
        maker: &mut Maker<'_>,
        truth: &CpuTruth,
        process: &Process,
        spaces: Spaces,
        foreign: &Foreign,
    ) -> Cpu {
        let vectors = u32::try_from(self.number).ok().map(Vectors::synthetic);
        let mut cpu = Cpu { rflags: 0x246, vectors, ..Cpu::default() };
        for register in &mut cpu.general {
            *register = maker.noise() & if maker.is_64_bit() { u64::MAX } else { 0xffff_ffff };
        }
        if !maker.is_64_bit() {
            cpu.general.get_mut(8..).unwrap_or_default().fill(0);
        }
        let (idt_limit, gdt_limit) = limits(maker);
        cpu.control = [maker.pick(0x8005_0033, 0x8001_003b), 0, 0x7ff6_0000_1000, process.dtb, 0];
        cpu.control[4] = cr4(maker, maker.shadows());
        cpu.debug = [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400];
        cpu.idtr = TableRegister { base: self.tables.idt, limit: short(idt_limit) };
        cpu.gdtr = TableRegister { base: self.tables.gdt, limit: short(gdt_limit) };
        if !maker.is_64_bit() {
            cpu.control[2] &= 0xffff_ffff;
        }
        match self.doing {
            Doing::User => self.user(maker, &mut cpu, truth, process, spaces),
            _ => self.kernel(maker, &mut cpu, process, truth),
        }
        cpu.msrs = self.msrs(maker, truth, process);
        let outside = match self.doing {
            Doing::Hypervisor => foreign.hypervisor,
            Doing::SecureKernel => foreign.secure,
            Doing::Kernel | Doing::User => None,
        };
        if let Some(outside) = outside {
            leave(&mut cpu, outside, self.number);
        }
        match maker.fixture.registers {
            Known::All => {}
            Known::NoMsrs => cpu.msrs = ModelRegisters::default(),
            Known::NoBases => {
                cpu.msrs = ModelRegisters::default();
                cpu.segments = cpu.segments.map(|(selector, _)| (selector, 0));
            }
        }
        cpu
    }

    /// Segments: ES CS SS DS FS GS LDTR TR.
    fn kernel(&self, maker: &mut Maker<'_>, cpu: &mut Cpu, process: &Process, truth: &CpuTruth) {
        let Tables { kpcr, tss, .. } = self.tables;
        cpu.segments = if maker.is_64_bit() {
            [
                (0x2b, 0),
                (0x10, 0),
                (0x18, 0),
                (0x2b, 0),
                (0x53, 0),
                (0x2b, kpcr),
                (0, 0),
                (0x40, tss),
            ]
        } else {
            [(0x23, 0), (8, 0), (0x10, 0), (0x23, 0), (0x30, kpcr), (0, 0), (0, 0), (0x28, tss)]
        };
        let threads = process.threads.iter();
        let stack = threads.clone().find(|thread| thread.ethread == truth.thread);
        let top = stack.map_or(0, |thread| thread.stack.1);
        cpu.general[4] = top - 0x3a8;
        cpu.general[5] = top - 0x320;
        let name = if maker.has(Trap::Crashed) { "KiFreezeTargetExecution" } else { "KiIdleLoop" };
        cpu.rip = maker.symbol(name) + 4 + self.number;
        cpu.halted = self.number % 3 == 2;
        for (at, symbol) in [(0, "KiIdleLoop"), (8, "KiSwapContext")] {
            let value = maker.symbol(symbol) + 10;
            let stack = cpu.general[4];
            maker.pointer(stack + at * maker.width(), value);
        }
    }

    fn user(
        &self,
        maker: &mut Maker<'_>,
        cpu: &mut Cpu,
        truth: &CpuTruth,
        process: &Process,
        spaces: Spaces,
    ) {
        let mut threads = process.threads.iter();
        let thread = threads.find(|thread| thread.ethread == truth.thread);
        let teb = thread.map_or(0, |thread| thread.teb);
        let tss = self.tables.tss;
        cpu.segments = if maker.is_64_bit() {
            [
                (0x2b, 0),
                (0x33, 0),
                (0x2b, 0),
                (0x2b, 0),
                (0x53, 0),
                (0x2b, teb),
                (0, 0),
                (0x40, tss),
            ]
        } else {
            [(0x23, 0), (0x1b, 0), (0x23, 0), (0x23, 0), (0x3b, teb), (0, 0), (0, 0), (0x28, tss)]
        };
        cpu.rip = user_code(maker) + self.number;
        cpu.general[4] = user_stack(maker) + 0x20;
        cpu.general[5] = user_stack(maker) + 0x80;
        if let Some(shadow) = spaces.shadow {
            // Process context 1 is user mode's; bit 63 is never read back.
            cpu.control[3] = maker.memory.root(shadow) | 1;
        }
    }

    fn msrs(&self, maker: &Maker<'_>, truth: &CpuTruth, process: &Process) -> ModelRegisters {
        if !maker.is_64_bit() {
            return ModelRegisters {
                efer: (maker.fixture.paging == Paging::Pae).then_some(0x800),
                sysenter_cs: Some(8),
                sysenter_esp: Some(self.tables.tss + 0x800),
                sysenter_eip: Some(maker.symbol("KiFastCallEntry")),
                ..ModelRegisters::default()
            };
        }
        let mut threads = process.threads.iter();
        let thread = threads.find(|thread| thread.ethread == truth.thread);
        let teb = thread.map_or(0, |thread| thread.teb);
        let in_user = self.doing == Doing::User;
        let entry = if maker.shadows() { "KiSystemCall64Shadow" } else { "KiSystemCall64" };
        ModelRegisters {
            efer: Some(0xd01),
            star: Some(0x0023_0010_0000_0000),
            lstar: Some(maker.symbol(entry)),
            cstar: Some(maker.symbol(entry)),
            kernel_gs_base: Some(if in_user { self.tables.kpcr } else { teb }),
            ..ModelRegisters::default()
        }
    }
}

fn short(value: u64) -> u16 {
    u16::try_from(value).unwrap_or_default()
}

/// Registers of another world: nothing in them is NT's.
fn leave(cpu: &mut Cpu, outside: Outside, number: u64) {
    let Outside { root, base } = outside;
    let own = base + 0x10_0000 + number * 0x1_0000;
    cpu.control[3] = root;
    cpu.rip = base + 0x1040 + number;
    cpu.general[4] = own + 0xf80;
    cpu.idtr = TableRegister { base: own + 0x1000, limit: 0xfff };
    cpu.gdtr = TableRegister { base: own + 0x2000, limit: 0x6f };
    cpu.segments =
        [(0x20, 0), (0x10, 0), (0x20, 0), (0x20, 0), (0, 0), (0, own), (0, 0), (0x30, own)];
    cpu.msrs.lstar = Some(base + 0x1800);
    cpu.msrs.kernel_gs_base = Some(0);
}

/// Makes the roots that processors are caught in, and that of the secure kernel
/// if there is one to be mistaken for NT's.
fn foreign(maker: &mut Maker<'_>) -> Foreign {
    let doing = |wanted| maker.fixture.cpus.contains(&wanted);
    let hypervisor = doing(Doing::Hypervisor);
    let secure = doing(Doing::SecureKernel) || maker.has(Trap::SecureKernel);
    Foreign {
        hypervisor: hypervisor.then(|| outside(maker, false, 0xffff_f87a_4320_0000, "hvix64.exe")),
        secure: secure.then(|| outside(maker, true, 0xffff_f807_3a40_0000, "securekernel.exe")),
    }
}

fn outside(maker: &mut Maker<'_>, maps_itself: bool, base: u64, name: &str) -> Outside {
    let space = maker.memory.foreign(maps_itself);
    let image = Image {
        bits: 64,
        base,
        size: 0x10_0000,
        timestamp: 0x6a5b_4c3d,
        entry: 0x1000,
        sections: vec![
            (".text", 0x1000, 0x2000, pe::CODE),
            (".rdata", 0x3000, 0x2000, pe::CONSTANT),
        ],
        exports: (0x3000, 0x100),
        debug: (0x4000, 28),
    };
    maker.memory.region(base + 0x1000, 0x2000, Access::Code);
    maker.memory.put(space, base, &image.headers());
    maker.memory.put(space, base + 0x1000, &[0xcc; 0x1000]);
    maker.memory.put(space, base + 0x3000, &pe::exports(0x3000, name, &[]));
    let pdb = name.replace(".exe", ".pdb");
    let record = pe::code_view("3F2E1D0C4B5A69788796A5B4C3D2E1F0", 1, &pdb);
    let debug = pe::debug_directory(0x4000, image.timestamp, &[(2, record)]);
    maker.memory.put(space, base + 0x4000, &debug);
    // Entries for user mode and the pool, so that the root looks like NT's.
    for top in [0xffff_8100_u64, 0xffff_9880, 0xffff_e600, 0xffff_f980, 0xffff_fe80] {
        maker.memory.put(space, (top << 32) + 0x5000, &[0x11; 64]);
    }
    for number in 0..16 {
        maker.memory.put(space, base + 0x10_0000 + number * 0x1_0000, &[0x22; 0x2100]);
    }
    Outside { root: maker.memory.root(space), base }
}

/// The processor that a crash happened on.
fn crashed_cpu(maker: &Maker<'_>) -> usize {
    maker.fixture.cpus.len().min(2) - 1
}

/// What the crash was: a driver's bad access.
fn bugcheck(maker: &Maker<'_>, modules: &[Module]) -> [u64; 5] {
    let driver = modules.last().map_or(0, |module| module.base);
    let address = maker.pick(0xffff_d000_1234_5678, 0xd123_4567);
    [0xd1, address, 2, 0, driver + 0x2034]
}

/// Writes `KiBugCheckData`.
pub(super) fn crash(maker: &mut Maker<'_>, modules: &[Module]) -> Option<[u64; 5]> {
    if !maker.has(Trap::Crashed) {
        return None;
    }
    let (all, data) = (bugcheck(maker, modules), maker.symbol("KiBugCheckData"));
    for (index, value) in (0..).zip(all) {
        maker.pointer(data + index * maker.width(), value);
    }
    Some(all)
}

/// What Windows saved itself when it crashed: where the driver was on one
/// processor, where the others were interrupted. The registers show a loop.
fn saved(maker: &mut Maker<'_>, one: &One, truth: &mut CpuTruth) {
    let is_first = one.number == crashed_cpu(maker) as u64;
    let name = if is_first { "KeBugCheckEx" } else { "KiSwapContext" };
    let rip = maker.symbol(name) + 0x10 + one.number;
    let stack = maker.pick(0xffff_f885_2111_0000, 0xa200_0000) + one.number * 0x1000 + 0xa00;
    let context = context_bytes(maker, rip, stack);
    for va in [truth.context, Some(truth.embedded_context)].into_iter().flatten() {
        maker.put(va, &context);
    }
    truth.saved = Some((rip, stack));
}

/// A `CONTEXT` of the kernel.
fn context_bytes(maker: &mut Maker<'_>, rip: u64, stack: u64) -> Vec<u8> {
    if maker.is_64_bit() {
        let mut out = Bytes::zeroed(0x4d0);
        out.u32(0x30, 0x10_001f).u32(0x34, 0x1f80).u16(0x38, 0x10).u16(0x3a, 0x2b);
        out.u16(0x3c, 0x2b).u16(0x3e, 0x53).u16(0x40, 0x2b).u16(0x42, 0x18).u32(0x44, 0x82);
        for index in 0..16 {
            let value = maker.noise();
            out.u64(0x78 + index * 8, value);
        }
        out.u64(0x98, stack).u64(0xf8, rip).u16(0x100, 0x27f).u32(0x118, 0x1f80);
        return out.0;
    }
    let mut out = Bytes::zeroed(0x2cc);
    out.u32(0, 0x1_003f).u32(0x1c, 0x27f).u16(0x90, 0x30).u16(0x94, 0x23).u16(0x98, 0x23);
    for index in 0..6 {
        let value = maker.noise() & 0xffff_ffff;
        out.u32(0x9c + index * 4, value);
    }
    out.u32(0xb4, stack + 0x40).u32(0xb8, rip).u16(0xbc, 8).u32(0xc0, 0x282);
    out.u32(0xc4, stack).u16(0xc8, 0x10).u16(0xcc, 0x27f).u32(0xe4, 0x1f80);
    out.0
}
