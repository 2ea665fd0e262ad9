//! Reads the registers that QEMU's monitor prints for `info registers -a`
//! (`x86_cpu_dump_state` in QEMU's target/i386/cpu-dump.c).

use anyhow::{Context, Result, ensure};

use crate::registers::{CpuRegisters, GPR_NAMES, SEGMENT_NAMES, SegmentValue, TableValue};

/// The registers of every processor, in order.
pub(crate) fn parse(text: &str) -> Result<Vec<CpuRegisters>> {
    let cpus: Vec<_> = text.split("CPU#").skip(1).collect();
    ensure!(!cpus.is_empty(), "no processor in what the monitor printed: {text}");
    let parse = |cpu: &&str| parse_cpu(cpu).with_context(|| format!("registers: {cpu}"));
    cpus.iter().map(parse).collect()
}

fn parse_cpu(text: &str) -> Result<CpuRegisters> {
    let mut cpu = CpuRegisters {
        rip: number(text, "RIP").or_else(|_| number(text, "EIP"))?,
        rflags: number(text, "RFL").or_else(|_| number(text, "EFL"))?,
        cr0: number(text, "CR0")?,
        cr2: number(text, "CR2")?,
        cr3: number(text, "CR3")?,
        cr4: number(text, "CR4")?,
        efer: number(text, "EFER")?,
        gdt: table(text, "GDT")?,
        idt: table(text, "IDT")?,
        halted: number(text, "HLT")? == 1,
        fxsave: Some(fxsave(text)?),
        ymm_high: upper_halves(text)?,
        ..CpuRegisters::default()
    };
    for (slot, name) in cpu.gpr.iter_mut().zip(GPR_NAMES) {
        *slot = general(text, name)?;
    }
    for (slot, name) in cpu.segments.iter_mut().zip(SEGMENT_NAMES) {
        *slot = segment(text, name)?;
    }
    for (index, slot) in cpu.dr.iter_mut().enumerate().filter(|(index, _)| !matches!(index, 4 | 5))
    {
        *slot = number(text, &format!("DR{index}"))?;
    }
    Ok(cpu)
}

/// A 32-bit processor has `EAX` for `RAX`, and no R8 to R15.
fn general(text: &str, name: &str) -> Result<u64> {
    let upper = name.to_uppercase();
    match number(text, &upper) {
        Err(_) if upper.ends_with(|last: char| last.is_ascii_digit()) => Ok(0),
        Err(_) => number(text, &upper.replacen('R', "E", 1)),
        found => found,
    }
}

/// The text after `NAME=` (blanks may stand before the sign) up to the line's end.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        line.match_indices(name).find_map(|(at, _)| {
            let before = line.get(..at)?.chars().next_back();
            let rest = line.get(at + name.len()..)?.trim_start().strip_prefix('=')?;
            before.is_none_or(|before| before == ' ').then(|| rest.trim_start())
        })
    })
}

fn words<'a>(text: &'a str, name: &str) -> Result<impl Iterator<Item = &'a str>> {
    Ok(after(text, name).with_context(|| format!("no {name}"))?.split_whitespace())
}

fn hex(word: Option<&str>, name: &str) -> Result<u64> {
    let word = word.with_context(|| format!("{name} is cut off"))?;
    u64::from_str_radix(word, 16).with_context(|| format!("{name}: {word}"))
}

fn number(text: &str, name: &str) -> Result<u64> {
    hex(words(text, name)?.next(), name)
}

/// `CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]`
fn segment(text: &str, name: &str) -> Result<SegmentValue> {
    let mut words = words(text, name)?;
    Ok(SegmentValue {
        selector: u16::try_from(hex(words.next(), name)?)?,
        base: hex(words.next(), name)?,
        limit: u32::try_from(hex(words.next(), name)?)?,
        flags: u32::try_from(hex(words.next(), name)?)?,
    })
}

/// `GDT=     fffffe0000001000 0000007f`
fn table(text: &str, name: &str) -> Result<TableValue> {
    let mut words = words(text, name)?;
    let base = hex(words.next(), name)?;
    Ok(TableValue { base, limit: u16::try_from(hex(words.next(), name)?)? })
}

/// The x87 and SSE registers in the layout of `FXSAVE` (Intel SDM volume 1, 10.5.1).
fn fxsave(text: &str) -> Result<Vec<u8>> {
    let status = number(text, "FSW")?;
    let mut image = Vec::with_capacity(512);
    image.extend(low_bytes(number(text, "FCW")?, 2));
    image.extend(low_bytes(status, 2));
    image.extend(low_bytes(number(text, "FTW")?, 1));
    // Reserved byte, opcode and the two pointers: QEMU does not print them.
    image.resize(24, 0);
    image.extend(low_bytes(number(text, "MXCSR")?, 4));
    image.extend(low_bytes(0xffff, 4));
    let top = (status >> 11) & 7;
    for index in 0..8 {
        // The image is in stack order, the monitor prints physical registers.
        image.extend(stack_register(text, (top + index) & 7)?);
    }
    for index in 0..16 {
        image.extend(vector_register(text, index)?);
    }
    image.resize(512, 0);
    Ok(image)
}

fn low_bytes(value: u64, count: usize) -> impl Iterator<Item = u8> {
    value.to_le_bytes().into_iter().take(count)
}

/// `FPR0=mantissa exponent`, 10 bytes padded to 16.
fn stack_register(text: &str, index: u64) -> Result<Vec<u8>> {
    let name = format!("FPR{index}");
    let mut words = words(text, &name)?;
    let mut bytes: Vec<u8> = low_bytes(hex(words.next(), &name)?, 8).collect();
    bytes.extend(low_bytes(hex(words.next(), &name)?, 2));
    bytes.resize(16, 0);
    Ok(bytes)
}

/// `XMM00=high low`, or `YMM00=` with two more words in front. A 32-bit
/// processor has 8 of them.
fn vector_register(text: &str, index: usize) -> Result<Vec<u8>> {
    let Some(digits) = vector_digits(text, index, &["XMM", "YMM", "ZMM"]) else {
        ensure!(index >= 8, "no XMM{index:02}");
        return Ok(vec![0; 16]);
    };
    lane(&digits, 0).with_context(|| format!("XMM{index:02}: {digits}"))
}

/// The upper halves of all YMM registers; `None` if the monitor prints none.
fn upper_halves(text: &str) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    for index in 0..16 {
        let Some(digits) = vector_digits(text, index, &["YMM", "ZMM"]) else { break };
        bytes.extend(lane(&digits, 1).with_context(|| format!("YMM{index:02}: {digits}"))?);
    }
    if !bytes.is_empty() {
        bytes.resize(256, 0);
    }
    Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
}

/// The digits of a register under one of these names, the highest first.
fn vector_digits(text: &str, index: usize, kinds: &[&str]) -> Option<String> {
    let line = kinds.iter().find_map(|kind| after(text, &format!("{kind}{index:02}")))?;
    // An XMM line has two registers in it, a YMM line one.
    let own = line.split("XMM").next().unwrap_or_default();
    Some(own.split_whitespace().collect())
}

/// 16 bytes of a register, counted from the lowest.
fn lane(digits: &str, number: usize) -> Option<Vec<u8>> {
    let end = digits.len().checked_sub(32 * number)?;
    let value = u128::from_str_radix(digits.get(end.checked_sub(32)?..end)?, 16).ok()?;
    Some(value.to_le_bytes().to_vec())
}

#[cfg(test)]
mod tests;
