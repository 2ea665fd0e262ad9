//! The table of compressed names.

use vmss2core_mem::Gva;

use super::tokens::Tokens;
use super::{LONGEST_NAME, MOST_CHARACTERS, MOST_SYMBOLS, Source};
use crate::linux::symbols::Entry;

/// Names that one marker stands for.
pub(super) const PER_MARKER: usize = 256;
/// Bytes of the table read at a time.
const CHUNK: usize = 256 << 10;
/// The longest record: two bytes of length and that many tokens.
const LONGEST_RECORD: usize = 2 + 0x3fff;

/// Where the names are.
#[derive(Clone, Debug)]
pub(super) struct NameTable {
    pub(super) at: Gva,
    pub(super) count: u32,
    /// Where every 256th name begins, for a check.
    pub(super) markers: Option<Vec<u64>>,
}

impl NameTable {
    /// Whether a marker, if there are any, says this position.
    fn agrees(&self, marker: usize, position: u64) -> bool {
        self.markers.as_ref().is_none_or(|markers| markers.get(marker) == Some(&position))
    }
}

/// How the length of a name is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    /// Up to 127 in a byte, else seven bits in each of two (since 6.1).
    Big,
    /// Always one byte.
    Byte,
}

/// Length of a record's head and of its tokens.
fn record(bytes: &[u8], lengths: Lengths) -> Option<(usize, usize)> {
    let first = usize::from(*bytes.first()?);
    if lengths == Lengths::Big && first & 0x80 != 0 {
        let second = usize::from(*bytes.get(1)?);
        return Some((2, first & 0x7f | second << 7));
    }
    Some((1, first))
}

/// Decodes all names; their entries have no addresses yet.
pub(super) fn decode(
    source: &Source,
    tokens: &Tokens,
    table: &NameTable,
) -> Option<(String, Vec<Entry>)> {
    if table.count == 0 || table.count > MOST_SYMBOLS {
        return None;
    }
    let with = |lengths| decode_with(source, tokens, table, lengths);
    with(Lengths::Big).or_else(|| with(Lengths::Byte))
}

fn decode_with(
    source: &Source,
    tokens: &Tokens,
    table: &NameTable,
    lengths: Lengths,
) -> Option<(String, Vec<Entry>)> {
    let count = usize::try_from(table.count).ok()?;
    let mut names = Vec::new();
    let mut entries = Vec::new();
    let mut reader = Reader::new(source, table.at);
    for index in 0..count {
        if index % PER_MARKER == 0 && !table.agrees(index / PER_MARKER, reader.position()) {
            return None;
        }
        let record = reader.next(lengths)?;
        entries.push(expand(record, tokens, &mut names)?);
    }
    // Names are ASCII; what is not comes from a broken table, and shows.
    names.iter_mut().filter(|byte| !byte.is_ascii_graphic()).for_each(|byte| *byte = b'?');
    Some((String::from_utf8(names).ok()?, entries))
}

/// Adds the name that a record's tokens spell; its first letter is the type.
fn expand(record: &[u8], tokens: &Tokens, names: &mut Vec<u8>) -> Option<Entry> {
    let start = names.len();
    for token in record {
        names.extend_from_slice(tokens.get(*token));
        if names.len().saturating_sub(start) > LONGEST_NAME {
            return None;
        }
    }
    let kind = *names.get(start).filter(|kind| kind.is_ascii_graphic())?;
    // The letter stays in the text: to take it out would cost a copy.
    let name = start.saturating_add(1);
    let len = u16::try_from(names.len().saturating_sub(name)).ok()?;
    let fits = names.len() <= MOST_CHARACTERS;
    Some(Entry { address: 0, start: u32::try_from(name).ok()?, len, kind }).filter(|_| fits)
}

/// Reads records one after the other.
struct Reader<'s> {
    source: &'s Source,
    /// Bytes of the table that are read and not yet done with, from `at` on.
    chunk: Vec<u8>,
    at: usize,
    /// Where the table goes on after the chunk.
    behind: Gva,
    /// Bytes of the table before the chunk.
    before: u64,
}

impl<'s> Reader<'s> {
    fn new(source: &'s Source, start: Gva) -> Self {
        Self { source, chunk: Vec::new(), at: 0, behind: start, before: 0 }
    }

    /// Bytes from the start of the table.
    fn position(&self) -> u64 {
        self.before.saturating_add(self.at as u64)
    }

    /// The tokens of the next record.
    fn next(&mut self, lengths: Lengths) -> Option<&[u8]> {
        if self.chunk.len().saturating_sub(self.at) < LONGEST_RECORD {
            self.refill();
        }
        let (head, len) = record(self.chunk.get(self.at..)?, lengths)?;
        let start = self.at.saturating_add(head);
        self.at = start.saturating_add(len);
        self.chunk.get(start..self.at)
    }

    /// Reads on, as far as memory goes.
    fn refill(&mut self) {
        self.chunk.drain(..self.at);
        self.before = self.before.saturating_add(self.at as u64);
        self.at = 0;
        let more = self.source.bytes_up_to(self.behind, CHUNK);
        self.behind = Gva(self.behind.0.saturating_add(more.len() as u64));
        self.chunk.extend_from_slice(&more);
    }
}

/// Where the record is that follows `count` of them, if all lie in `bytes`.
pub(super) fn skip(bytes: &[u8], count: usize) -> Option<usize> {
    let with = |lengths| {
        (0..count).try_fold(0_usize, |at, _| {
            let (head, len) = record(bytes.get(at..)?, lengths)?;
            Some(at.saturating_add(head).saturating_add(len)).filter(|_| len > 0)
        })
    };
    with(Lengths::Big).or_else(|| with(Lengths::Byte))
}
