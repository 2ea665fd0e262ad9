//! Symbols of a kernel, as plain data and as a page.

use std::borrow::Cow;

use serde::Serialize;
use vmss2core_guest::linux::Symbol;
use vmss2core_mem::Problem;

use crate::info::{Hex, ProblemInfo, problem_info};
use crate::page::{Answer, Column, Page};

/// Symbols of a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct SymbolsReport<'k> {
    /// How the table was found.
    pub how: &'k str,
    /// The symbols.
    pub symbols: Vec<SymbolInfo<'k>>,
    /// Missing parts.
    pub problems: Vec<ProblemInfo>,
    #[serde(skip)]
    digits: usize,
}

/// One symbol.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SymbolInfo<'k> {
    /// Its address.
    pub address: Hex,
    /// The letter that `nm` prints for it.
    #[serde(rename = "type")]
    pub kind: char,
    /// Its name.
    pub name: &'k str,
    /// How far the address that was asked for is after its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Hex>,
    /// The module that it belongs to, if not to the kernel itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<&'k str>,
}

impl<'k> SymbolInfo<'k> {
    /// A symbol of the kernel, or of a module.
    pub fn new(symbol: Symbol<'k>, module: Option<&'k str>) -> Self {
        let (address, kind) = (Hex(symbol.address.0), symbol.kind);
        Self { address, kind, name: symbol.name, offset: None, module }
    }

    /// The symbol of an address so far after its own.
    pub fn with_offset(self, offset: u64) -> Self {
        Self { offset: Some(Hex(offset)), ..self }
    }

    /// Its cells, without copies of what is there already: there are hundreds of thousands.
    fn row(&self, digits: usize) -> [Cow<'k, str>; 4] {
        let address = format!("{:0digits$x}", self.address.0);
        let name = match self.offset {
            Some(offset) => format!("{}+{offset}", self.name).into(),
            None => Cow::from(self.name),
        };
        let module = self.module.map_or(Cow::from(""), |module| format!("[{module}]").into());
        [address.into(), letter(self.kind), name, module]
    }
}

impl<'k> SymbolsReport<'k> {
    /// The report about these symbols of a kernel with words of so many bytes.
    pub fn new(
        how: &'k str,
        symbols: Vec<SymbolInfo<'k>>,
        word_len: u64,
        problems: &[Problem],
    ) -> Self {
        let problems = problems.iter().map(problem_info).collect();
        let digits = if word_len == 8 { 16 } else { 8 };
        Self { how, symbols, problems, digits }
    }
}

impl Answer for SymbolsReport<'_> {
    const SCHEMA: &'static str = "vmss2core/symbols/1";

    /// As `nm` and `/proc/kallsyms` have them.
    fn page(&self, page: &mut Page<'_>) {
        let digits = self.digits;
        let columns = [
            Column::left("", digits),
            Column::left("", 1),
            Column::left("", 0),
            Column::left("", 0).after("\t"),
        ];
        page.table(&columns, self.symbols.iter().map(|symbol| symbol.row(digits)));
    }
}

/// A letter as text; those of kernels take no memory of their own.
fn letter(kind: char) -> Cow<'static, str> {
    const KNOWN: &str = "ABDRTVWabdrtvw";
    let at = KNOWN.find(kind);
    let known = at.and_then(|at| KNOWN.get(at..at.saturating_add(1)));
    known.map_or_else(|| kind.to_string().into(), Cow::from)
}

/// Whether a name fits a pattern in which `*` stands for any characters and `?`
/// for any one.
///
/// ```
/// assert!(vmss2core_answers::matches_pattern("tcp_*_sk?", "tcp_v4_skb"));
/// assert!(!vmss2core_answers::matches_pattern("tcp_*", "udp_tcp_"));
/// ```
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut in_name) = (0_usize, 0_usize);
    // Where to go on if what follows the last `*` does not fit here.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(in_name) {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at.saturating_add(1), in_name));
                at = at.saturating_add(1);
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                at = at.saturating_add(1);
                in_name = in_name.saturating_add(1);
            }
            _ => {
                let Some((behind, start)) = retry else { return false };
                retry = Some((behind, start.saturating_add(1)));
                (at, in_name) = (behind, start.saturating_add(1));
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        for (pattern, name, fits) in [
            ("init_task", "init_task", true),
            ("init", "init_task", false),
            ("*", "", true),
            ("*lock", "raw_spin_lock", true),
            ("*lock", "raw_spin_lock_irq", false),
            ("a*b*c", "aXbbYc", true),
            ("a*b*c", "aXcYb", false),
            ("?", "", false),
            ("a?c", "abc", true),
            ("**x**", "x", true),
        ] {
            assert_eq!(matches_pattern(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_malicious_pattern_takes_no_time() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!matches_pattern(&pattern, &"a".repeat(500)));
    }
}
