//! Names and addresses of the kernel's functions and variables.
//!
//! A kernel has 30 thousand to some hundred thousand of them, so all names lie
//! in one text, and the index by name is made when the first name is asked for.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use vmss2core_mem::Gva;

/// A function or variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'s> {
    /// Its address; for per-CPU variables of x86-64 up to 6.14 an offset.
    pub address: Gva,
    /// The letter that `nm` would print.
    pub kind: char,
    /// Its name.
    pub name: &'s str,
}

impl Symbol<'_> {
    /// Visible in other source files too; static ones share names now and then.
    pub fn is_global(&self) -> bool {
        self.kind.is_ascii_uppercase()
    }
}

/// A symbol whose name lies in a text that many share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) address: u64,
    /// Where the name begins.
    pub(super) start: u32,
    pub(super) len: u16,
    pub(super) kind: u8,
}

const _: () = assert!(size_of::<Entry>() == 16);

/// A symbol table.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    names: String,
    /// By address; those that share one in the order they came in.
    entries: Vec<Entry>,
    by_name: OnceLock<ByName>,
    /// Only some functions have names: an address after one may be of another.
    lacks_others: bool,
}

impl Symbols {
    /// A table of these symbols, in any order. Names longer than 65,535 bytes
    /// are no symbols.
    pub fn new<'s>(symbols: impl IntoIterator<Item = Symbol<'s>>) -> Self {
        let mut names = String::new();
        let mut entries = Vec::new();
        for symbol in symbols {
            let (Ok(start), Ok(len)) =
                (u32::try_from(names.len()), u16::try_from(symbol.name.len()))
            else {
                continue;
            };
            let kind = u8::try_from(symbol.kind).unwrap_or(b'?');
            entries.push(Entry { address: symbol.address.0, start, len, kind });
            names.push_str(symbol.name);
        }
        Self::from_parts(names, entries)
    }

    /// A table of entries whose names lie in `names`.
    pub(super) fn from_parts(names: String, mut entries: Vec<Entry>) -> Self {
        entries.sort_by_key(|entry| entry.address);
        Self { names, entries, by_name: OnceLock::new(), lacks_others: false }
    }

    /// This table, of which many functions are missing: what an address is in is told only
    /// where something begins there.
    pub(super) fn without_others(self) -> Self {
        Self { lacks_others: true, ..self }
    }

    /// Whether many functions are missing.
    pub fn lacks_others(&self) -> bool {
        self.lacks_others
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All, by address.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Symbol<'_>> + ExactSizeIterator {
        self.entries.iter().map(|entry| self.symbol(entry))
    }

    /// The address of a name. Of several that share it, the first one that is
    /// not static; of static ones, the lowest.
    pub fn address(&self, name: &str) -> Option<Gva> {
        let mut all = self.all(name);
        let first = all.next()?;
        let best = if first.is_global() { None } else { all.find(Symbol::is_global) };
        Some(best.unwrap_or(first).address)
    }

    /// All symbols of a name, by address.
    pub fn all<'s>(&'s self, name: &str) -> impl Iterator<Item = Symbol<'s>> {
        let indices = self.by_name.get_or_init(|| ByName::of(self)).all(self, name);
        indices.into_iter().filter_map(|index| self.get(index))
    }

    /// The last symbol at or below an address, and how far the address is into
    /// it. Of several at one address the first, as the kernel's own messages
    /// have it.
    pub fn at(&self, address: Gva) -> Option<(Symbol<'_>, u64)> {
        let behind = self.entries.partition_point(|entry| entry.address <= address.0);
        let found = self.entries.get(behind.checked_sub(1)?)?.address;
        let first = self.entries.partition_point(|entry| entry.address < found);
        let into = address.0.wrapping_sub(found);
        (into == 0 || !self.lacks_others).then_some((self.get(first)?, into))
    }

    /// The first address above this one that a symbol has.
    pub(super) fn after(&self, address: Gva) -> Option<Gva> {
        let behind = self.entries.partition_point(|entry| entry.address <= address.0);
        self.entries.get(behind).map(|entry| Gva(entry.address))
    }

    fn get(&self, index: usize) -> Option<Symbol<'_>> {
        self.entries.get(index).map(|entry| self.symbol(entry))
    }

    fn symbol(&self, entry: &Entry) -> Symbol<'_> {
        let start = usize::try_from(entry.start).unwrap_or(usize::MAX);
        let name = self.names.get(start..start.saturating_add(entry.len.into()));
        let (address, kind) = (Gva(entry.address), char::from(entry.kind));
        Symbol { address, kind, name: name.unwrap_or_default() }
    }
}

/// Where symbols of a name are: an open hash table of indices. The hash has a
/// key that the guest cannot know, so no names that it makes up are slow.
#[derive(Clone, Debug)]
struct ByName {
    hasher: RandomState,
    /// Index of an entry plus one; 0 for none. A power of two, a quarter of it empty.
    slots: Vec<u32>,
    /// By index of an entry, the next one of the same name plus one.
    next: Vec<u32>,
}

impl ByName {
    fn of(symbols: &Symbols) -> Self {
        let count = symbols.entries.len();
        let wanted = count.saturating_add(count / 3).saturating_add(2);
        let len = wanted.checked_next_power_of_two().unwrap_or(1);
        let mut table =
            Self { hasher: RandomState::new(), slots: vec![0; len], next: vec![0; count] };
        // From the back, so that the chain of a name goes upwards.
        for (index, symbol) in symbols.iter().enumerate().rev() {
            table.insert(symbols, index, symbol.name);
        }
        table
    }

    fn insert(&mut self, symbols: &Symbols, index: usize, name: &str) {
        let slot = self.slot(symbols, name);
        let Ok(number) = u32::try_from(index.saturating_add(1)) else { return };
        let (Some(head), Some(next)) = (self.slots.get_mut(slot), self.next.get_mut(index)) else {
            return;
        };
        *next = std::mem::replace(head, number);
    }

    /// The slot that holds the name, or the empty one where it belongs.
    fn slot(&self, symbols: &Symbols, name: &str) -> usize {
        let mask = self.slots.len().saturating_sub(1);
        let hash = usize::try_from(self.hasher.hash_one(name) & u64::from(u32::MAX));
        let mut slot = hash.unwrap_or_default() & mask;
        while let Some(index) = self.slots.get(slot).and_then(|number| index_of(*number)) {
            if symbols.get(index).is_some_and(|symbol| symbol.name == name) {
                break;
            }
            slot = slot.saturating_add(1) & mask;
        }
        slot
    }

    fn all(&self, symbols: &Symbols, name: &str) -> Vec<usize> {
        let head = self.slots.get(self.slot(symbols, name)).copied().unwrap_or_default();
        let next = |index: &usize| index_of(*self.next.get(*index)?);
        std::iter::successors(index_of(head), next).collect()
    }
}

fn index_of(number: u32) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(address: u64, kind: char, name: &str) -> Symbol<'_> {
        Symbol { address: Gva(address), kind, name }
    }

    fn table() -> Symbols {
        Symbols::new([
            symbol(0x3000, 'B', "log_buf"),
            symbol(0x1000, 'T', "_stext"),
            symbol(0x1000, 'T', "_text"),
            symbol(0x2000, 'd', "log_buf"),
            symbol(0x2800, 'd', "here"),
            symbol(0x2400, 'd', "here"),
        ])
    }

    #[test]
    fn of_equal_names_the_one_that_is_not_static_counts() {
        let table = table();
        assert_eq!(table.address("log_buf"), Some(Gva(0x3000)));
        assert_eq!(table.address("here"), Some(Gva(0x2400)));
        assert_eq!(table.address("nowhere"), None);
        let all: Vec<u64> = table.all("log_buf").map(|symbol| symbol.address.0).collect();
        assert_eq!(all, [0x2000, 0x3000]);
    }

    #[test]
    fn an_address_belongs_to_the_symbol_before_it() {
        let table = table();
        assert_eq!(table.at(Gva(0xfff)), None);
        assert_eq!(table.at(Gva(0x1234)), Some((symbol(0x1000, 'T', "_stext"), 0x234)));
        assert_eq!(table.at(Gva(0x2000)), Some((symbol(0x2000, 'd', "log_buf"), 0)));
        assert_eq!(table.at(Gva(u64::MAX)).map(|(symbol, _)| symbol.kind), Some('B'));
    }

    #[test]
    fn an_empty_table_knows_nothing() {
        let table = Symbols::default();
        assert!(table.is_empty() && table.address("x").is_none() && table.at(Gva(1)).is_none());
    }

    #[test]
    fn every_one_of_many_is_found_by_its_name() {
        let names: Vec<String> = (0..5000).map(|number| format!("symbol_{number}")).collect();
        let table = Symbols::new(
            names.iter().zip(1..).map(|(name, number)| symbol(number << 4, 't', name)),
        );
        for (name, number) in names.iter().zip(1_u64..) {
            assert_eq!(table.address(name), Some(Gva(number << 4)), "{name}");
        }
    }
}
