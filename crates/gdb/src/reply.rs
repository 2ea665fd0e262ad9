//! Answers to packets.

use crate::packet::push_escaped;

/// The payload of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply(pub(crate) Vec<u8>);

/// POSIX' numbers as the protocol's file operations have them.
pub(crate) const EPERM: u8 = 1;
pub(crate) const ENOENT: u8 = 2;
pub(crate) const EIO: u8 = 5;
pub(crate) const EBADF: u8 = 9;
pub(crate) const EFAULT: u8 = 14;
pub(crate) const EINVAL: u8 = 22;
pub(crate) const EMFILE: u8 = 24;
pub(crate) const EROFS: u8 = 30;
pub(crate) const ENAMETOOLONG: u8 = 91;

impl Reply {
    /// Nothing: the packet is not known.
    pub fn unsupported() -> Self {
        Self::default()
    }

    /// `OK`.
    pub fn ok() -> Self {
        Self(b"OK".to_vec())
    }

    /// `E` and a number.
    pub fn error(number: u8) -> Self {
        Self(format!("E{number:02x}").into_bytes())
    }

    /// `E.` and a sentence, which gdb shows.
    pub fn refusal(sentence: &str) -> Self {
        Self::text(format!("E.{sentence}"))
    }

    /// Plain text; what would end the packet is left out.
    pub fn text(text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.retain(|char| !matches!(char, '#' | '$' | '*' | '}'));
        Self(text.into_bytes())
    }

    /// Bytes as hexadecimal digits.
    pub fn hex(bytes: &[u8]) -> Self {
        Self(hex(bytes).into_bytes())
    }

    /// Plain text and binary data after it.
    pub fn binary(prefix: &str, bytes: &[u8]) -> Self {
        let mut payload = prefix.as_bytes().to_vec();
        push_escaped(&mut payload, bytes);
        Self(payload)
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes as hexadecimal digits. Memory goes this way, so not by `format!`, which took
/// longer than all else together.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0xf));
    }
    text
}
