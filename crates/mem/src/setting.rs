//! Settings: names in messages for things that users may give or choose.

use std::fmt;
use std::sync::OnceLock;

/// Something that a user may give or choose, by the name that libraries know it by.
///
/// A message often ends with what would help: a file to give, a choice to make. What
/// users type for that is not a library's to know: it says the name, and the program
/// has it spelled as its users type it, with [`spell_settings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name: words joined by `-`.
    pub name: &'static str,
    /// Name of its value where a message asks for one.
    pub value: Option<&'static str>,
}

/// How a program writes settings.
pub type Spelling = fn(&Setting) -> String;

static SPELLING: OnceLock<Spelling> = OnceLock::new();

/// Has all messages of this process name settings in this way. The first to say so is
/// heard: a program, when it starts.
pub fn spell_settings(spelling: Spelling) {
    let _ = SPELLING.set(spelling);
}

impl Setting {
    /// A setting by its name alone.
    pub const fn named(name: &'static str) -> Self {
        Self { name, value: None }
    }

    /// A setting with a value that messages ask for.
    pub const fn with_value(name: &'static str, value: &'static str) -> Self {
        Self { name, value: Some(value) }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SPELLING.get() {
            Some(spelling) => f.write_str(&spelling(self)),
            None => write!(f, "`{}`", self.name),
        }
    }
}
