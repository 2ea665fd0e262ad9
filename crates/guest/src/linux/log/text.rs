//! The ring of characters up to 3.4 (kernel/printk.c): lines with their level
//! in angle brackets and, if the kernel was told to, the time in square ones.

use vmss2core_mem::Problem;

use super::{Log, Record, Shape, text_of};
use crate::linux::LinuxError;

/// The largest ring that a kernel can be given is smaller.
const LONGEST: u64 = 64 << 20;

/// Reads all lines.
pub(super) fn read(shape: &Shape<'_>) -> Result<Log, LinuxError> {
    let symbol = shape.kernel.symbol("log_buf")?;
    let at = shape.kernel.read_pointer(symbol.value, "log_buf")?;
    let number = |name: &str| shape.kernel.read_uint(shape.kernel.symbol(name)?.value, 4, name);
    let (len, end, logged) = (number("log_buf_len")?, number("log_end")?, number("logged_chars")?);
    if !len.is_power_of_two() || len > LONGEST {
        let why = format!("its length is {len:#x}");
        return Err(LinuxError::Corrupt { what: "the kernel's log".to_owned(), at, why });
    }
    let mut ring = vec![0; usize::try_from(len).unwrap_or(0)];
    shape.kernel.read(at, &mut ring, "log_buf")?;
    let mut log = Log {
        how: format!("characters at {at}, {}", symbol.how),
        records: lines(&unrolled(&ring, end, logged)),
        problems: Vec::new(),
    };
    if logged > len && end > len {
        log.problems.push(Problem::note("the kernel's log has lost its oldest messages"));
    }
    Ok(log)
}

/// The characters in order. `log_end` counts all that were ever written.
pub(super) fn unrolled(ring: &[u8], end: u64, logged: u64) -> Vec<u8> {
    let len = ring.len() as u64;
    let count = end.min(logged).min(len);
    let at = |position: u64| {
        let index = usize::try_from(position & len.wrapping_sub(1)).ok()?;
        ring.get(index).copied()
    };
    (end.saturating_sub(count)..end).filter_map(at).collect()
}

/// One record for each line. The first may be the end of one that was overwritten.
pub(super) fn lines(text: &[u8]) -> Vec<Record> {
    let lines = text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty()).map(line).collect()
}

fn line(line: &[u8]) -> Record {
    let text = text_of(line);
    let (priority, rest) = priority(&text).unzip();
    let rest = rest.unwrap_or(&text);
    let (time_ns, rest) = time(rest).map_or((None, rest), |(time, rest)| (Some(time), rest));
    Record {
        time_ns,
        level: priority.map(|priority: u8| priority & 7),
        facility: priority.map(|priority| priority >> 3),
        caller: None,
        text: rest.to_owned(),
    }
}

/// `<6>`
fn priority(text: &str) -> Option<(u8, &str)> {
    let (digits, rest) = text.strip_prefix('<')?.split_once('>')?;
    Some((digits.parse().ok()?, rest))
}

/// `[    1.234567] `
fn time(text: &str) -> Option<(u64, &str)> {
    let (time, rest) = text.strip_prefix('[')?.split_once(']')?;
    let (seconds, micros) = time.trim_start().split_once('.')?;
    if micros.len() != 6 {
        return None;
    }
    let (seconds, micros): (u64, u64) = (seconds.parse().ok()?, micros.parse().ok()?);
    let time_ns = seconds.checked_mul(1_000_000_000)?.checked_add(micros.saturating_mul(1000))?;
    Some((time_ns, rest.strip_prefix(' ').unwrap_or(rest)))
}
