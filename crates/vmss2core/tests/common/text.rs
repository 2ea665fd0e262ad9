//! Comparing what programs print.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

/// Both texts line by line.
pub fn same_lines(what: &str, a: &[String], b: &[String]) -> Result<()> {
    let different = a.iter().zip(b).position(|(a, b)| a != b);
    let shorter = a.len().min(b.len());
    if let Some(at) = different.or((a.len() != b.len()).then_some(shorter)) {
        let around = |lines: &[String]| {
            lines.iter().skip(at.saturating_sub(3)).take(7).cloned().collect::<Vec<_>>().join(
                "
",
            )
        };
        bail!("{what}: line {} differs:\n{}\nagainst\n{}", at + 1, around(a), around(b));
    }
    Ok(())
}

/// The text has this part.
pub fn ensure_contains(what: &str, text: &str, part: &str) -> Result<()> {
    ensure!(text.contains(part), "{what}: no {part:?} in:\n{text}");
    Ok(())
}

/// The word after `name` on the first line that begins with it.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.split_whitespace().next())
}

/// The registers of a thread, as our scripts print them: `register THREAD NAME HEX`.
pub fn ensure_registers(
    what: &str,
    said: &str,
    thread: usize,
    expected: &BTreeMap<String, u64>,
) -> Result<()> {
    let mut shown = BTreeMap::new();
    for line in said.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["register", of, name, value] = *words
            && of == thread.to_string()
        {
            shown.insert(name.to_owned(), u64::from_str_radix(value, 16).ok());
        }
    }
    for (name, value) in expected {
        let got = shown.get(name).copied().flatten();
        ensure!(got == Some(*value), "{what}: {name} is {value:#x}, shown as {got:x?}\n{said}");
    }
    Ok(())
}
