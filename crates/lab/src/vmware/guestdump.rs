//! `debug.guest` files: what a debug build of the monitor leaves behind.

use anyhow::{Context, Result, bail, ensure};

use super::contents::Contents;
use super::machine::{Cpu, Machine, MemoryRange};

const PAGE: u64 = 4096;

/// The state file in format `version`; its memory file is the flat memory.
pub fn guest_dump(machine: &Machine, version: u32) -> Result<Contents> {
    let holes = holes(&machine.memory)?;
    let mut out = Vec::new();
    put_words(&mut out, &[version, u32::try_from(machine.cpus.len())?]);
    let info_at = match version {
        1 => 21,
        3..=5 => 22,
        6 => 23,
        7 => 16,
        _ => bail!("nothing is known about version {version}"),
    };
    out.resize(info_at, 0);
    let end = machine.memory.last().map_or(0, |range| range.gpa + range.len);
    let pages = machine.len_bytes() / PAGE;
    if version == 1 {
        info_1(&mut out, end, pages, &holes)?;
    } else {
        info(&mut out, end, pages, &holes)?;
    }
    if version == 7 {
        put_words(&mut out, &[1]);
        out.resize(83, 0);
    }
    for cpu in &machine.cpus {
        vcpu(&mut out, cpu, version);
    }
    Ok(out.into())
}

/// Pages between the ranges, as (first, count).
fn holes(ranges: &[MemoryRange]) -> Result<Vec<(u64, u64)>> {
    let mut at = 0;
    let mut holes = Vec::new();
    for range in ranges {
        if range.gpa > at {
            holes.push((at / PAGE, (range.gpa - at) / PAGE));
        }
        at = range.gpa + range.len;
    }
    ensure!(holes.len() <= 2, "{} holes, the format has room for two", holes.len());
    Ok(holes)
}

fn put_words(out: &mut Vec<u8>, words: &[u32]) {
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

fn put_quads(out: &mut Vec<u8>, quads: &[u64]) {
    out.extend(quads.iter().flat_map(|quad| quad.to_le_bytes()));
}

fn info_1(out: &mut Vec<u8>, end: u64, pages: u64, holes: &[(u64, u64)]) -> Result<()> {
    put_quads(out, &[end - 1]);
    put_words(out, &[u32::try_from(pages)?, 0, u32::try_from(holes.len())?]);
    for index in 0..2 {
        let (first, count) = holes.get(index).copied().unwrap_or_default();
        put_words(out, &[u32::try_from(first)?, u32::try_from(count)?]);
    }
    out.resize(out.len() + 8 * holes.len() + 4, 0);
    Ok(())
}

fn info(out: &mut Vec<u8>, end: u64, pages: u64, holes: &[(u64, u64)]) -> Result<()> {
    put_quads(out, &[end - 1, pages]);
    put_words(out, &[0, u32::try_from(holes.len())?]);
    for index in 0..2 {
        let (first, count) = holes.get(index).copied().unwrap_or_default();
        put_quads(out, &[first, count]);
    }
    Ok(())
}

fn vcpu(out: &mut Vec<u8>, cpu: &Cpu, version: u32) {
    let [cr0, _, cr2, cr3, cr4] = cpu.control;
    put_words(out, &[u32::try_from(cr0 & 0xffff_ffff).unwrap_or_default()]);
    put_quads(out, &[cr2, cr3, cr4]);
    put_quads(out, &[0; 10]);
    put_quads(out, &[cpu.idtr.base]);
    let gap = if version < 4 { 45 } else { 42 };
    out.resize(out.len() + gap, 0);
    put_quads(out, &user_registers(cpu));
    out.resize(out.len() + 17 + 4096, 0);
}

/// In the order of Linux' `user_regs_struct`.
fn user_registers(cpu: &Cpu) -> [u64; 27] {
    let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] =
        cpu.general;
    let [es, cs, ss, ds, fs, gs, _, _] = cpu.segments.map(|(selector, _)| u64::from(selector));
    let [_, _, _, _, (_, fs_base), (_, gs_base), _, _] = cpu.segments;
    let flags = u64::from(cpu.rflags);
    [
        r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, rax, cpu.rip, cs,
        flags, rsp, ss, fs_base, gs_base, ds, es, fs, gs,
    ]
}

/// Length that a state file of this version has, from the published sums.
pub fn guest_dump_len(version: u32, cpus: u64, holes: u64) -> Result<u64> {
    let known = [(1, 61 + 8 * holes, 4490), (3, 78, 4490), (4, 78, 4487), (5, 78, 4487)];
    let known = known.into_iter().chain([(6, 79, 4487), (7, 83, 4487)]);
    let (_, front, each) =
        known.into_iter().find(|(v, ..)| *v == version).context("unknown version")?;
    Ok(front + cpus * each)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_the_published_ones() {
        for version in [1, 3, 4, 5, 6, 7] {
            for (holes, ranges) in
                [vec![(0, 8192)], vec![(0, 4096), (8192, 4096)], vec![(4096, 4096), (16384, 4096)]]
                    .iter()
                    .enumerate()
            {
                let machine = Machine::synthetic(ranges, 2);
                let len = guest_dump(&machine, version).unwrap().len();
                assert_eq!(len, guest_dump_len(version, 2, holes as u64).unwrap(), "{version}");
            }
        }
        assert!(guest_dump(&Machine::synthetic(&[(0, 4096)], 1), 2).is_err());
    }
}
