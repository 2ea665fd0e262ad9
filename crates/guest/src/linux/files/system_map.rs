//! `System.map`: the symbols of a build, as `nm` lists them.

use std::path::Path;

use vmss2core_mem::Gva;

use super::vmlinux::relocate;
use super::{FileError, read_whole, wanted};
use crate::linux::{Kernel, Symbol, Symbols};

/// The symbols of a file, where the guest has them.
pub(super) fn read(path: &Path, kernel: &Kernel<'_>) -> Result<Symbols, FileError> {
    let text = read_whole(path)?;
    let text = String::from_utf8_lossy(&text);
    let symbols =
        parse(&text).map_err(|line| FileError::SystemMap { path: path.to_owned(), line })?;
    let symbols = relocate(&symbols, kernel);
    match agrees(&symbols, kernel) {
        Some(true) => Ok(symbols),
        known => {
            let why = if known.is_none() {
                "it has no linux_banner to compare"
            } else {
                "the guest does not have linux_banner where this file says"
            };
            let (path, why) = (path.to_owned(), why.to_owned());
            Err(FileError::OtherKernel { path, why, wanted: wanted(kernel) })
        }
    }
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

/// Whether the guest has its banner where some symbols say; `None` if that
/// cannot be told.
pub(super) fn agrees(symbols: &Symbols, kernel: &Kernel<'_>) -> Option<bool> {
    let banner = &kernel.linux().banner.as_ref()?.value;
    let at = symbols.address("linux_banner")?;
    let mut bytes = vec![0; banner.len()];
    Some(kernel.read(at, &mut bytes, "linux_banner").is_ok() && bytes == banner.as_bytes())
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
