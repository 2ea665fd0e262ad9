//! Searching the kernel image for the tables.
//!
//! Digits are tokens of their own in every kernel, because names have them: the
//! tokens 0x30 to 0x39 spell `0` to `9`, and a pattern as rare as that leads to
//! the table of tokens. Markers and names lie before it.

use std::ops::Range;

use memchr::memmem;
use vmss2core_mem::Gva;

use super::names::{self, NameTable, PER_MARKER};
use super::tokens::{INDEX_LEN, LONGEST_TABLE};
use super::{MOST_SYMBOLS, Source};

/// The tokens of the digits, with the end of the one before.
const DIGITS: &[u8] = b"\x000\x001\x002\x003\x004\x005\x006\x007\x008\x009\0";
const FIRST_DIGIT: usize = 0x30;
/// Bytes of the image read at a time.
const CHUNK: usize = 1 << 20;
/// Tables are aligned to a word, so the index follows soon.
const INDEX_WITHIN: usize = 16;
/// Bytes before the tokens that are searched for markers: since 6.2 three bytes
/// for each symbol may lie between.
const BEFORE_TOKENS: u64 = 2 << 20;
/// Fewer markers than this are no kernel's.
const FEWEST_MARKERS: usize = 20;
/// Bytes that 256 names take.
const STEPS: Range<u64> = 512..76_801;
/// Bytes of a range that are searched: no image has as many constants.
const MOST_SEARCHED: usize = 64 << 20;
/// More runs that look like markers than this are chance or malice.
const MOST_RUNS: usize = 8;
/// More tables of tokens than this are malice.
const MOST_TOKEN_TABLES: usize = 8;

/// Where the tokens are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenPlace {
    pub(super) table: Gva,
    pub(super) index: Gva,
}

/// Names that a search found.
#[derive(Clone, Debug)]
pub(super) struct FoundNames {
    pub(super) num_syms: Gva,
    pub(super) names: NameTable,
}

/// Everything in the image that looks like a table of tokens with its index.
pub(super) fn token_tables(source: &Source) -> Vec<TokenPlace> {
    let mut found = Vec::new();
    for range in &source.ranges {
        let mut at = range.start;
        while at < range.end && found.len() < MOST_TOKEN_TABLES {
            let left = usize::try_from(range.end.saturating_sub(at)).unwrap_or(usize::MAX);
            let len = left.min(CHUNK.saturating_add(DIGITS.len()));
            let Some(bytes) = source.bytes(Gva(at), len) else { break };
            let hits = memmem::find_iter(&bytes, DIGITS);
            found.extend(hits.filter_map(|hit| {
                token_place(source, Gva(at.saturating_add(hit as u64).saturating_add(1)))
            }));
            at = at.saturating_add(CHUNK as u64);
        }
    }
    found.truncate(MOST_TOKEN_TABLES);
    found
}

/// The table that has the token `0` at `zero`, if its index confirms it.
fn token_place(source: &Source, zero: Gva) -> Option<TokenPlace> {
    let bytes = source.bytes_up_to(zero, LONGEST_TABLE);
    let mut ends = memchr::memchr_iter(0, &bytes).map(|end| end.saturating_add(1));
    let mut starts = vec![0];
    starts.extend(ends.by_ref().take(255 - FIRST_DIGIT));
    let table_end = ends.next().filter(|_| starts.len() == 256 - FIRST_DIGIT)?;
    (table_end..table_end.saturating_add(INDEX_WITHIN)).find_map(|at| {
        let index = bytes.get(at..at.saturating_add(INDEX_LEN))?;
        let index: Vec<usize> =
            index.as_chunks().0.iter().map(|start| u16::from_le_bytes(*start).into()).collect();
        let first = *index.get(FIRST_DIGIT).filter(|_| index.first() == Some(&0))?;
        let confirmed = starts.iter().zip(index.get(FIRST_DIGIT..)?);
        confirmed
            .into_iter()
            .all(|(start, index)| *index == first.saturating_add(*start))
            .then_some(())?;
        let table = Gva(zero.0.checked_sub(first as u64)?);
        Some(TokenPlace { table, index: Gva(zero.0.checked_add(at as u64)?) })
    })
}

/// Everything before the tokens that looks like names with their markers.
pub(super) fn name_tables(source: &Source, tokens: &TokenPlace) -> Vec<FoundNames> {
    let Some(range) = source.range_of(tokens.table) else { return Vec::new() };
    let start = tokens.table.0.saturating_sub(BEFORE_TOKENS);
    let Some(start) = start.checked_next_multiple_of(8) else { return Vec::new() };
    let start = start.max(range.start);
    let len = usize::try_from(tokens.table.0.saturating_sub(start)).unwrap_or(0);
    let window = source.bytes(Gva(start), len).unwrap_or_default();
    let mut runs = marker_runs::<4>(&window, start);
    runs.extend(marker_runs::<8>(&window, start));
    likeliest(source, runs)
}

/// The names of the longest runs.
fn likeliest(source: &Source, mut runs: Vec<Run>) -> Vec<FoundNames> {
    runs.sort_by_key(|run| std::cmp::Reverse(run.markers.len()));
    runs.truncate(MOST_RUNS);
    runs.into_iter().filter_map(|run| names_of(source, run)).collect()
}

/// Everything in the image that looks like names with their markers, for kernels that do
/// not compress names and have no tokens (OpenWrt's `CONFIG_KALLSYMS_UNCOMPRESSED`).
pub(super) fn name_tables_without_tokens(source: &Source) -> Vec<FoundNames> {
    let mut runs = Vec::new();
    for range in &source.ranges {
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
        let bytes = source.bytes_up_to(Gva(range.start), len.min(MOST_SEARCHED));
        runs.extend(marker_runs::<4>(&bytes, range.start));
        runs.extend(marker_runs::<8>(&bytes, range.start));
    }
    likeliest(source, runs)
}

/// Candidates for markers.
struct Run {
    at: Gva,
    markers: Vec<u64>,
}

/// Runs of numbers of `WIDTH` bytes that begin with 0 and rise as positions of
/// every 256th name do.
fn marker_runs<const WIDTH: usize>(window: &[u8], start: u64) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut run: Option<Run> = None;
    for (at, word) in (start..).step_by(WIDTH).zip(window.as_chunks::<WIDTH>().0) {
        let mut wide = [0; 8];
        wide.iter_mut().zip(word).for_each(|(wide, byte)| *wide = *byte);
        let value = u64::from_le_bytes(wide);
        let last = run.as_ref().and_then(|run| run.markers.last()).copied();
        match &mut run {
            Some(run) if last.is_some_and(|last| STEPS.contains(&value.wrapping_sub(last))) => {
                run.markers.push(value);
            }
            _ => {
                runs.extend(run.take().filter(|run| run.markers.len() >= FEWEST_MARKERS));
                run = (value == 0).then(|| Run { at: Gva(at), markers: vec![0] });
            }
        }
    }
    runs.extend(run.filter(|run| run.markers.len() >= FEWEST_MARKERS));
    runs
}

/// The names that markers belong to. They end just before the markers, so their
/// start is known but for the length of the last names.
fn names_of(source: &Source, run: Run) -> Option<FoundNames> {
    let (first, second) = (*run.markers.get(1)?, *run.markers.get(2)?);
    let end = run.at.0.checked_sub(*run.markers.last()?)?;
    let range = source.range_of(run.at)?;
    let start = (end.saturating_sub(STEPS.end + 16) & !7).max(range.start);
    let wanted = usize::try_from(end.checked_sub(start)?.saturating_add(second)).ok()?;
    let bytes = source.bytes(Gva(start), wanted)?;
    let numbers = bytes.as_chunks().0.iter().map(|number| u32::from_le_bytes(*number));
    let mut candidates = numbers.enumerate().filter(|(_, count)| fits(*count, run.markers.len()));
    let (num_syms, at, count) = candidates.find_map(|(index, count)| {
        let at = index.saturating_mul(4);
        // In a slot of a word, or of its own size.
        let names = [at.saturating_add(8), at.saturating_add(4)].into_iter().find(|names| {
            let ends_at = |groups: usize| {
                names::skip(bytes.get(*names..)?, groups.saturating_mul(PER_MARKER))
            };
            let is = |position: Option<usize>, marker| position.map(|at| at as u64) == Some(marker);
            is(ends_at(1), first) && is(ends_at(2), second)
        })?;
        Some((at, names, count))
    })?;
    let names =
        NameTable { at: Gva(start.saturating_add(at as u64)), count, markers: Some(run.markers) };
    Some(FoundNames { num_syms: Gva(start.saturating_add(num_syms as u64)), names })
}

/// Whether so many names have so many markers.
fn fits(count: u32, markers: usize) -> bool {
    let count_of_markers = usize::try_from(count).unwrap_or(0).div_ceil(PER_MARKER);
    (1..=MOST_SYMBOLS).contains(&count) && count_of_markers == markers
}
