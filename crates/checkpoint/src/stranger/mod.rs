//! Well-known files that are no checkpoint, or none that can be read: recognised, so that
//! none is ever searched for memory, and so that the refusal says what they are.

use vmss2core_mem::text::shell_path;

use crate::format::{Case, Format, Recognition};
use crate::source::{HEAD_LEN, Source};
use crate::{OpenError, Opened};
use kinds::{KINDS, Kind, Sign};

mod kinds;
#[cfg(test)]
mod tests;

/// Files of a kind that is known and not read.
pub(crate) struct Stranger;

impl Format for Stranger {
    fn name(&self) -> &'static str {
        "stranger"
    }

    fn recognise(&self, head: &[u8]) -> Option<Recognition> {
        KINDS.iter().any(|kind| kind.is_of(head, &[])).then_some(Recognition::Refused)
    }

    fn open(&self, case: Case<'_>) -> Result<Opened, OpenError> {
        let source = case.lead.source;
        let looks = looks(&source)?.unwrap_or_else(|| "it is none".to_owned());
        Err(OpenError::NotACheckpoint { path: source.path, looks })
    }
}

/// Bytes at the end of a file that kinds are told by.
const TAIL_LEN: usize = 512;

/// Names `source` and what to do with it, if its kind is known: by its first bytes, or by
/// its last.
pub(crate) fn looks(source: &Source) -> Result<Option<String>, OpenError> {
    let head = source.start(HEAD_LEN)?;
    let mut tail = [0; TAIL_LEN];
    if let Some(at) = source.len.checked_sub(TAIL_LEN as u64) {
        source.read(at, &mut tail)?;
    }
    let found = KINDS.iter().find(|kind| kind.is_of(&head, &tail));
    let file = shell_path(&source.path);
    Ok(found.map(|kind| format!("it is {}; {}", kind.name, kind.advice.replace("{}", &file))))
}

impl Kind {
    fn is_of(&self, head: &[u8], tail: &[u8]) -> bool {
        self.signs.iter().all(|sign| sign.is_in(head, tail))
    }
}

impl Sign {
    fn is_in(&self, head: &[u8], tail: &[u8]) -> bool {
        let starts_at = |bytes: &[u8], at: usize, wanted: &[u8]| {
            bytes.get(at..).is_some_and(|rest| rest.starts_with(wanted))
        };
        match *self {
            Self::At(offset, bytes) => starts_at(head, offset, bytes),
            Self::BeforeEnd(len, bytes) => {
                let at = usize::try_from(len).ok().and_then(|len| tail.len().checked_sub(len));
                at.is_some_and(|at| starts_at(tail, at, bytes))
            }
            Self::Begins(text) => {
                let start = without_blanks(head).get(..text.len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(text.as_bytes()))
            }
            Self::Holds(text) => memchr::memmem::find(head, text.as_bytes()).is_some(),
            Self::Text => is_text(head),
        }
    }
}

/// `head` without a byte order mark and blanks.
fn without_blanks(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start()
}

/// Whether all of `head` is lines of UTF-8; a character may be cut off at its end.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            let valid = head.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(valid).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let is_plain = |c: char| !c.is_control() || c.is_ascii_whitespace() || c == '\u{1b}';
    text.contains('\n') && text.chars().all(is_plain)
}
