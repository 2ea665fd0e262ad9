//! Names and addresses of the kernel's functions and variables.

use std::collections::HashMap;

use vmss2core_mem::Gva;

/// A function or variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its address; for per-CPU variables of x86-64 up to 6.14 an offset.
    pub address: Gva,
    /// The letter that `nm` would print.
    pub kind: char,
    /// Its name.
    pub name: String,
}

/// A symbol table.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// By address.
    symbols: Vec<Symbol>,
    /// Index of the first symbol of a name.
    by_name: HashMap<String, usize>,
}

impl Symbols {
    /// A table of these symbols, in any order.
    pub fn new(mut symbols: Vec<Symbol>) -> Self {
        symbols.sort_by_key(|symbol| symbol.address);
        let mut by_name = HashMap::with_capacity(symbols.len());
        for (index, symbol) in symbols.iter().enumerate() {
            by_name.entry(symbol.name.clone()).or_insert(index);
        }
        Self { symbols, by_name }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// All, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter()
    }

    /// The address of a name; of static ones that share it, the lowest.
    pub fn address(&self, name: &str) -> Option<Gva> {
        self.by_name.get(name).and_then(|index| self.symbols.get(*index)).map(|found| found.address)
    }

    /// All symbols of a name.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Symbol> {
        self.symbols.iter().filter(move |symbol| symbol.name == name)
    }

    /// The last symbol at or below an address, and how far the address is into it.
    pub fn at(&self, address: Gva) -> Option<(&Symbol, u64)> {
        let behind = self.symbols.partition_point(|symbol| symbol.address <= address);
        let symbol = self.symbols.get(behind.checked_sub(1)?)?;
        Some((symbol, address.0 - symbol.address.0))
    }
}
