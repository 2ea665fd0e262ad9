//! Making foreign strings safe to print.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a terminal or a reader would be misled by this character: control
/// codes (escape sequences start with one), and the invisible marks that
/// reorder or hide text.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
        )
}

/// The string with everything that a terminal would obey written as an escape.
///
/// ```
/// assert_eq!(vmss2core_answers::printable("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
/// ```
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            '\r' => safe.push_str("\\r"),
            c if is_unsafe(c) => {
                // Writing to a String cannot fail.
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

/// The printable string, borrowed if there is nothing to escape.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain || !text.chars().any(is_unsafe) { text.into() } else { printable(text).into() }
}

/// The printable string with tabs as they are.
pub(crate) fn safe_but_tabs(text: &str) -> Cow<'_, str> {
    if !text.contains('\t') {
        return safe(text);
    }
    text.split('\t').map(printable).collect::<Vec<_>>().join("\t").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let hostile = "x\u{1b}]0;t\u{7}\u{9b}31m\u{7f}\r\n\u{202e}gnp.exe\u{200b}";
        let safe = printable(hostile);
        assert!(!safe.chars().any(is_unsafe), "{safe}");
        assert_eq!(safe, "x\\u{1b}]0;t\\u{7}\\u{9b}31m\\u{7f}\\r\\n\\u{202e}gnp.exe\\u{200b}");
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for text in ["Linux version 6.1.0-28-amd64", "Büro ☃", "a\\b"] {
            assert_eq!(printable(text), text);
        }
    }
}
