//! Tables of 2.6.0 to 2.6.9, as those of RHEL 4: each name is written as the number of
//! characters that it shares with the one before, and the others up to a NUL. There are no
//! types; the kernel itself called all of them `t`.
//!
//! Addresses, their count and names follow each other, so a run of words that rise within
//! the image, and are as many as the word after them says, leads to all.

use vmss2core_mem::{Found, Gva, little_endian};

use super::addresses::{AddressTable, Encoding};
use super::{LONGEST_NAME, MOST_CHARACTERS, MOST_SYMBOLS, Source};
use crate::linux::Symbols;
use crate::linux::symbols::Entry;

/// No kernel has fewer functions.
const FEWEST: u64 = 500;
/// More tables than this are chance or malice.
const MOST_TABLES: usize = 8;
/// Bytes of a range that are searched: no image has as many constants.
const MOST_SEARCHED: usize = 64 << 20;

/// Addresses with as many names after them.
struct Table {
    addresses: Gva,
    count: u32,
    names: Gva,
}

/// The table, if there is one.
pub(super) fn find(source: &Source) -> Option<Found<Symbols>> {
    tables(source).into_iter().find_map(|table| {
        let (names, mut entries) = names(source, &table)?;
        let known = source.known_among(&names, &entries);
        let addresses = AddressTable { at: table.addresses, encoding: Encoding::Absolute };
        addresses.fill_in(source, &known, &mut entries)?;
        let how = format!("kallsyms tables of names by their stems at {}", table.names);
        Some(Found::new(Symbols::from_parts(names, entries), how))
    })
}

fn tables(source: &Source) -> Vec<Table> {
    let mut found = Vec::new();
    for range in &source.ranges {
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
        let bytes = source.bytes_up_to(Gva(range.start), len.min(MOST_SEARCHED));
        tables_in(source, range.start, &bytes, &mut found);
    }
    found.truncate(MOST_TABLES);
    found
}

fn tables_in(source: &Source, start: u64, bytes: &[u8], found: &mut Vec<Table>) {
    let lowest = source.ranges.first().map_or(0, |range| range.start);
    let word_len = usize::try_from(source.word_len).unwrap_or(8).max(1);
    let (mut rising, mut last) = (0_u64, lowest);
    let words = bytes.chunks_exact(word_len).map(little_endian);
    for (at, word) in (start..).step_by(word_len).zip(words) {
        if word >= last {
            rising = rising.saturating_add(1);
            last = word;
            continue;
        }
        if (FEWEST..=rising.min(MOST_SYMBOLS.into())).contains(&word) {
            let addresses = at.saturating_sub(word.saturating_mul(source.word_len));
            found.extend(u32::try_from(word).ok().map(|count| Table {
                addresses: Gva(addresses),
                count,
                names: Gva(at.saturating_add(source.word_len)),
            }));
        }
        (rising, last) = (u64::from(word >= lowest), word.max(lowest));
    }
}

/// All names, one after the other, and where each lies among them.
fn names(source: &Source, table: &Table) -> Option<(String, Vec<Entry>)> {
    let most = usize::try_from(table.count).ok()?.checked_mul(LONGEST_NAME)?;
    let bytes = source.bytes_up_to(table.names, most.min(MOST_CHARACTERS));
    let mut rest = bytes.as_slice();
    let (mut names, mut entries) = (String::new(), Vec::new());
    let mut last = 0..0;
    for _ in 0..table.count {
        let (shared, after) = rest.split_first()?;
        let len = memchr::memchr(0, after)?;
        let (own, after) = after.split_at(len);
        rest = after.get(1..)?;
        let own = std::str::from_utf8(own).ok()?;
        own.bytes().all(|byte| byte.is_ascii_graphic()).then_some(())?;
        let stem = names.get(last.clone())?.get(..usize::from(*shared))?.to_owned();
        let start = names.len();
        names.extend([stem.as_str(), own]);
        last = start..names.len();
        (!last.is_empty() && last.len() < LONGEST_NAME && names.len() <= MOST_CHARACTERS)
            .then_some(())?;
        let (start, len) = (u32::try_from(start).ok()?, u16::try_from(last.len()).ok()?);
        entries.push(Entry { address: 0, start, len, kind: b't' });
    }
    Some((names, entries))
}
