//! Making foreign strings safe to print, without a copy where that can be.

use std::borrow::Cow;

pub(crate) use vmss2core_mem::text::is_unsafe;
pub use vmss2core_mem::text::printable;

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
