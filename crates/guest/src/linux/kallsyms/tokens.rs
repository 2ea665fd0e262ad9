//! The 256 pieces that names are made of.

use vmss2core_mem::Gva;

use super::Source;

/// Tokens have some bytes each; a table is about a kilobyte.
pub(super) const LONGEST_TABLE: usize = 16 << 10;
/// Bytes of the index: a `u16` for each token.
pub(super) const INDEX_LEN: usize = 512;
/// Tokens are read in steps of this size, to stop where memory ends.
const STEP: usize = 1 << 10;

/// The tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    table: Vec<u8>,
    /// Where in the table each begins and ends.
    places: Vec<(usize, usize)>,
}

impl Tokens {
    /// Reads the tokens; `None` if what is there is none.
    pub(super) fn read(source: &Source, table: Gva, index: Gva) -> Option<Self> {
        let index = source.bytes(index, INDEX_LEN)?;
        let starts: Vec<usize> =
            index.as_chunks().0.iter().map(|start| u16::from_le_bytes(*start).into()).collect();
        let rises = starts.is_sorted_by(|a, b| a < b) && starts.first() == Some(&0);
        let last = *starts.last().filter(|last| rises && **last < LONGEST_TABLE)?;
        let table = read_to_end(source, table, last)?;
        let places = starts.into_iter().map(|start| {
            let len = memchr::memchr(0, table.get(start..)?)?;
            Some((start, start.saturating_add(len)))
        });
        let places = places.collect::<Option<_>>()?;
        Some(Self { table, places })
    }

    /// Each byte is the character that it is: names that are not compressed.
    pub(super) fn none() -> Self {
        Self { table: (0..=u8::MAX).collect(), places: (0..256).zip(1..257).collect() }
    }

    /// A token's characters.
    pub(super) fn get(&self, token: u8) -> &[u8] {
        let place = self.places.get(usize::from(token));
        place.and_then(|(start, end)| self.table.get(*start..*end)).unwrap_or_default()
    }
}

/// The table up to the NUL after its last token.
fn read_to_end(source: &Source, at: Gva, last: usize) -> Option<Vec<u8>> {
    let mut len = last.saturating_add(1);
    loop {
        let table = source.bytes(at, len)?;
        if memchr::memchr(0, table.get(last..)?).is_some() {
            return Some(table);
        }
        len = Some(len.saturating_add(STEP)).filter(|len| *len < 2 * LONGEST_TABLE)?;
    }
}
