//! kallsyms: the symbol table that a kernel carries for its own messages.
//!
//! Written by `scripts/kallsyms.c`. Since 2.6.10 names are compressed with 256
//! tokens, addresses are in a table of their own. What is where has changed over
//! time:
//!
//! | kernel | order in memory | addresses |
//! |---|---|---|
//! | to 2.6.9 | addresses, `num_syms`, names, each without what it shares with the one before | words |
//! | to 4.5 | addresses, `num_syms`, names, markers, tokens | words |
//! | 4.6 | offsets, `relative_base`, `num_syms`, names, markers, tokens | from a base |
//! | 6.2 | the same with `seqs_of_names` before the tokens | from a base |
//! | 6.4 | `num_syms`, names, markers, tokens, offsets, `relative_base` | from a base |
//! | 7.0 | the same without `relative_base` | from their own place |
//!
//! Since 6.0 (and in stable releases) VMCOREINFO names the tables. For others
//! they are searched for in the kernel image. No version is asked for: which
//! encoding it is shows in what the addresses of known symbols come out as.
//!
//! OpenWrt's kernels may have names that are not compressed, and no tokens. A kernel without
//! any of these, as all of 2.4 are, still names what modules may use (`__ksymtab`).
//!
//! Limits: symbols of modules are not here.

use vmss2core_mem::Found;

use super::{Kernel, Symbol, Symbols};
use crate::VmcoreInfo;

mod addresses;
mod exported;
mod names;
mod scan;
mod source;
mod stem;
#[cfg(test)]
mod tests;
mod tokens;

use addresses::{AddressTable, Encoding};
pub(in crate::linux) use exported::without_version;
use names::NameTable;
pub(crate) use source::Source;
use tokens::Tokens;

/// No kernel has more symbols; a table that claims to is no table.
const MOST_SYMBOLS: u32 = 2 << 20;
/// Longest name (`KSYM_NAME_LEN` since 6.1) with its type letter.
const LONGEST_NAME: usize = 513;
/// Most characters of all names together: several times what kernels have.
const MOST_CHARACTERS: usize = 64 << 20;

/// Finds and decodes the kernel's symbol table.
pub(super) fn find(kernel: &Kernel) -> Option<Found<Symbols>> {
    let source = Source::of(kernel);
    let info = kernel.linux().vmcoreinfo.as_ref();
    let named = info.and_then(|info| of_vmcoreinfo(&source, &info.value));
    let found = named.or_else(|| search(&source));
    found.or_else(|| exported::find(&source, kernel.bounds().map(|bounds| bounds.value)))
}

/// What modules may use, which is in a table of its own.
pub(super) fn exported(kernel: &Kernel) -> Option<Found<Symbols>> {
    exported::find(&Source::of(kernel), kernel.bounds().map(|bounds| bounds.value))
}

/// The table whose parts VMCOREINFO names.
fn of_vmcoreinfo(source: &Source, info: &VmcoreInfo) -> Option<Found<Symbols>> {
    let part = |name: &str| info.symbol(&format!("kallsyms_{name}"));
    let tokens = Tokens::read(source, part("token_table")?, part("token_index")?)?;
    let count = source.u32(part("num_syms")?)?;
    let table = NameTable { at: part("names")?, count, markers: None };
    let addresses = match (part("offsets"), part("addresses")) {
        (Some(at), _) => match part("relative_base") {
            Some(base) => AddressTable::from_base(at, source.word(base)?).to_vec(),
            None => vec![AddressTable { at, encoding: Encoding::Place }],
        },
        (None, Some(at)) => vec![AddressTable { at, encoding: Encoding::Absolute }],
        (None, None) => return None,
    };
    let symbols = decode(source, &tokens, &table, &addresses)?;
    Some(Found::new(symbols, "kallsyms tables that VMCOREINFO names"))
}

/// The table that a search of the kernel image finds.
pub(crate) fn search(source: &Source) -> Option<Found<Symbols>> {
    let by_tokens = scan::token_tables(source).into_iter().find_map(|place| {
        let tokens = Tokens::read(source, place.table, place.index)?;
        scan::name_tables(source, &place).into_iter().find_map(|found| {
            let addresses = addresses::around(source, &found, Some(&place));
            let symbols = decode(source, &tokens, &found.names, &addresses)?;
            let how = format!("kallsyms tables found by their tokens at {}", place.table);
            Some(Found::new(symbols, how))
        })
    });
    by_tokens.or_else(|| without_tokens(source)).or_else(|| stem::find(source))
}

/// The table whose names are not compressed.
fn without_tokens(source: &Source) -> Option<Found<Symbols>> {
    scan::name_tables_without_tokens(source).into_iter().find_map(|found| {
        let addresses = addresses::around(source, &found, None);
        let symbols = decode(source, &Tokens::none(), &found.names, &addresses)?;
        // Names whose tokens were not found would look like names with odd characters.
        let is_whole =
            |symbol: Symbol<'_>| symbol.kind.is_ascii_alphabetic() && !symbol.name.contains('?');
        symbols.iter().all(is_whole).then_some(())?;
        let how = format!("kallsyms tables of uncompressed names at {}", found.names.at);
        Some(Found::new(symbols, how))
    })
}

/// Decodes names and addresses, if one of the address tables proves right.
fn decode(
    source: &Source,
    tokens: &Tokens,
    table: &NameTable,
    addresses: &[AddressTable],
) -> Option<Symbols> {
    let (names, mut entries) = names::decode(source, tokens, table)?;
    let known = source.known_among(&names, &entries);
    addresses.iter().find_map(|table| table.fill_in(source, &known, &mut entries))?;
    Some(Symbols::from_parts(names, entries))
}
