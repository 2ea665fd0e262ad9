//! Numbers and words as people and shells write them.

use std::fmt::Write;
use std::path::Path;

use thiserror::Error;

/// Why a text is no hexadecimal number.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HexError {
    /// It is something else.
    #[error("not a hexadecimal number: {text}")]
    NotHex {
        /// The text that was given.
        text: String,
    },
    /// It is a longer one.
    #[error("not a {bits}-bit hexadecimal number: {text}")]
    TooLong {
        /// The text that was given.
        text: String,
        /// How long it may be.
        bits: u32,
    },
}

/// A number of 64 bits in hexadecimal, with or without `0x`.
pub fn hex(text: &str) -> Result<u64, HexError> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    // `from_str_radix` would accept a sign.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return Err(HexError::NotHex { text: text.to_owned() });
    }
    u64::from_str_radix(digits, 16)
        .map_err(|_| HexError::TooLong { text: text.to_owned(), bits: 64 })
}

/// A hexadecimal number of at most 32 bits.
pub fn hex_32(text: &str) -> Result<u32, HexError> {
    u32::try_from(hex(text)?).map_err(|_| HexError::TooLong { text: text.to_owned(), bits: 32 })
}

/// The text as one word of a POSIX shell, quoted only where that is needed.
///
/// ```
/// assert_eq!(vmss2core_mem::text::shell_word("a b.vmss"), "'a b.vmss'");
/// ```
pub fn shell_word(text: &str) -> String {
    // What other letters are to a shell depends on its locale.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A path as one word of a POSIX shell.
pub fn shell_path(path: &Path) -> String {
    shell_word(&path.to_string_lossy())
}

/// A number that may be negative, in hexadecimal with its sign.
///
/// ```
/// assert_eq!(vmss2core_mem::text::signed_hex(-0x1000), "-0x1000");
/// ```
pub fn signed_hex(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{:#x}", value.unsigned_abs())
}

/// Whether a terminal or a reader would be misled by this character: control
/// codes (escape sequences start with one), and the invisible marks that
/// reorder or hide text.
pub fn is_unsafe(c: char) -> bool {
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
/// assert_eq!(vmss2core_mem::text::printable("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_numbers_have_no_sign_and_no_65th_bit() {
        assert_eq!(hex("0x1F"), Ok(0x1f));
        assert_eq!(hex("ffffffffffffffff"), Ok(u64::MAX));
        let said = |text| hex(text).unwrap_err().to_string();
        assert_eq!(said("+1"), "not a hexadecimal number: +1");
        assert_eq!(said("0x"), "not a hexadecimal number: 0x");
        assert_eq!(said("10000000000000000"), "not a 64-bit hexadecimal number: 10000000000000000");
        assert_eq!(
            hex_32("100000000").unwrap_err().to_string(),
            "not a 32-bit hexadecimal number: 100000000"
        );
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_see_more_in_them() {
        assert_eq!(shell_word("dir/x.vmss"), "dir/x.vmss");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word("$(x)"), "'$(x)'");
        assert_eq!(shell_word("Büro"), "'Büro'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_path(Path::new("my vm/it's")), r"'my vm/it'\''s'");
    }

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
