//! Registers as in real files of three years.
//!
//! Source: tables of the tags in a file of each, and the values that went with
//! them. Tags that say nothing about the guest's state are left out.

use super::super::emit::Item;
use super::super::machine::{Cpu, Vectors};
use super::{GENERAL, control, indexed_tables, low, quads, table};

/// Carry, parity, adjust, zero, sign and overflow.
const ARITHMETIC_FLAGS: u32 = 0x8d5;
/// The bit of the flags that is always set.
const ALWAYS: u32 = 2;
/// The limit counts pages.
const GRANULARITY: u32 = 1 << 23;

const STAR_TO_SFMASK: [&str; 4] = ["STAR", "LSTAR", "CSTAR", "SFMASK"];

pub(super) fn year_2012(items: &mut Vec<Item>, index: u32, cpu: &Cpu) {
    let narrow = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];
    for (name, value) in GENERAL.iter().zip(cpu.general) {
        items.push(Item::quad(name, &[index], value));
    }
    for (name, value) in narrow.iter().zip(cpu.general) {
        items.push(Item::word(name, &[index], low(value)));
    }
    program(items, index, cpu);
    segments(items, index, cpu);
    for (number, value) in (0..).zip(control(cpu)) {
        items.push(Item::quad("CR64", &[index, number], value));
    }
    for (number, value) in (0..).zip(cpu.control) {
        items.push(Item::word("CR", &[index, number], low(value)));
    }
    for (number, value) in (0..).zip(cpu.debug) {
        items.push(Item::quad("DR64", &[index, number], value));
        items.push(Item::word("DR", &[index, number], low(value)));
    }
    indexed_tables(items, index, cpu);
    for (name, value) in STAR_TO_SFMASK.into_iter().zip(system_call(cpu)) {
        items.extend(value.map(|value| Item::quad(name, &[index], value)));
    }
    named_msrs(items, index, cpu);
    let image = cpu.vectors.iter().flat_map(|vectors| &vectors.fxsave);
    for (at, byte) in (0..).zip(image) {
        items.push(Item::inline("fpu:fxstate", &[index, at], &[*byte]));
    }
}

pub(super) fn year_2016(items: &mut Vec<Item>, index: u32, cpu: &Cpu) {
    items.push(Item::plain_block("gpregs", &[index], quads(&cpu.general)));
    program(items, index, cpu);
    segments(items, index, cpu);
    let [_, cs, ..] = cpu.hidden;
    items.extend(cs.map(|cs| Item::word("csRights", &[index], cs.rights)));
    items.push(Item::plain_block("CR64", &[index], quads(&control(cpu))));
    items.push(Item::plain_block("DR64", &[index], quads(&cpu.debug)));
    items.push(Item::plain_block("GDTR", &[index], table(cpu.gdtr)));
    items.push(Item::plain_block("IDTR", &[index], table(cpu.idtr)));
    let system_call = system_call(cpu);
    let whole: Option<Vec<u64>> = system_call.into_iter().collect();
    match whole {
        Some(whole) => items.push(Item::plain_block("syscallMSR", &[index], quads(&whole))),
        // Not all are known: there is no block for a part of them.
        None => {
            for (name, value) in STAR_TO_SFMASK.into_iter().zip(system_call) {
                items.extend(value.map(|value| Item::quad(name, &[index], value)));
            }
        }
    }
    named_msrs(items, index, cpu);
    items.extend(cpu.vectors.iter().flat_map(|vectors| blocks_of(vectors, index)));
}

pub(super) fn year_2022(items: &mut Vec<Item>, index: u32, cpu: &Cpu) {
    year_2016(items, index, cpu);
    for (number, value) in &cpu.other_msrs {
        let named = [(0xda0, "msrXSS"), (0x6e0, "tscDeadline"), (0x48, "specCtrl")];
        let name = named.into_iter().find(|(named, _)| named == number);
        items.push(match name {
            Some((_, name)) => Item::quad(name, &[index], *value),
            None => Item::quad("MSR", &[index, *number], *value),
        });
    }
    items.push(Item::inline("inSMM", &[index], &[0]));
    items.push(Item::word("hvState", &[index], 0));
}

/// Instruction pointers and flags. While a processor is halted, `rip` is after
/// the instruction, which has one byte, and `eip` on it.
fn program(items: &mut Vec<Item>, index: u32, cpu: &Cpu) {
    let on = if cpu.halted { cpu.rip.wrapping_sub(1) } else { cpu.rip };
    items.push(Item::quad("rip", &[index], cpu.rip));
    items.push(Item::word("eip", &[index], low(on)));
    items.push(Item::word("eflags", &[index], cpu.rflags & ARITHMETIC_FLAGS | ALWAYS));
    items.push(Item::word("EFLAGS", &[index], cpu.rflags & !ARITHMETIC_FLAGS));
    items.push(Item::inline("halted", &[index], &[u8::from(cpu.halted)]));
}

fn segments(items: &mut Vec<Item>, index: u32, cpu: &Cpu) {
    for (number, ((selector, base), hidden)) in (0..).zip(cpu.segments.iter().zip(cpu.hidden)) {
        items.push(Item::word("S", &[index, number], u32::from(*selector)));
        items.push(Item::word("S.base", &[index, number], low(*base)));
        items.push(Item::quad("S.base64", &[index, number], *base));
        if let Some(hidden) = hidden {
            let in_pages = hidden.rights & GRANULARITY != 0;
            let limit = if in_pages { hidden.limit >> 12 } else { hidden.limit };
            items.push(Item::word("S.limit", &[index, number], limit));
            items.push(Item::word("S.rights", &[index, number], hidden.rights));
        }
    }
}

fn system_call(cpu: &Cpu) -> [Option<u64>; 4] {
    [cpu.msrs.star, cpu.msrs.lstar, cpu.msrs.cstar, cpu.msrs.sfmask]
}

fn named_msrs(items: &mut Vec<Item>, index: u32, cpu: &Cpu) {
    let msrs = &cpu.msrs;
    let named = [
        ("KERNELGSBASE", msrs.kernel_gs_base),
        ("EFER", msrs.efer),
        ("PAT", msrs.pat),
        ("XCR0", msrs.xcr0),
        ("tscAux", msrs.tsc_aux),
        ("sysEnterCS", msrs.sysenter_cs),
        ("sysEnterESP", msrs.sysenter_esp),
        ("sysEnterEIP", msrs.sysenter_eip),
    ];
    for (name, value) in named {
        items.extend(value.map(|value| Item::quad(name, &[index], value)));
    }
}

/// The FXSAVE image, and what XSAVE has beyond it.
fn blocks_of(vectors: &Vectors, index: u32) -> Vec<Item> {
    let mut items = vec![Item::plain_block("fpu:fxstate", &[index], vectors.fxsave.clone())];
    if vectors.components.is_empty() {
        return items;
    }
    let in_use = vectors.components.iter().fold(3_u64, |bits, (number, _)| bits | 1 << number);
    items.push(Item::plain_block("xsave:xheader", &[index], quads(&[in_use, 0, 0, 0, 0, 0, 0, 0])));
    for (number, bytes) in &vectors.components {
        items.push(Item::plain_block("xsave:subleaf", &[index, *number], bytes.clone()));
    }
    items
}
