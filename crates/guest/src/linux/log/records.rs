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

/// Sizes of the head: `caller_id` makes it longer by 4 or, aligned, 8 bytes.
const HEAD_LENS: [u64; 3] = [HEAD_LEN, 20, 24];
/// Records that show which head they have.
const SHOWN: usize = 8;
/// No kernel has run for nine years.
const LONGEST_UPTIME: u64 = 1 << 58;

/// The buffer.
#[derive(Clone, Copy)]
pub(super) struct Buffer {
    pub(super) at: Gva,
    pub(super) len: u64,
    pub(super) head: HeadShape,
}

/// `struct printk_log`, `struct log` until 3.10.
#[derive(Clone, Copy)]
pub(super) struct HeadShape {
    pub(super) size: u64,
    time: u64,
    len: u64,
    text_len: u64,
    /// In 3.5 one number has facility and level, as `<30>` has them, and there are no flags.
    has_priority: bool,
}

impl HeadShape {
    /// As VMCOREINFO (since 3.11) or the layouts have it.
    fn stated(shape: &Shape<'_>) -> Result<Self, LinuxError> {
        Ok(Self {
            size: shape.size("printk_log")?,
            time: shape.offset("printk_log", "ts_nsec")?,
            len: shape.offset("printk_log", "len")?,
            text_len: shape.offset("printk_log", "text_len")?,
            has_priority: false,
        })
    }

    /// As the records at an address show it: time, length, length of the text and of what
    /// follows it, which have always been in this order.
    pub(super) fn learned(at: Gva, window: &mut Window<'_>) -> Option<Self> {
        let shape = |size| Self { size, time: 0, len: 8, text_len: 10, has_priority: false };
        let found = HEAD_LENS.into_iter().map(shape).find(|head| {
            let buffer = Buffer { at, len: u64::from(u32::MAX), head: *head };
            buffer.starts(window).take(SHOWN).count() == SHOWN
        })?;
        let buffer = Buffer { at, len: u64::from(u32::MAX), head: found };
        let starts: Vec<u64> = buffer.starts(window).take(SHOWN).collect();
        let has_flags = starts.into_iter().any(|start| {
            let flags = Gva(at.0.wrapping_add(start).wrapping_add(HEAD_LEN - 1));
            window.uint(flags, 1).is_some_and(|flags| flags != 0)
        });
        Some(Self { has_priority: !has_flags, ..found })
    }
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
    let at = shape.kernel.read_pointer(symbol.value, "log_buf")?;
    let learned = |first: u64| {
        let first = Gva(at.0.wrapping_add(first));
        let mut window = Window::new(shape.kernel);
        // There are few from the oldest to the end of the buffer at times.
        HeadShape::learned(first, &mut window).or_else(|| HeadShape::learned(at, &mut window))
    };
    let buffer = Buffer {
        at,
        len: index("log_buf_len")?,
        head: HeadShape::stated(shape).or_else(|error| learned(first).ok_or(error))?,
    };
    let how = format!("records at {}, {}", buffer.at, symbol.how);
    let mut log = Log { how, ..Log::default() };
    buffer.collect(first, next, &mut Window::new(shape.kernel), &mut log);
    Ok(log)
}

impl Buffer {
    /// Offsets of the records from the first on, as far as each is followed by another.
    fn starts(&self, window: &mut Window<'_>) -> impl Iterator<Item = u64> {
        let mut at = 0_u64;
        std::iter::from_fn(move || {
            let (len, _) = self.length_and_time(at, window)??;
            let start = at;
            at = at.checked_add(len)?;
            Some(start)
        })
    }

    /// Length and time of what must be a record: lengths that fit, and text; none if it has
    /// no length.
    #[expect(clippy::option_option, reason = "broken, the end of the buffer, or a record")]
    pub(super) fn length_and_time(
        &self,
        offset: u64,
        window: &mut Window<'_>,
    ) -> Option<Option<(u64, u64)>> {
        let at = self.at.0.checked_add(offset)?;
        let mut uint = |offset: u64, len| window.uint(Gva(at.wrapping_add(offset)), len);
        let (time_ns, len) = (uint(self.head.time, 8)?, uint(self.head.len, 2)?);
        if len == 0 {
            return (time_ns == 0).then_some(None);
        }
        let (text_len, more) =
            (uint(self.head.text_len, 2)?, uint(self.head.text_len.wrapping_add(2), 2)?);
        let used = self.head.size.saturating_add(text_len).saturating_add(more);
        let fits = (used..used.saturating_add(8)).contains(&len) && len.is_multiple_of(4);
        (fits && time_ns < LONGEST_UPTIME).then_some(())?;
        let text =
            window.get(Gva(at.wrapping_add(self.head.size)), usize::try_from(text_len).ok()?)?;
        let is_text = |byte: &u8| *byte >= b' ' || b"\n\t\x1b\r".contains(byte);
        text.iter().all(is_text).then_some(Some((len, time_ns)))
    }

    pub(super) fn collect(&self, first: u64, next: u64, window: &mut Window<'_>, log: &mut Log) {
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
        let (facility, level, flags) = if self.head.has_priority {
            (facility >> 3, facility & 7, NEWLINE)
        } else {
            (facility, level >> 5, level & 0x1f)
        };
        let record = Record {
            time_ns: Some(time_ns),
            level: Some(level),
            facility: Some(facility),
            caller: caller.and_then(|id| u32::try_from(id).ok()).map(Caller::of),
            text: text_of(text),
        };
        Some(Some(Raw { len, flags, record }))
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
