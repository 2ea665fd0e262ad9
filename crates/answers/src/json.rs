//! The JSON printer.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use crate::escape::is_unsafe;

/// Writes a report as indented JSON with a newline at the end.
pub fn write_json(report: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let json = serde_json::to_string_pretty(report)?;
    out.write_all(terminal_safe(&json).as_bytes())?;
    out.write_all(b"\n")
}

/// JSON leaves some characters as they are that a terminal obeys (DEL, C1, text
/// direction). Outside of strings JSON is ASCII, so all of those lie in strings
/// and may be written as escapes.
fn terminal_safe(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_unsafe(c) {
            // Writing to a String cannot fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_survive_and_the_terminal_does_too() {
        let hostile = "a\u{9b}2J\u{7f}\u{202e}\u{1b}\n\"z";
        let mut out = Vec::new();
        write_json(&[hostile], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.chars().any(|c| c != '\n' && is_unsafe(c)), "{text:?}");
        let back: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, [hostile]);
    }
}
