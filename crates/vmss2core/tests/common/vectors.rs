//! What QEMU has of x87 and vector registers, as debuggers should show it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use vmss2core_lab::CpuRegisters;

/// Bytes of a little-endian number as hexadecimal digits, without leading zeroes.
pub fn hex(bytes: &[u8]) -> String {
    let digits: Vec<_> = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
    let digits = digits.concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() { "0".to_owned() } else { digits.to_owned() }
}

fn part(bytes: &[u8], at: usize, len: usize) -> Result<&[u8]> {
    bytes.get(at..at + len).with_context(|| format!("no {len} bytes at {at}"))
}

/// Registers by name. YMM registers only where their upper halves are known.
pub fn of(cpu: &CpuRegisters, count: usize) -> Result<BTreeMap<String, String>> {
    let image = cpu.fxsave.as_deref().context("no FXSAVE image")?;
    let mut all = BTreeMap::new();
    for (name, at, len) in [("fctrl", 0, 2), ("fstat", 2, 2), ("mxcsr", 24, 4)] {
        all.insert(name.to_owned(), hex(part(image, at, len)?));
    }
    for index in 0..8 {
        all.insert(format!("st{index}"), hex(part(image, 32 + 16 * index, 10)?));
    }
    for index in 0..count {
        let low = part(image, 160 + 16 * index, 16)?;
        all.insert(format!("xmm{index}"), hex(low));
        if let Some(upper) = &cpu.ymm_high {
            all.insert(format!("ymm{index}"), hex(&[low, part(upper, 16 * index, 16)?].concat()));
        }
    }
    Ok(all)
}

/// A thread has these registers, as our scripts print them: `register THREAD NAME HEX`.
pub fn ensure_shown(
    what: &str,
    said: &str,
    thread: u64,
    expected: &BTreeMap<String, String>,
) -> Result<()> {
    for (name, value) in expected {
        let line = format!("register {thread} {name} {value}");
        ensure!(said.lines().any(|said| said == line), "{what}: no {line:?} in\n{said}");
    }
    Ok(())
}
