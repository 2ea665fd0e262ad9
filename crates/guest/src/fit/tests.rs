use std::sync::Arc;

use vmss2core_machine::x86::{ControlRegisters, Msrs};
use vmss2core_machine::{Registers, Vcpu, x86};

use super::*;

const ROOT: u64 = 0x1000;
const KERNEL: u64 = 0xffff_ffff_8100_0000;
const PROGRAM: u64 = 0x40_0000;
/// Present, writable; for programs; not to be executed.
const PLAIN: u64 = 3;
const USER: u64 = 4;
const NO_EXECUTE: u64 = 1 << 63;

/// 1 MiB with tables at [`ROOT`] that map a page of the kernel, 0x8000, and one of a program,
/// 0x9000, with these flags.
fn memory(kernel: u64, program: u64) -> PhysicalMemory {
    let mut ram = vec![0_u8; 1 << 20];
    let mut set = |at: u64, entry: u64| {
        let at = usize::try_from(at).unwrap();
        ram[at..at + 8].copy_from_slice(&entry.to_le_bytes());
    };
    for (first, gva, page) in
        [(0x2000, KERNEL, 0x8000 | kernel), (0x5000, PROGRAM, 0x9000 | program)]
    {
        let mut table = ROOT;
        for (level, next) in [(39, first), (30, first + 0x1000), (21, first + 0x2000)] {
            set(table + (gva >> level & 511) * 8, next | PLAIN | USER);
            table = next;
        }
        set(table + (gva >> 12 & 511) * 8, page);
    }
    let mut memory = PhysicalMemory::new();
    let len = ram.len() as u64;
    memory.map(Gpa(0), len, Arc::new(ram), 0).unwrap();
    memory
}

fn vcpu(rip: u64, cr3: u64) -> x86::Registers {
    let mut vcpu = x86::Registers { rip: Some(rip), ..x86::Registers::default() };
    vcpu.control.cr0 = Some(0x8000_0001);
    vcpu.control.cr3 = Some(cr3);
    vcpu.control.cr4 = Some(0x20);
    vcpu.msrs.efer = Some(0xd01);
    vcpu.segments.cs.selector = Some(if rip >> 63 == 1 { 0x10 } else { 0x33 });
    vcpu
}

fn said(memory: PhysicalMemory, vcpus: Vec<x86::Registers>) -> Option<String> {
    let vcpus = (0..).zip(vcpus).map(|(index, x86)| Vcpu {
        index,
        halted: None,
        registers: Registers::X86(Box::new(x86)),
    });
    let checkpoint = Checkpoint { memory, vcpus: vcpus.collect(), ..Checkpoint::default() };
    misfit(&checkpoint).map(|problem| problem.message)
}

#[test]
fn page_tables_that_map_what_is_executed_fit() {
    for rip in [KERNEL, PROGRAM, KERNEL + 0x1000] {
        assert_eq!(said(memory(PLAIN, PLAIN | USER), vec![vcpu(rip, ROOT)]), None, "{rip:#x}");
    }
    let free = x86::Registers { msrs: Msrs::default(), ..vcpu(KERNEL, ROOT) };
    assert_eq!(said(memory(PLAIN | NO_EXECUTE, PLAIN | USER), vec![free]), None);
}

#[test]
fn page_tables_that_do_not_map_it_are_of_another_moment() {
    let plain = || memory(PLAIN, PLAIN | USER);
    for (memory, rip, cr3) in [
        (plain(), KERNEL + 0x2000, ROOT),
        (plain(), KERNEL, 0x7000),
        (memory(PLAIN | NO_EXECUTE, PLAIN | USER), KERNEL, ROOT),
        (memory(PLAIN, PLAIN), PROGRAM, ROOT),
    ] {
        let said = said(memory, vec![vcpu(rip, cr3)]).unwrap();
        assert!(said.contains(&format!("(vCPU 0: {}", Gva(rip))), "{said}");
        assert!(said.contains("of different moments"), "{said}");
    }
}

#[test]
fn page_tables_that_are_not_there_show_that_memory_was_cut_off() {
    let said = said(memory(PLAIN, PLAIN | USER), vec![vcpu(KERNEL, 0x133f_c000)]).unwrap();
    assert!(said.contains("vCPU 0 (0x133fc000) lead to 0x133fcff8"), "{said}");
    assert!(said.contains("it ends at 0x100000"), "{said}");
}

/// What has not started, runs firmware, or runs a guest of the guest says nothing; and one
/// processor that fits is proof enough.
#[test]
fn processors_that_cannot_tell_do_not() {
    let foreign = || vcpu(KERNEL, 0x7000);
    let off = x86::Registers { control: ControlRegisters::default(), ..vcpu(0xfff0, 0) };
    let mut real = vcpu(0xfff0, 0);
    real.control.cr0 = Some(0x10);
    let in_rom = {
        // A page at 4 GiB less 64 KiB.
        vcpu(PROGRAM, ROOT)
    };
    let rom = || memory(PLAIN, 0xffff_0000_u64 & !0x9000 | PLAIN | USER);
    assert_eq!(said(memory(PLAIN, PLAIN | USER), vec![off.clone(), real.clone()]), None);
    assert_eq!(said(rom(), vec![in_rom, real.clone()]), None);
    let fits = vcpu(KERNEL, ROOT);
    assert_eq!(said(memory(PLAIN, PLAIN | USER), vec![foreign(), off.clone(), fits]), None);
    let said = said(memory(PLAIN, PLAIN | USER), vec![off, real, foreign()]).unwrap();
    assert!(said.contains("vCPU 2"), "{said}");
    assert_eq!(super::misfit(&Checkpoint::default()), None);
}
