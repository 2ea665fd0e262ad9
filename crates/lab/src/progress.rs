//! Says on standard error what takes long: a download, a boot.

use std::io::Write;

/// One line on standard error; nobody minds if that is closed.
pub(crate) fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "lab: {message}");
}
