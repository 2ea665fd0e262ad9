//! Symbols of a module: the ELF symbols that the kernel kept of its file.

use std::collections::{HashMap, HashSet};

use vmss2core_formats::elf::{SHN_UNDEF, Sym, Sym32, Sym64};
use vmss2core_mem::{Gva, Sums, to_page_end};
use zerocopy::FromBytes;

use super::shape::{Bytes, Exports, Shape};
use crate::linux::{Kernel, Symbol, Symbols};

/// No module has more.
const MOST_SYMBOLS: u64 = 1 << 20;
/// No module's names take more.
const LONGEST_NAMES: u64 = 64 << 20;
/// `KSYM_NAME_LEN`.
const LONGEST_NAME: u64 = 512;
/// Exported symbols of one table that are looked at.
const MOST_EXPORTS: u64 = 1 << 14;

/// The symbols of a module, as far as they can be read.
pub(super) fn of_module(kernel: &Kernel, shape: &Shape, module: &Bytes) -> Symbols {
    let table = Table::read(kernel, shape, module).unwrap_or_default();
    let exports = exports(kernel, shape, module, &table);
    Symbols::new(table.symbols.iter().filter_map(|(symbol, index)| {
        let name = table.name(*index)?;
        // The kernel prints capitals for what other modules may use.
        let kind = if exports.contains(&(symbol.value, name)) {
            symbol.info.to_ascii_uppercase()
        } else {
            symbol.info.to_ascii_lowercase()
        };
        Some(Symbol { address: Gva(symbol.value), kind: kind.into(), name })
    }))
}

/// Symbols with their names.
#[derive(Default)]
struct Table {
    /// `info` is the letter of the type; with the place of the name.
    symbols: Vec<(Sym, usize)>,
    names: Vec<u8>,
}

impl Table {
    fn read(kernel: &Kernel, shape: &Shape, module: &Bytes) -> Option<Self> {
        let place = shape.symbols.as_ref()?;
        let holder = match place.pointer {
            Some(pointer) => Gva(module.uint(pointer, shape.word)?),
            None => module.at,
        };
        let member = |offset: u64, len| {
            kernel.read_uint(Gva(holder.0.wrapping_add(offset)), len, "mod_kallsyms").ok()
        };
        let count = member(place.count, 4).filter(|count| *count <= MOST_SYMBOLS)?;
        let table = Gva(member(place.table, shape.word)?);
        let mut symbols = elf_symbols(kernel, table, count)?;
        if let Some(types) = place.types {
            let mut letters = vec![0; symbols.len()];
            let at = Gva(member(types, shape.word)?);
            kernel.read(at, &mut letters, "mod_kallsyms.typetab").ok()?;
            symbols.iter_mut().zip(letters).for_each(|(symbol, letter)| symbol.info = letter);
        }
        let is_symbol =
            |symbol: &Sym| symbol.section != SHN_UNDEF && symbol.info.is_ascii_graphic();
        symbols.retain(is_symbol);
        let last = symbols.iter().map(|symbol| u64::from(symbol.name)).max()?;
        let names = Gva(member(place.names, shape.word)?);
        let names = up_to(kernel, names, last.plus(LONGEST_NAME).min(LONGEST_NAMES));
        let symbols = symbols.into_iter().filter_map(|symbol| {
            let name = usize::try_from(symbol.name).ok()?;
            Some((symbol, name))
        });
        Some(Self { symbols: symbols.collect(), names })
    }

    /// Names by address and name: what an entry of another table must be.
    fn known(&self) -> HashMap<(u64, &str), &str> {
        let named = |(symbol, name): &(Sym, usize)| {
            let name = self.name(*name)?;
            Some(((symbol.value, name), name))
        };
        self.symbols.iter().filter_map(named).collect()
    }

    /// The name at a place; nameless symbols are none.
    fn name(&self, start: usize) -> Option<&str> {
        let bytes = self.names.get(start..)?;
        let len = memchr::memchr(0, bytes)?;
        std::str::from_utf8(bytes.get(..len)?).ok().filter(|name| !name.is_empty())
    }
}

fn elf_symbols(kernel: &Kernel, at: Gva, count: u64) -> Option<Vec<Sym>> {
    let item_len = if kernel.word_len() == 8 { size_of::<Sym64>() } else { size_of::<Sym32>() };
    let mut bytes = vec![0; usize::try_from(count).ok()?.checked_mul(item_len)?];
    kernel.read(at, &mut bytes, "mod_kallsyms.symtab").ok()?;
    Some(if kernel.word_len() == 8 {
        <[Sym64]>::ref_from_bytes(&bytes).ok()?.iter().map(Sym::from).collect()
    } else {
        <[Sym32]>::ref_from_bytes(&bytes).ok()?.iter().map(Sym::from).collect()
    })
}

/// Bytes at an address, as many as there are before memory ends.
fn up_to(kernel: &Kernel, at: Gva, len: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < len {
        let next = at.0.saturating_add(bytes.len() as u64);
        let in_page = to_page_end(next);
        let mut page =
            vec![0; usize::try_from(in_page.min(len.minus(bytes.len() as u64))).unwrap_or(0)];
        if kernel.space().read(Gva(next), &mut page).is_err() {
            break;
        }
        bytes.append(&mut page);
    }
    bytes
}

/// Symbols that the kernel's own list (`is_exported`, kernel/module/kallsyms.c) takes
/// for exported: only what all modules may use. Where the types do not tell the pointer
/// from that for free modules (`gpl_syms`), it is the first one that any module has.
pub(super) fn learn_exports(kernel: &Kernel, shape: &mut Shape, nodes: &[Gva]) {
    if shape.exports.is_some() {
        return;
    }
    let first = |node: &Gva| {
        let module = shape.read(kernel, Gva(node.0.wrapping_sub(shape.list))).ok()?;
        let (table, parts) = (Table::read(kernel, shape, &module)?, shape.parts(&module));
        let known = table.known();
        let words = shape.len.checked_div(shape.word).unwrap_or(0);
        let mut offsets = (0..words).map(|index| index.times(shape.word));
        offsets.find(|offset| {
            let pointer = module.uint(*offset, shape.word).unwrap_or(0);
            let is_inside = parts.iter().any(|part| part.contains(&pointer));
            is_inside && !exported(kernel, pointer, MOST_EXPORTS, &known).is_empty()
        })
    };
    let table = nodes.iter().filter_map(first).min();
    shape.exports = table.map(|table| Exports { table, count: None });
}

/// Address and name of what the module exports.
fn exports<'t>(
    kernel: &Kernel,
    shape: &Shape,
    module: &Bytes,
    table: &'t Table,
) -> HashSet<(u64, &'t str)> {
    let place = shape.exports;
    let pointer = place.and_then(|place| module.uint(place.table, shape.word)).unwrap_or(0);
    let count = place.and_then(|place| module.uint(place.count?, 4));
    let count = count.map_or(MOST_EXPORTS, |count| count.min(MOST_EXPORTS));
    if pointer == 0 || count == 0 {
        return HashSet::new();
    }
    exported(kernel, pointer, count, &table.known())
}

/// The symbols in a table of exported ones (`struct kernel_symbol`): each entry leads to
/// a symbol of the module and to its name, so the form of the table shows by itself, and
/// where it ends.
fn exported<'t>(
    kernel: &Kernel,
    pointer: u64,
    count: u64,
    known: &HashMap<(u64, &str), &'t str>,
) -> HashSet<(u64, &'t str)> {
    let mut found = HashSet::new();
    for form in ExportForm::ALL {
        let entries = (0..count).map(|index| form.entry(kernel, pointer, index));
        let entries = entries.map_while(|entry| {
            let (value, name) = entry?;
            known.get(&(value, name.as_str())).map(|name| (value, *name))
        });
        found.extend(entries);
    }
    found
}

/// How `struct kernel_symbol` is written.
#[derive(Clone, Copy)]
struct ExportForm {
    /// 32-bit distances instead of pointers (`CONFIG_HAVE_ARCH_PREL32_RELOCATIONS`).
    is_relative: bool,
    /// Numbers in an entry: value and name, since 5.4 a name space too.
    items: u64,
}

impl ExportForm {
    const ALL: [Self; 4] = [
        Self { is_relative: true, items: 3 },
        Self { is_relative: true, items: 2 },
        Self { is_relative: false, items: 3 },
        Self { is_relative: false, items: 2 },
    ];

    fn entry(self, kernel: &Kernel, table: u64, index: u64) -> Option<(u64, String)> {
        let item = if self.is_relative { 4 } else { kernel.word_len() };
        let at = table.checked_add(index.times(self.items).times(item))?;
        let name = self.target(kernel, at.checked_add(item)?, item)?;
        let value = self.target(kernel, at, item)?;
        Some((value, super::shape::text_at(kernel, Gva(name))?))
    }

    fn target(self, kernel: &Kernel, at: u64, len: u64) -> Option<u64> {
        let item = kernel.read_uint(Gva(at), len, "kernel_symbol").ok()?;
        if !self.is_relative {
            return Some(item);
        }
        let distance = i64::from(u32::try_from(item).ok()?.cast_signed());
        let mask = if kernel.word_len() == 8 { u64::MAX } else { u64::from(u32::MAX) };
        Some(at.wrapping_add(distance.cast_unsigned()) & mask)
    }
}
