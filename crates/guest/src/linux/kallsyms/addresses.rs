//! The table of addresses, in the encodings there have been.

use vmss2core_mem::Gva;

use super::Source;
use super::scan::{FoundNames, TokenPlace};
use super::source::Known;
use super::tokens::INDEX_LEN;
use crate::linux::symbols::Entry;

/// One symbol in this many may be out of order: some tables are not quite sorted.
const SORTED_BUT_FOR: usize = 64;

/// How addresses are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As they are.
    Absolute,
    /// `u32` from a base.
    FromBase(u64),
    /// `i32`: not negative are addresses as they are (offsets of per-CPU
    /// variables), negative ones count from one below a base
    /// (`CONFIG_KALLSYMS_ABSOLUTE_PERCPU`, to 6.14).
    PercpuOrBase(u64),
    /// `i32` from the place where it is written (since 7.0).
    Place,
}

/// A table of addresses that there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AddressTable {
    pub(super) at: Gva,
    pub(super) encoding: Encoding,
}

impl AddressTable {
    /// Both ways to write offsets from a base.
    pub(super) fn from_base(at: Gva, base: u64) -> [Self; 2] {
        [Encoding::PercpuOrBase(base), Encoding::FromBase(base)]
            .map(|encoding| Self { at, encoding })
    }

    fn item_len(&self, word_len: u64) -> u64 {
        if self.encoding == Encoding::Absolute { word_len } else { 4 }
    }

    /// Gives the entries their addresses, if this proves to be the right table.
    pub(super) fn fill_in(
        &self,
        source: &Source,
        known: &Known,
        entries: &mut [Entry],
    ) -> Option<()> {
        let item_len = usize::try_from(self.item_len(source.word_len)).ok()?;
        let bytes = source.bytes(self.at, entries.len().checked_mul(item_len)?)?;
        let address = |index: usize| {
            let item = bytes.get(
                index.saturating_mul(item_len)..index.saturating_add(1).saturating_mul(item_len),
            )?;
            Some(self.decode(index, item, source.word_len))
        };
        let verdict = verdict(source, known, &address);
        if verdict == Some(false) {
            return None;
        }
        for (index, entry) in entries.iter_mut().enumerate() {
            entry.address = address(index)?;
        }
        if verdict.is_none() && !is_plausible(source, entries) {
            return None;
        }
        let rising = entries.windows(2).filter(|pair| pair.is_sorted_by_key(|entry| entry.address));
        (rising.count()
            >= entries.len().saturating_sub(1).saturating_sub(entries.len() / SORTED_BUT_FOR))
        .then_some(())
    }

    fn decode(&self, index: usize, item: &[u8], word_len: u64) -> u64 {
        let mut wide = [0; 8];
        wide.iter_mut().zip(item).for_each(|(wide, byte)| *wide = *byte);
        let value = u64::from_le_bytes(wide);
        let signed = i64::from(((value & 0xffff_ffff) as u32).cast_signed());
        let address = match self.encoding {
            Encoding::Absolute => value,
            Encoding::FromBase(base) => base.wrapping_add(value),
            Encoding::PercpuOrBase(_) if signed >= 0 => value,
            Encoding::PercpuOrBase(base) => {
                base.wrapping_sub(1).wrapping_sub(signed.cast_unsigned())
            }
            Encoding::Place => {
                let place = self.at.0.wrapping_add((index as u64).saturating_mul(4));
                place.wrapping_add(signed.cast_unsigned())
            }
        };
        if word_len == 8 { address } else { address & 0xffff_ffff }
    }
}

/// Whether all symbols that are known from elsewhere come out as they must;
/// `None` if there are none. An address table taken a word too early or too
/// late is sorted just as well.
fn verdict(source: &Source, known: &Known, address: &dyn Fn(usize) -> Option<u64>) -> Option<bool> {
    let listed = known.symbols.iter().filter(|(_, indices)| !indices.is_empty());
    let right = listed
        .map(|(expected, indices)| indices.iter().any(|index| address(*index) == Some(expected.0)));
    let banner = known
        .banner
        .map(|index| address(index).is_some_and(|address| source.is_banner(Gva(address))));
    let verdicts: Vec<bool> = right.chain(banner).collect();
    (!verdicts.is_empty()).then(|| verdicts.into_iter().all(|verdict| verdict))
}

/// Whether most functions are in the image: all but those of its initialisation,
/// which lie after it.
fn is_plausible(source: &Source, entries: &[Entry]) -> bool {
    let functions = entries.iter().filter(|entry| b"tT".contains(&entry.kind));
    let (inside, outside): (Vec<&Entry>, Vec<&Entry>) =
        functions.partition(|entry| source.range_of(Gva(entry.address)).is_some());
    inside.len() > outside.len().saturating_mul(3)
}

/// Where the address table may be for names that a search found.
pub(super) fn around(
    source: &Source,
    found: &FoundNames,
    tokens: Option<&TokenPlace>,
) -> Vec<AddressTable> {
    let mut tables = before(source, found).unwrap_or_default();
    let behind = tokens.and_then(|tokens| behind(source, found, tokens));
    tables.extend(behind.unwrap_or_default());
    tables
}

/// Up to 6.3: before `num_syms`.
fn before(source: &Source, found: &FoundNames) -> Option<Vec<AddressTable>> {
    let (word, count) = (source.word_len, u64::from(found.names.count));
    let end = found.num_syms.0;
    let absolute = end.checked_sub(count.saturating_mul(word))?;
    let base = end.checked_sub(word)?;
    let offsets = base.checked_sub(count.saturating_mul(4).checked_next_multiple_of(word)?)?;
    let mut tables = vec![AddressTable { at: Gva(absolute), encoding: Encoding::Absolute }];
    tables.extend(AddressTable::from_base(Gva(offsets), source.word(Gva(base))?));
    Some(tables)
}

/// Since 6.4: after the index of tokens.
fn behind(source: &Source, found: &FoundNames, tokens: &TokenPlace) -> Option<Vec<AddressTable>> {
    let (word, count) = (source.word_len, u64::from(found.names.count));
    let end = tokens.index.0.checked_add(INDEX_LEN as u64)?;
    let mut tables = vec![AddressTable { at: Gva(end), encoding: Encoding::Place }];
    let offsets = end.checked_next_multiple_of(word)?;
    let base = offsets.checked_add(count.saturating_mul(4))?.checked_next_multiple_of(word)?;
    if let Some(base) = source.word(Gva(base)) {
        tables.extend(AddressTable::from_base(Gva(offsets), base));
    }
    Some(tables)
}
