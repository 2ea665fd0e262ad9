//! The JSON printer.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use crate::escape::is_unsafe;
use crate::page::Answer;

/// Writes an answer as indented JSON with a newline at the end. Its first member is
/// `schema`.
pub fn write_json<A: Answer>(answer: &A, out: &mut dyn Write) -> io::Result<()> {
    let json = serde_json::to_string_pretty(&WithSchema { schema: A::SCHEMA, answer })?;
    out.write_all(terminal_safe(&json).as_bytes())?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct WithSchema<'a, A> {
    schema: &'static str,
    #[serde(flatten)]
    answer: &'a A,
}

/// JSON leaves some characters as they are that a terminal obeys (DEL, C1, text
/// direction). Outside of strings JSON is ASCII, so all of those lie in strings
/// and may be written as escapes.
fn terminal_safe(json: &str) -> Cow<'_, str> {
    if json.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')) {
        return json.into();
    }
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_unsafe(c) {
            // Writing to a String cannot fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Page;

    #[test]
    fn strings_survive_and_the_terminal_does_too() {
        #[derive(Serialize)]
        struct Hostile {
            text: &'static str,
        }
        impl Answer for Hostile {
            const SCHEMA: &'static str = "vmss2core/hostile/1";
            fn page(&self, _page: &mut Page<'_>) {}
        }
        let hostile = "a\u{9b}2J\u{7f}\u{202e}\u{1b}\n\"z";
        let mut out = Vec::new();
        write_json(&Hostile { text: hostile }, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.chars().any(|c| c != '\n' && is_unsafe(c)), "{text:?}");
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back, serde_json::json!({"schema": "vmss2core/hostile/1", "text": hostile}));
    }
}
