//! `symbols`: what the kernel calls its functions and variables.

use std::io::Write;

use anyhow::anyhow;

use super::kernel::with_kernel;
use crate::exit::Exit;
use crate::output;
use crate::plan::SymbolsPlan;

pub(super) fn run(plan: &SymbolsPlan) -> anyhow::Result<Exit> {
    with_kernel(&plan.guest, |kernel| {
        let symbols = kernel.symbols().ok_or_else(|| anyhow!("no symbol table was found"))?;
        let mut out = output::stdout();
        for symbol in symbols.value.iter() {
            writeln!(out, "{:016x} {} {}", symbol.address.0, symbol.kind, symbol.name)?;
        }
        out.flush()?;
        output::talk(&format!("vmss2core: {}", symbols.how));
        Ok(Vec::new())
    })
}
