//! `symbols`: what the kernel calls its functions and variables.

use std::io::Write;

use anyhow::anyhow;
use vmss2core_answers::{SymbolInfo, SymbolsReport, matches_pattern, write_json};
use vmss2core_guest::linux::{Kernel, Symbol};
use vmss2core_mem::{Gva, Problem};

use super::kernel::with_kernel;
use crate::args::hex;
use crate::exit::Exit;
use crate::output;
use crate::plan::{Style, SymbolsPlan};

pub(super) fn run(plan: &SymbolsPlan) -> anyhow::Result<Exit> {
    with_kernel(&plan.guest, |kernel| {
        let table = kernel.symbols().ok_or_else(|| {
            anyhow!(
                "no symbol table was found in the kernel's image: it may have none (built without \
                 CONFIG_KALLSYMS), have one of a form that cannot be read, or lie where it was not \
                 looked for; give --system-map FILE or --vmlinux FILE of this kernel"
            )
        })?;
        let mut problems = kernel.modules().problems.clone();
        let symbols = if plan.wanted.is_empty() {
            all(kernel).collect()
        } else {
            plan.wanted.iter().flat_map(|wanted| looked_up(kernel, wanted, &mut problems)).collect()
        };
        let report = SymbolsReport::new(&table.how, symbols, kernel.word_len(), &problems);
        let mut out = output::stdout();
        match plan.style {
            Style::Json => write_json(&report, &mut out)?,
            Style::Text => report.write_text(&mut out)?,
        }
        out.flush()?;
        output::talk(&format!("vmss2core: {}", table.how));
        Ok(problems)
    })
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
