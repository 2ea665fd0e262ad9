//! `System.map`: the symbols of a build, as `nm` lists them.

use std::path::Path;

use vmss2core_mem::Gva;

use super::vmlinux::relocate;
use super::{FileError, read_whole, wanted};
use crate::linux::{Kernel, Symbol, Symbols};

/// The symbols of a file, where the guest has them, and what is doubtful about them.
pub(super) fn read(path: &Path, kernel: &Kernel) -> Result<(Symbols, Option<String>), FileError> {
    let text = read_whole(path)?;
    let text = String::from_utf8_lossy(&text);
    let symbols =
        parse(&text).map_err(|line| FileError::SystemMap { path: path.to_owned(), line })?;
    let symbols = relocate(&symbols, kernel);
    match agreement(&symbols, kernel) {
        Agreement::Same => Ok((symbols, None)),
        Agreement::Unknown => Ok((symbols, Some(unchecked(path)))),
        Agreement::Other(why) => {
            let path = path.to_owned();
            Err(FileError::OtherKernel { path, why, wanted: wanted(kernel) })
        }
    }
}

/// A doubt about a file that nothing speaks for or against.
pub(super) fn unchecked(path: &Path) -> String {
    format!(
        "{} could not be checked to be of the guest's kernel: of what it says nothing was found in \
         the guest to compare",
        path.display()
    )
}

/// The symbols of a text, or which line is none.
fn parse(text: &str) -> Result<Vec<Symbol<'_>>, usize> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    lines.map(|(line, number)| symbol(line).ok_or(number)).collect()
}

fn symbol(line: &str) -> Option<Symbol<'_>> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let mut letter = words.next()?.chars();
    let (kind, None) = (letter.next()?, letter.next()) else { return None };
    let name = words.next()?;
    Some(Symbol { address: Gva(address), kind, name })
}

/// Whether symbols are of the guest's kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Agreement {
    /// They are.
    Same,
    /// They are of another one, and why.
    Other(String),
    /// Unknown.
    Unknown,
}

/// Compares symbols with what the guest shows: its banner, which up to 2.6 a pointer
/// leads to, the kernel's own table, and the functions that the table of system calls
/// has. Many that agree count more than one that does not.
pub(super) fn agreement(symbols: &Symbols, kernel: &Kernel) -> Agreement {
    let banner = has_banner(symbols, kernel);
    if banner == Some(true) {
        return Agreement::Same;
    }
    let votes = [own_table(symbols, kernel), system_calls(symbols, kernel)];
    let Some(Vote { same, of, what }) = votes.into_iter().flatten().find(Vote::counts) else {
        return match banner {
            Some(_) => Agreement::Other(
                "the guest does not have linux_banner where this file says".to_owned(),
            ),
            None if !has_functions(symbols, kernel) => Agreement::Other(
                "no function that this file names lies in the guest's kernel".to_owned(),
            ),
            None => Agreement::Unknown,
        };
    };
    if same.saturating_mul(100) >= of.saturating_mul(ENOUGH_PERCENT) {
        return Agreement::Same;
    }
    Agreement::Other(format!("{same} of {of} {what} are where this file says"))
}

fn has_functions(symbols: &Symbols, kernel: &Kernel) -> bool {
    let is_function = |kind: char| kind.eq_ignore_ascii_case(&'t');
    symbols.iter().any(|symbol| is_function(symbol.kind) && kernel.is_in_image(symbol.address))
}

/// Of what agrees in part, this much must.
const ENOUGH_PERCENT: usize = 95;
/// Fewer than this many say nothing.
const FEWEST: usize = 50;
/// Symbols that are compared: more would not change the answer.
const MOST: usize = 4096;
/// Entries of the table of system calls that are looked at: all kernels have more.
const CALLS: u64 = 200;

/// How many of the symbols that were compared are the same.
struct Vote {
    same: usize,
    of: usize,
    what: &'static str,
}

impl Vote {
    fn counts(&self) -> bool {
        self.of >= FEWEST
    }
}

/// Whether the guest has its banner where some symbols say; `None` if that cannot be
/// told.
fn has_banner(symbols: &Symbols, kernel: &Kernel) -> Option<bool> {
    let banner = &kernel.linux().banner.as_ref()?.value;
    let at = symbols.address("linux_banner")?;
    let is_there = |at| {
        let mut bytes = vec![0; banner.len()];
        kernel.read(at, &mut bytes, "linux_banner").is_ok() && bytes == banner.as_bytes()
    };
    Some(is_there(at) || kernel.read_pointer(at, "linux_banner").is_ok_and(is_there))
}

/// The functions that have the same name in the kernel's own table, by their addresses.
fn own_table(symbols: &Symbols, kernel: &Kernel) -> Option<Vote> {
    let own = &kernel.symbols()?.value;
    let functions = symbols.iter().filter(|symbol| symbol.kind == 'T').take(MOST);
    let known = functions.filter_map(|symbol| Some(own.address(symbol.name)? == symbol.address));
    let known: Vec<bool> = known.collect();
    let same = known.iter().filter(|is_same| **is_same).count();
    Some(Vote { same, of: known.len(), what: "functions of the kernel's own symbol table" })
}

/// Targets of the table of system calls, by whether it is the start of a function. A
/// file that does not have their functions, only those for modules, has no vote.
fn system_calls(symbols: &Symbols, kernel: &Kernel) -> Option<Vote> {
    let table = symbols.address("sys_call_table")?;
    let names = ["sys_read", "SyS_read", "__x64_sys_read", "__ia32_sys_read"];
    names.iter().find_map(|name| symbols.address(name))?;
    let entry = |index: u64| {
        let at = table.checked_add(index.checked_mul(kernel.word_len())?)?;
        kernel.read_pointer(at, "sys_call_table").ok()
    };
    let calls: Vec<Gva> = (0..CALLS).map_while(entry).collect();
    let is_start = |call: &&Gva| {
        symbols
            .at(**call)
            .is_some_and(|(symbol, into)| into == 0 && symbol.kind.eq_ignore_ascii_case(&'t'))
    };
    let same = calls.iter().filter(is_start).count();
    Some(Vote { same, of: calls.len(), what: "entries of the table of system calls" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_address_letter_name() {
        let text = "0000000000000000 A fixed_percpu_data\nffffffff81000000 T _text\n\n";
        let symbols = parse(text).unwrap();
        assert_eq!(symbols.len(), 2);
        let text = Symbol { address: Gva(0xffff_ffff_8100_0000), kind: 'T', name: "_text" };
        assert_eq!(symbols[1], text);
    }

    #[test]
    fn the_first_line_that_is_none_is_told() {
        for text in ["c0100000 T _text\nxyz T b", "c0100000 T a\nc0100000 TT b", "\nc0100000 T"] {
            assert_eq!(parse(text).unwrap_err(), 2, "{text}");
        }
    }
}
