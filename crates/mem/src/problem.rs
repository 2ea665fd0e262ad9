//! Problems: things that could not be done as they should be, for the user to judge.

use std::fmt;

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Note,
    /// The result may be wrong in some way.
    Warning,
    /// Part of the guest is missing from the result.
    Incomplete,
}

/// Something a reader had to work around.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// The thing, its place, and what to do about it if there is something to do.
    pub message: String,
}

impl Problem {
    /// A problem of severity [`Severity::Note`].
    pub fn note(message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, message: message.into() }
    }

    /// A problem of severity [`Severity::Warning`].
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, message: message.into() }
    }

    /// A problem of severity [`Severity::Incomplete`].
    pub fn incomplete(message: impl Into<String>) -> Self {
        Self { severity: Severity::Incomplete, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Incomplete => "incomplete",
        };
        write!(f, "{label}: {}", self.message)
    }
}
