//! The records of 3.5 to 5.9 (`struct printk_log`, kernel/printk/printk.c).
//!
//! A head of 16 bytes or more, then the text, then pairs of names and values
//! that nobody prints. Records lie one after the other; one of length 0 says
//! that the next is at the start of the buffer.

use vmss2core_mem::{Gva, Problem};

use super::{Caller, Log, MOST_CHARACTERS, MOST_RECORDS, Record, Shape, Window, text_of};
use crate::linux::LinuxError;

/// The text is the end of a line.
const NEWLINE: u8 = 2;
/// The text begins a line whatever came before.
const PREFIX: u8 = 4;
/// The text is a part of a line.
const CONT: u8 = 8;
/// The head without `caller_id` (CONFIG_PRINTK_CALLER, since 5.1).
const HEAD_LEN: u64 = 16;

/// The buffer.
struct Buffer {
    at: Gva,
    len: u64,
    head: HeadShape,
}

/// `struct printk_log`.
struct HeadShape {
    size: u64,
    time: u64,
    len: u64,
    text_len: u64,
}

/// One record as it lies there.
struct Raw {
    len: u64,
    flags: u8,
    record: Record,
}

/// Reads all records.
pub(super) fn read(shape: &Shape<'_>) -> Result<Log, LinuxError> {
    let index = |name: &str| shape.kernel.read_uint(shape.kernel.symbol(name)?.value, 4, name);
    let (first, next) = (index("log_first_idx")?, index("log_next_idx")?);
    let symbol = shape.kernel.symbol("log_buf")?;
    let buffer = Buffer {
        at: shape.kernel.read_pointer(symbol.value, "log_buf")?,
        len: index("log_buf_len")?,
        head: HeadShape {
            size: shape.size("printk_log")?,
            time: shape.offset("printk_log", "ts_nsec")?,
            len: shape.offset("printk_log", "len")?,
            text_len: shape.offset("printk_log", "text_len")?,
        },
    };
    let how = format!("records at {}, {}", buffer.at, symbol.how);
    let mut log = Log { how, ..Log::default() };
    buffer.collect(first, next, &mut Window::new(shape.kernel), &mut log);
    Ok(log)
}

impl Buffer {
    fn collect(&self, first: u64, next: u64, window: &mut Window<'_>, log: &mut Log) {
        let (mut at, mut last_flags) = (first, NEWLINE);
        let (mut walked, mut characters) = (0_u64, 0_usize);
        while at != next {
            let Some(raw) = self.record(at, window) else {
                let message =
                    format!("the kernel's log is torn at offset {at:#x}: the rest is missing");
                log.problems.push(Problem::incomplete(message));
                return;
            };
            let Some(raw) = raw else {
                // A wrap at the start of the buffer would go on for ever.
                if at == 0 {
                    break;
                }
                at = 0;
                continue;
            };
            at = at.saturating_add(raw.len);
            walked = walked.saturating_add(raw.len);
            characters = characters.saturating_add(raw.record.text.len());
            // What has been walked twice over has no end.
            if walked > self.len || characters > MOST_CHARACTERS {
                log.problems
                    .push(Problem::incomplete("the kernel's log has no end: the rest is left out"));
                return;
            }
            if (log.records.len() as u64) < MOST_RECORDS {
                add(log, raw.record, raw.flags, last_flags);
            }
            last_flags = raw.flags;
        }
    }

    /// The record at an offset, none if the buffer goes on at its start.
    #[expect(clippy::option_option, reason = "broken, the end of the buffer, or a record")]
    fn record(&self, offset: u64, window: &mut Window<'_>) -> Option<Option<Raw>> {
        if offset.checked_add(self.head.size)? > self.len {
            return None;
        }
        let at = Gva(self.at.0.wrapping_add(offset));
        let mut uint = |offset: u64, len| window.uint(Gva(at.0.wrapping_add(offset)), len);
        let len = uint(self.head.len, 2)?;
        if len == 0 {
            return Some(None);
        }
        // text_len: u16, dict_len: u16, facility: u8, flags: 5 bits, level: 3 bits.
        let packed = uint(self.head.text_len, 6)?;
        let [low, high, _, _, facility, level, ..] = packed.to_le_bytes();
        let text_len = u16::from_le_bytes([low, high]);
        let fits = self.head.size.saturating_add(u64::from(text_len)) <= len
            && offset.saturating_add(len) <= self.len;
        let time_ns = uint(self.head.time, 8).filter(|_| fits)?;
        let caller = if self.head.size > HEAD_LEN { uint(HEAD_LEN, 4) } else { None };
        let text = window.get(Gva(at.0.wrapping_add(self.head.size)), text_len.into())?;
        let record = Record {
            time_ns: Some(time_ns),
            level: Some(level >> 5),
            facility: Some(facility),
            caller: caller.and_then(|id| u32::try_from(id).ok()).map(Caller::of),
            text: text_of(text),
        };
        Some(Some(Raw { len, flags: level & 0x1f, record }))
    }
}

/// Adds a record, or goes on with the line of the last one, as
/// `msg_print_text` decides.
fn add(log: &mut Log, record: Record, flags: u8, last_flags: u8) {
    let goes_on = last_flags & (CONT | NEWLINE) == CONT && flags & PREFIX == 0;
    match log.records.last_mut() {
        Some(last) if goes_on => last.text.push_str(&record.text),
        _ => log.records.push(record),
    }
}
