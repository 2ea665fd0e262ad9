//! `symbols`: what the kernel calls its functions and variables.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use vmss2core_answers::{SymbolInfo, SymbolsReport, matches_pattern};
use vmss2core_guest::linux::{Kernel, Symbol};
use vmss2core_mem::text::hex;
use vmss2core_mem::{Gva, Problem};

use super::open::ask_linux;
use super::{Arguments, Plan};
use crate::args::{Global, GuestArgs, GuestPlan, Style};
use crate::exit::Exit;
use crate::output;

/// List the symbols of the guest's kernel, or look some up
///
/// The kernel carries a table of its symbols for its own messages; no file from
/// the guest is needed. Symbols of loaded modules are listed too. How the table
/// was found is said on stderr.
#[derive(Debug, Args)]
#[command(
    override_usage = "vmss2core symbols [OPTIONS] <FILE>... [NAME|ADDRESS]...",
    after_help = "\
Of the words behind the first, those that name no existing file are symbols to
look up: a name, a pattern with * and ?, or an address (hexadecimal, with 0x).

Examples:
  vmss2core symbols vm.vmss                    all, as nm prints them
  vmss2core symbols vm.vmss init_task
  vmss2core symbols vm.vmss 'tcp_*' '*_lock'
  vmss2core symbols vm.vmss 0xffffffff81001234  the symbol there, and offset"
)]
pub(crate) struct SymbolsArgs {
    #[command(flatten)]
    guest: GuestArgs,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl Arguments for SymbolsArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        let mut guest = self.guest;
        let wanted = take_symbols(&mut guest.inputs);
        let style = Style::of(self.json);
        Ok(Box::new(SymbolsPlan { guest: guest.plan(global), wanted, style }))
    }
}

/// List symbols of the kernel.
#[derive(Debug)]
struct SymbolsPlan {
    guest: GuestPlan,
    /// Names, patterns and addresses; all symbols if there are none.
    wanted: Vec<String>,
    style: Style,
}

/// The first word names a file; of the others, those that do not are symbols.
fn take_symbols(words: &mut Vec<PathBuf>) -> Vec<String> {
    let others = words.split_off(1.min(words.len()));
    let (files, wanted): (Vec<_>, Vec<_>) = others.into_iter().partition(|word| word.exists());
    words.extend(files);
    wanted.into_iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

impl Plan for SymbolsPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        ask_linux(&self.guest, |kernel| {
            let table = kernel.symbols().ok_or_else(|| {
                anyhow!(
                    "no symbol table was found in the kernel's image: it may have none (built without \
                     CONFIG_KALLSYMS), have one of a form that cannot be read, or lie where it was not \
                     looked for; give --system-map FILE or --vmlinux FILE of this kernel"
                )
            })?;
            let mut problems = kernel.modules().problems.clone();
            let symbols = if self.wanted.is_empty() {
                all(kernel).collect()
            } else {
                self.wanted
                    .iter()
                    .flat_map(|wanted| looked_up(kernel, wanted, &mut problems))
                    .collect()
            };
            let report = SymbolsReport::new(&table.how, symbols, kernel.word_len(), &problems);
            output::answer(&report, self.style)?;
            output::talk(&format!("vmss2core: {}", table.how));
            Ok(problems)
        })
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
