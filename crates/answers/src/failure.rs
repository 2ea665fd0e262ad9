//! A command that failed, for programs that run many.
//!
//! The member names are the JSON members; `docs/schema/error-1.json` describes them.

use serde::Serialize;

use crate::page::{Answer, Page};

/// Why there is no answer.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorReport {
    /// What kind of failure it is, by a name that stays.
    pub kind: &'static str,
    /// The failure in words.
    pub message: String,
    /// The program's exit code.
    pub exit: u8,
}

impl Answer for ErrorReport {
    const SCHEMA: &'static str = "vmss2core/error/1";

    fn page(&self, page: &mut Page<'_>) {
        page.paragraph(&self.message);
    }
}
