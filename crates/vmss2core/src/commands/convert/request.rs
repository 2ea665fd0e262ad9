//! A request for a file, the same for both grammars.

use std::fmt;

use vmss2core_dump::{ChoiceError, Chosen, DumpFormat, Owners, Value};

/// An output format.
#[derive(Clone, Copy)]
pub(crate) struct Format(pub(crate) &'static dyn DumpFormat);

impl Format {
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let format = vmss2core_dump::format(name).map(Self);
        format.ok_or_else(|| format!("no output format is called {name}"))
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// A format, and what is chosen of what it offers.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) format: Format,
    pub(crate) chosen: Chosen,
}

impl Request {
    /// Values by the names of the format's choices.
    pub(crate) fn new(
        format: Format,
        values: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<Self, String> {
        let chosen = Chosen::of(format.0, values).map_err(|error| refusal(&error))?;
        Ok(Self { format, chosen })
    }
}

/// Why something cannot be chosen, in the words of the command line.
fn refusal(error: &ChoiceError) -> String {
    match error {
        ChoiceError::Elsewhere { choice, format } if choice.belongs_to == Owners::Named => {
            let formats = choice.formats();
            let first = formats.first().copied().unwrap_or_default();
            format!("--{} goes with --format {first}, not with {format}", choice.name)
        }
        ChoiceError::Unknown { .. } => error.to_string(),
        _ => format!("--{error}"),
    }
}
