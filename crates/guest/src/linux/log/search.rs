//! The log of a kernel that names no variables, or not these, found by what it holds.
//!
//! What a ring of descriptors holds is told where it is read ([`ring`]). A buffer of records is where a variable points at record after record, each with the
//! lengths that fit. A ring of characters is a variable itself, or one leads to it: nothing
//! but lines that begin with their level, and another variable says how many characters
//! there are. Where the oldest of them have been overwritten, the newest end at the one
//! place after which the times are older.

use std::collections::BTreeSet;

use memchr::{memchr, memmem};
use vmss2core_mem::{Gva, Sums};

use super::records::{Buffer, HeadShape};
use super::text::{lines, unrolled};
use super::variables::Variables;
use super::{Log, Shape, Window, ring};
use crate::linux::{Kernel, arch};

/// Fewer records or lines are no log.
const FEWEST: u64 = 8;
/// The largest buffers that are configured (`CONFIG_LOG_BUF_SHIFT`), and the smallest.
const LOG2_LENS: std::ops::RangeInclusive<u32> = 12..=25;
/// Alignment of large arrays.
const ALIGNMENT: u64 = 32;
/// A record is shorter.
const LONGEST_RECORD: u64 = 64 << 10;

/// Reads the log, if there is one.
pub(super) fn read(shape: &Shape<'_>) -> Option<Log> {
    let variables = Variables::of(shape.kernel)?;
    let ring = ring::find(shape.kernel, &variables);
    ring.or_else(|| records(shape.kernel, &variables)).or_else(|| characters(&variables))
}

/// The buffer of records that a variable points at.
fn records(kernel: &Kernel, variables: &Variables) -> Option<Log> {
    let lowest = arch::kernel_half(kernel.space().mode()).start;
    let mut window = Window::new(kernel);
    variables.pointers(lowest).into_iter().find_map(|at| {
        let head = HeadShape::learned(Gva(at), &mut window)?;
        let buffer = Buffer { at: Gva(at), len: u64::from(u32::MAX), head };
        let newest = Run::of(&buffer, 0, &mut window);
        (newest.count >= FEWEST).then_some(())?;
        let (first, len) = if newest.ends_in_nothing {
            (0, newest.end)
        } else {
            older(&buffer, &newest, &mut window)?
        };
        let len = len.plus(buffer.head.size);
        let how = format!("records at {}, which a variable of the kernel leads to", buffer.at);
        let mut log = Log { how, ..Log::default() };
        let buffer = Buffer { len, ..buffer };
        buffer.collect(first, newest.end, &mut window, &mut log);
        Some(log)
    })
}

/// Where the oldest records begin, and where they end: at a record without length.
fn older(buffer: &Buffer, newest: &Run, window: &mut Window<'_>) -> Option<(u64, u64)> {
    let start = newest.end;
    (start..start.plus(LONGEST_RECORD)).step_by(4).find_map(|first| {
        let run = Run::of(buffer, first, window);
        let is_older = run.count > 0 && run.last_ns <= newest.first_ns;
        (is_older && run.ends_in_nothing).then_some((first, run.end))
    })
}

/// Records one after the other, in the order of their times.
struct Run {
    count: u64,
    first_ns: u64,
    last_ns: u64,
    /// Offset of what is no record, or an older one.
    end: u64,
    /// What is there has no length.
    ends_in_nothing: bool,
}

impl Run {
    fn of(buffer: &Buffer, first: u64, window: &mut Window<'_>) -> Self {
        /// Times of two processors may be so far apart.
        const JITTER_NS: u64 = 1_000_000_000;
        let mut run =
            Self { count: 0, first_ns: 0, last_ns: 0, end: first, ends_in_nothing: false };
        while let Some(found) = buffer.length_and_time(run.end, window) {
            let Some((len, time_ns)) = found else {
                run.ends_in_nothing = true;
                break;
            };
            if run.count == 0 {
                run.first_ns = time_ns;
            } else if time_ns.saturating_add(JITTER_NS) < run.last_ns {
                break;
            }
            run.last_ns = run.last_ns.max(time_ns);
            run.count = run.count.plus(1);
            run.end = run.end.plus(len);
        }
        run
    }
}

/// The first ring of characters among the variables: copies of it come after them.
fn characters(variables: &Variables) -> Option<Log> {
    variables.pieces.iter().find_map(|(start, bytes)| {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let len = memchr(0, rest).unwrap_or(rest.len());
            let text = rest.get(..len).unwrap_or_default();
            if let Some(log) =
                is_log(text).then(|| lines_of(variables, start.plus(at as u64), text)).flatten()
            {
                return Some(log);
            }
            at = at.plus(len).plus(1);
        }
        None
    })
}

/// Whether there are lines that begin with their level.
fn is_log(text: &[u8]) -> bool {
    let is_level =
        |at: &usize| matches!(text.get(at.plus(1)..at.plus(4)), Some([b'<', b'0'..=b'7', b'>']));
    // What is no log has few line ends.
    text.len() > 256
        && memchr::memchr_iter(b'\n', text).filter(is_level).take(8).count() as u64 >= FEWEST
}

/// The lines of a ring that is all text from an address on.
fn lines_of(variables: &Variables, start: u64, text: &[u8]) -> Option<Log> {
    let records = if let Some((ring, end)) = whole_ring(variables, start, text) {
        lines(&unrolled(ring, end, end))
    } else {
        // What comes before the first line is another variable's.
        let text = text.get(memchr(b'<', text)?..)?;
        let len = u32::try_from(text.len()).ok()?;
        let is_told = variables.numbers().any(|numbers| numbers.contains(&len));
        is_told.then(|| lines(text))?
    };
    let how = format!("characters at {}, lines with their levels", Gva(start));
    Some(Log { how, records, problems: Vec::new() })
}

/// The ring, if all of it is in use, and how many characters were ever written: a number
/// that is there twice (`log_end`, `con_start`), just after the end of a line, where times
/// are older.
fn whole_ring<'t>(variables: &Variables, start: u64, text: &'t [u8]) -> Option<(&'t [u8], u64)> {
    let into = start.checked_next_multiple_of(ALIGNMENT)?.minus(start);
    let text = text.get(usize::try_from(into).ok()?..)?;
    let len = 1_usize.checked_shl(text.len().checked_ilog2()?)?;
    let is_whole = LOG2_LENS.contains(&len.ilog2()) && text.len().minus(len) <= 64;
    let ring = text.get(..len).filter(|_| is_whole)?;
    let mask = len.minus(1);
    let ends = |number: u32| {
        let at = usize::try_from(number).ok()?;
        let last = ring.get(at.minus(1) & mask)?;
        (at >= len && *last == b'\n' && are_older_after(ring, at & mask)).then_some(())
    };
    let mut found = BTreeSet::new();
    for numbers in variables.numbers() {
        for (index, number) in numbers.iter().enumerate() {
            let near = numbers.get(index.plus(1)..index.plus(8).min(numbers.len()));
            let is_twice = near.is_some_and(|near| near.contains(number));
            if is_twice && ends(*number).is_some() {
                found.insert(*number);
            }
        }
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(end), None) => Some((ring, end.into())),
        _ => None,
    }
}

/// Whether the first time after a place is no newer than the last one before it; rings
/// without times say nothing about it.
fn are_older_after(ring: &[u8], at: usize) -> bool {
    let (before, after) = ring.split_at(at.min(ring.len()));
    let last = memmem::rfind(before, b">[").and_then(|at| before.get(at..));
    let first = memmem::find(after, b">[").and_then(|at| after.get(at..));
    let time = |text: &[u8]| {
        let end = memchr(b']', text)?;
        let text = std::str::from_utf8(text.get(2..end)?).ok()?;
        text.trim().parse::<f64>().ok()
    };
    match (last.and_then(time), first.and_then(time)) {
        (Some(before), Some(after)) => after <= before,
        _ => true,
    }
}
