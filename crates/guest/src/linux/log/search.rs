//! The log of a kernel that names no variables, or not these, found by what it holds.
//!
//! A buffer of records is where a variable points at record after record, each with the
//! lengths that fit. A ring of characters is a variable itself, or one leads to it: nothing
//! but lines that begin with their level, and another variable says how many characters
//! there are. Where the oldest of them have been overwritten, the newest end at the one
//! place after which the times are older.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use memchr::{memchr, memmem};
use vmss2core_machine::paging::Limits;
use vmss2core_mem::{Gva, Sums, little_endian};

use super::records::{Buffer, HeadShape};
use super::text::{lines, unrolled};
use super::{Log, Shape, Window};
use crate::linux::{Kernel, arch};

/// The variables of a 32-bit kernel follow its code and constants.
const NEAR: u64 = 32 << 20;
/// Bytes of variables that are looked at, at most.
const MOST_BYTES: u64 = 64 << 20;
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
    records(shape.kernel, &variables).or_else(|| characters(&variables))
}

/// The kernel's variables.
struct Variables {
    word_len: u64,
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Variables {
    /// What of the image may be written to, of one that protects nothing all; for a 32-bit
    /// kernel, what follows its constants too.
    fn of(kernel: &Kernel) -> Option<Self> {
        let text = kernel.linux().text.as_ref()?.value;
        let more = if kernel.linux().is_64_bit { 0 } else { NEAR };
        let end = text.start.0.saturating_add(text.len).saturating_add(more);
        let half = arch::kernel_half(kernel.space().mode());
        let range = text.start.0..end.min(half.end);
        let limits = Limits { visits_per_table: 8, tables: 1 << 12, runs: 1 << 12 };
        let mut runs = Vec::new();
        kernel.space().walk_range(range.clone(), &limits, &mut |leaf| {
            runs.push(leaf);
            ControlFlow::Continue(())
        });
        let is_protected = runs.iter().any(|run| !run.permissions.write);
        runs.retain(|run| run.permissions.write || !is_protected);
        let mut found = Self { word_len: kernel.word_len(), pieces: Vec::new() };
        let mut left = MOST_BYTES;
        for run in runs {
            let start = run.gva.0.max(range.start);
            let end = run.gva.0.saturating_add(run.len_bytes()).min(range.end);
            let len = end.saturating_sub(start).min(left);
            left = left.minus(len);
            let mut bytes = vec![0; usize::try_from(len).ok()?];
            if kernel.space().read(Gva(start), &mut bytes).is_ok() {
                found.add(start, bytes);
            }
        }
        Some(found)
    }

    /// Adds bytes, to those that they follow.
    fn add(&mut self, start: u64, bytes: Vec<u8>) {
        match self.pieces.last_mut() {
            Some((at, before)) if at.plus(before.len() as u64) == start => before.extend(bytes),
            _ => self.pieces.push((start, bytes)),
        }
    }

    /// All numbers of 4 bytes, piece by piece.
    fn numbers(&self) -> impl Iterator<Item = Vec<u32>> {
        self.pieces.iter().map(|(_, bytes)| {
            let number = |bytes: &[u8]| u32::try_from(little_endian(bytes)).unwrap_or(0);
            bytes.chunks_exact(4).map(number).collect()
        })
    }

    /// All words that are alike pointers to the kernel's half, each once.
    fn pointers(&self, lowest: u64) -> BTreeSet<u64> {
        let word_len = usize::try_from(self.word_len).unwrap_or(8);
        let words = self.pieces.iter().flat_map(|(_, bytes)| bytes.chunks_exact(word_len));
        let is_pointer = |word: &u64| *word >= lowest && word.is_multiple_of(4);
        words.map(little_endian).filter(is_pointer).collect()
    }
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
                is_log(text).then(|| ring(variables, start.plus(at as u64), text)).flatten()
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
fn ring(variables: &Variables, start: u64, text: &[u8]) -> Option<Log> {
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
