//! The `cpu` group: as products wrote it, and in bare forms that nobody writes:
//! one tag per register, blocks of registers, or both.

mod products;

use super::emit::{Group, Item};
use super::machine::{Cpu, TableRegister};
use super::shape::{Extra, Platform, Registers, Shape};

/// The group, or `None` where the shape has none.
pub(super) fn group(cpus: &[Cpu], shape: &Shape) -> Option<Group> {
    if shape.registers == Registers::Absent {
        return None;
    }
    let count = u32::try_from(cpus.len()).unwrap_or(u32::MAX);
    let mut items = vec![Item::word("cpu:numVCPUs", &[], count)];
    for (index, cpu) in (0..).zip(cpus) {
        match shape.platform {
            Platform::X86 => x86(&mut items, index, cpu, shape),
            Platform::Arm64 => items.push(Item::quad("hv:ttbrEL1[0]", &[index], cpu.control[3])),
        }
    }
    Some(Group::new("cpu", items))
}

fn x86(items: &mut Vec<Item>, index: u32, cpu: &Cpu, shape: &Shape) {
    if shape.platform_is_32_bit() {
        indexed_32(items, index, cpu);
        common(items, index, cpu, true);
        return;
    }
    match shape.registers {
        Registers::Year2012 => products::year_2012(items, index, cpu),
        Registers::Year2016 => products::year_2016(items, index, cpu),
        Registers::Year2022 => products::year_2022(items, index, cpu),
        Registers::BareTags => indexed(items, index, cpu),
        Registers::BareBlocks => blocks(items, index, cpu),
        Registers::BareBoth => {
            indexed(items, index, cpu);
            blocks(items, index, cpu);
        }
        Registers::Absent => {}
    }
    if shape.registers.is_bare() {
        common(items, index, cpu, false);
        if shape.has(Extra::Msrs) {
            msrs(items, index, cpu);
        }
    }
}

const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or_default()
}

fn indexed(items: &mut Vec<Item>, index: u32, cpu: &Cpu) {
    for (name, value) in GENERAL.iter().zip(cpu.general) {
        items.push(Item::quad(name, &[index], value));
    }
    for (number, value) in (0..).zip(cpu.control) {
        items.push(Item::quad("CR64", &[index, number], value));
        items.push(Item::word("CR", &[index, number], low(value)));
    }
    items.push(Item::quad("CR64", &[index, 8], cpu.task_priority));
    indexed_tables(items, index, cpu);
}

/// What a 32-bit product wrote: no 64-bit name at all.
fn indexed_32(items: &mut Vec<Item>, index: u32, cpu: &Cpu) {
    let names = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];
    for (name, value) in names.iter().zip(cpu.general) {
        items.push(Item::word(name, &[index], low(value)));
    }
    for (number, value) in (0..).zip(cpu.control) {
        items.push(Item::word("CR", &[index, number], low(value)));
    }
    indexed_tables(items, index, cpu);
}

fn indexed_tables(items: &mut Vec<Item>, index: u32, cpu: &Cpu) {
    for (name, table) in [("GDTR", cpu.gdtr), ("IDTR", cpu.idtr)] {
        items.push(Item::inline(name, &[index, 0], &table.limit.to_le_bytes()));
        items.push(Item::word(name, &[index, 1], low(table.base)));
        items.push(Item::word(name, &[index, 2], low(table.base >> 32)));
    }
}

fn blocks(items: &mut Vec<Item>, index: u32, cpu: &Cpu) {
    items.push(Item::plain_block("gpregs", &[index], quads(&cpu.general)));
    items.push(Item::plain_block("CR64", &[index], quads(&control(cpu))));
    items.push(Item::plain_block("GDTR", &[index], table(cpu.gdtr)));
    items.push(Item::plain_block("IDTR", &[index], table(cpu.idtr)));
}

/// CR0 to CR8; CR1 and CR5 to CR7 do not exist.
fn control(cpu: &Cpu) -> [u64; 9] {
    let [cr0, cr1, cr2, cr3, cr4] = cpu.control;
    [cr0, cr1, cr2, cr3, cr4, 0, 0, 0, cpu.task_priority]
}

fn quads(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn table(table: TableRegister) -> Vec<u8> {
    let mut bytes = table.limit.to_le_bytes().to_vec();
    bytes.extend_from_slice(&table.base.to_le_bytes());
    bytes
}

/// What both forms have one tag each for.
fn common(items: &mut Vec<Item>, index: u32, cpu: &Cpu, narrow: bool) {
    items.push(Item::word("eip", &[index], low(cpu.rip)));
    items.push(Item::word("eflags", &[index], cpu.rflags));
    items.push(Item::inline("halted", &[index], &[u8::from(cpu.halted)]));
    if !narrow {
        items.push(Item::quad("rip", &[index], cpu.rip));
    }
    for (number, value) in (0..).zip(cpu.debug) {
        if !narrow {
            items.push(Item::quad("DR64", &[index, number], value));
        }
        items.push(Item::word("DR", &[index, number], low(value)));
    }
    for (number, (selector, base)) in (0..).zip(cpu.segments) {
        items.push(Item::word("S", &[index, number], u32::from(selector)));
        if !narrow {
            items.push(Item::quad("S.base64", &[index, number], base));
        }
    }
}

/// Spellings that no file is known to have.
fn msrs(items: &mut Vec<Item>, index: u32, cpu: &Cpu) {
    let msrs = &cpu.msrs;
    let named = [
        ("EFER", msrs.efer),
        ("STAR", msrs.star),
        ("LSTAR", msrs.lstar),
        ("CSTAR", msrs.cstar),
        ("kernelGSBase", msrs.kernel_gs_base),
        ("sysEnterCS", msrs.sysenter_cs),
        ("sysEnterESP", msrs.sysenter_esp),
        ("sysenterEIP", msrs.sysenter_eip),
        ("TSC", msrs.tsc),
        ("PAT", msrs.pat),
        ("XCR0", msrs.xcr0),
    ];
    for (name, value) in named {
        items.extend(value.map(|value| Item::quad(name, &[index], value)));
    }
}
