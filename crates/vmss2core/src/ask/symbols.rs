//! The symbols of a guest's kernel.

use vmss2core_answers::{SymbolInfo, SymbolsReport, matches_pattern};
use vmss2core_guest::linux::{Kernel, Symbol};
use vmss2core_mem::text::hex;
use vmss2core_mem::{Gva, Problem};

use super::Answered;
use crate::{Error, Guest};

impl Guest {
    /// Names of its kernel's functions and variables: those that are wanted, each by a
    /// name, a pattern with `*` and `?`, or an address with `0x`; all of them if none is.
    pub fn symbols(&self, wanted: &[String]) -> Result<Answered<SymbolsReport<'_>>, Error> {
        let kernel = self.linux()?;
        let table = kernel.symbols().ok_or(Error::NoSymbols)?;
        let mut problems = kernel.modules().problems.clone();
        if table.value.lacks_others() {
            problems.push(Problem::note(
                "only what modules may use has a name here: no kallsyms were found",
            ));
        }
        let symbols = if wanted.is_empty() {
            all(kernel).collect()
        } else {
            wanted.iter().flat_map(|one| looked_up(kernel, one, &mut problems)).collect()
        };
        let answer = SymbolsReport::new(&table.how, symbols, kernel.word_len(), &problems);
        Ok(Answered { answer, problems })
    }
}

/// The kernel's own symbols by address, those of its modules, and those of code that was
/// made at run time.
fn all(kernel: &Kernel) -> impl Iterator<Item = SymbolInfo<'_>> {
    let own = kernel.symbols().into_iter().flat_map(|table| table.value.iter());
    let of_modules = kernel.modules().modules.iter().flat_map(|module| {
        module.symbols.iter().map(|symbol| SymbolInfo::new(symbol, Some(&module.name)))
    });
    let generated = kernel.generated_code().iter().map(|code| {
        let symbol = Symbol { address: code.address, kind: code.kind, name: &code.name };
        SymbolInfo::new(symbol, Some(&code.module))
    });
    own.map(|symbol| SymbolInfo::new(symbol, None)).chain(of_modules).chain(generated)
}

fn looked_up<'k>(
    kernel: &'k Kernel,
    wanted: &str,
    problems: &mut Vec<Problem>,
) -> Vec<SymbolInfo<'k>> {
    let found: Vec<_> = match address(wanted) {
        Some(address) => at(kernel, address).into_iter().collect(),
        None => all(kernel).filter(|symbol| matches_pattern(wanted, symbol.name)).collect(),
    };
    if found.is_empty() {
        problems.push(Problem::incomplete(format!("no symbol {wanted} was found in the guest")));
    }
    found
}

fn address(wanted: &str) -> Option<Gva> {
    wanted.starts_with("0x").then(|| hex(wanted).ok().map(Gva))?
}

/// The symbol that an address belongs to, with the way from there.
fn at(kernel: &Kernel, address: Gva) -> Option<SymbolInfo<'_>> {
    let place = kernel.symbolize(address)?;
    let symbol = Symbol {
        address: Gva(address.0.wrapping_sub(place.offset)),
        kind: place.kind,
        name: place.name,
    };
    Some(SymbolInfo::new(symbol, place.module).with_offset(place.offset))
}
