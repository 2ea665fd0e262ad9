//! Choices of a user about a file. Each format declares its choices; a command
//! line, or a script, makes its options from the declarations.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::num::{NonZeroU64, ParseIntError};

use vmss2core_mem::Setting;
use vmss2core_mem::text::{self, HexError};

use crate::{DUMP_FORMATS, DumpFormat};

/// Something that can be chosen. Two formats that leave the same choice declare it once.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Its name, of which there is one among all formats: words joined by `-`.
    pub name: &'static str,
    /// A letter for those who type it often.
    pub letter: Option<char>,
    /// The kind of its value.
    pub takes: Takes,
    /// Its effect, in a sentence.
    pub help: &'static str,
    /// More about it.
    pub details: Option<&'static str>,
    /// The default in words.
    pub default: Option<&'static str>,
    /// How to say which formats have it.
    pub belongs_to: Owners,
}

/// As messages speak of it.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Setting::named(self.name).fmt(f)
    }
}

impl Choice {
    /// Yes or no.
    pub(crate) const FLAG: Self = Self {
        name: "",
        letter: None,
        takes: Takes::Nothing,
        help: "",
        details: None,
        default: None,
        belongs_to: Owners::Named,
    };

    /// Names of the formats that have it.
    pub fn formats(&self) -> Vec<&'static str> {
        let with = DUMP_FORMATS.iter().filter(|format| format.choice(self.name).is_some());
        with.map(|format| format.name()).collect()
    }

    /// The value that a text stands for.
    pub fn parse(&self, text: &str) -> Result<Value, ValueError> {
        match self.takes {
            Takes::Nothing => Ok(Value::Yes),
            Takes::Number { most, .. } => {
                let number: i64 = text.parse()?;
                let in_range = u64::try_from(number).ok().filter(|number| *number <= most.into());
                in_range.map(Value::Number).ok_or(ValueError::OutOfRange { number, most })
            }
            Takes::Count { .. } => Ok(Value::Number(text.parse::<NonZeroU64>()?.get())),
            Takes::Hex { bits: 32, .. } => Ok(Value::Number(text::hex_32(text)?.into())),
            Takes::Hex { .. } => Ok(Value::Number(text::hex(text)?)),
            Takes::Word { words, .. } => {
                let word = words.iter().find(|word| **word == text);
                word.map(|word| Value::Word(word)).ok_or(ValueError::NotOneOf { words })
            }
        }
    }
}

/// Values that a choice takes, and their name in help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: it is chosen or not.
    Nothing,
    /// A number, which may be 0.
    Number {
        /// Its name in help.
        called: &'static str,
        /// The largest.
        most: u32,
    },
    /// A number of things, of which there is one at least.
    Count {
        /// Its name in help.
        called: &'static str,
    },
    /// A number in hexadecimal.
    Hex {
        /// Its name in help.
        called: &'static str,
        /// How long it may be: 32 or 64.
        bits: u32,
    },
    /// One of these words.
    Word {
        /// Its name in help.
        called: &'static str,
        /// The words.
        words: &'static [&'static str],
        /// Help must list them, as its text does not say them.
        are_listed: bool,
    },
}

/// How to say which formats have a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// By their names. Help has such choices under a heading of their own.
    Named,
    /// As a kind of formats.
    Kind {
        /// Which kind.
        formats: &'static str,
        /// Why a format has it not, to be followed by that one's name.
        but: &'static str,
    },
}

/// A value that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of a choice that takes nothing.
    Yes,
    /// A number.
    Number(u64),
    /// One of the words of the choice.
    Word(&'static str),
}

/// Why a text is no value of a choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// It is no number.
    #[error(transparent)]
    NotANumber(#[from] ParseIntError),
    /// It is no hexadecimal number.
    #[error(transparent)]
    NotHex(#[from] HexError),
    /// It is too large, or negative.
    #[error("{number} is not in 0..={most}")]
    OutOfRange {
        /// The text that was given.
        number: i64,
        /// The largest that there is.
        most: u32,
    },
    /// It is another word.
    #[error("not one of {}", words.join(", "))]
    NotOneOf {
        /// The possible values.
        words: &'static [&'static str],
    },
}

/// Why something cannot be chosen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChoiceError {
    /// No format has such a choice.
    #[error("nothing to choose is called {name}")]
    Unknown {
        /// The request.
        name: String,
    },
    /// Other formats have it.
    #[error("{}", elsewhere(choice, format))]
    Elsewhere {
        /// The choice.
        choice: &'static Choice,
        /// The format that has it not.
        format: &'static str,
    },
    /// The format cannot do that, or not together with another choice.
    #[error("{name} {value}: {source}")]
    Unfit {
        /// The choice.
        name: &'static str,
        /// The value that was chosen.
        value: String,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
}

fn elsewhere(choice: &Choice, format: &str) -> String {
    let name = choice.name;
    match choice.belongs_to {
        Owners::Named => {
            format!("{name} goes with {}, not with {format}", choice.formats().join(", "))
        }
        Owners::Kind { formats, but } => format!("{name} goes with {formats}; {but} {format}"),
    }
}

/// The choices made for a file, all of them of that file's format.
#[derive(Clone, Debug, Default)]
pub struct Chosen(BTreeMap<&'static str, Value>);

impl Chosen {
    /// Nothing.
    pub const NOTHING: &'static Self = &Self(BTreeMap::new());

    /// Values by the names of their choices, if `format` has all of these.
    pub fn of<'n>(
        format: &dyn DumpFormat,
        values: impl IntoIterator<Item = (&'n str, Value)>,
    ) -> Result<Self, ChoiceError> {
        let mut chosen = BTreeMap::new();
        let mut elsewhere = Vec::new();
        for (name, value) in values {
            if let Some(choice) = format.choice(name) {
                chosen.insert(choice.name, value);
            } else {
                let choice = choices().into_iter().find(|choice| choice.name == name);
                elsewhere.push(choice.ok_or_else(|| ChoiceError::Unknown { name: name.into() })?);
            }
        }
        // Which single format has a choice says more than which kind of them.
        elsewhere.sort_by_key(|choice| choice.belongs_to != Owners::Named);
        if let Some(choice) = elsewhere.into_iter().next() {
            return Err(ChoiceError::Elsewhere { choice, format: format.name() });
        }
        let chosen = Self(chosen);
        format.check(&chosen)?;
        Ok(chosen)
    }

    /// Whether it was chosen at all.
    pub(crate) fn has(&self, choice: &Choice) -> bool {
        self.0.contains_key(choice.name)
    }

    /// The number that was chosen.
    pub(crate) fn number(&self, choice: &Choice) -> Option<u64> {
        match self.0.get(choice.name)? {
            Value::Number(number) => Some(*number),
            Value::Yes | Value::Word(_) => None,
        }
    }

    /// A number of a choice that has none of more than 32 bits.
    pub(crate) fn number_32(&self, choice: &Choice) -> Option<u32> {
        self.number(choice).and_then(|number| u32::try_from(number).ok())
    }

    /// The word that was chosen.
    pub(crate) fn word(&self, choice: &Choice) -> Option<&'static str> {
        match self.0.get(choice.name)? {
            Value::Word(word) => Some(word),
            Value::Yes | Value::Number(_) => None,
        }
    }
}

/// The choices of all formats, each once, in the order of the formats.
pub fn choices() -> Vec<&'static Choice> {
    let mut all: Vec<&'static Choice> = Vec::new();
    for choice in DUMP_FORMATS.iter().flat_map(|format| format.choices()) {
        if !all.iter().any(|known| known.name == choice.name) {
            all.push(choice);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::support::chosen;

    /// A name stands for one thing, and a format that shares it shares the declaration.
    #[test]
    fn each_name_is_declared_once() {
        let all = DUMP_FORMATS.iter().flat_map(|format| format.choices());
        for choice in all {
            let name = choice.name;
            assert!(
                !name.is_empty()
                    && name
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            );
            for format in choice.formats() {
                let other = crate::format(format).unwrap().choice(name).unwrap();
                assert!(std::ptr::eq(*choice, other), "{format}: {name}");
            }
        }
    }

    #[test]
    fn a_choice_of_another_format_is_refused_and_the_format_named() {
        for (format, text, said) in [
            ("raw", "vcpu=1", "vcpu goes with elf-linear, not with raw"),
            ("elf", "gdb-script level=3", "level goes with kdump, not with elf"),
            ("elf", "sparse", "sparse goes with windbg, windbg-bitmap, not with elf"),
            ("raw", "gdb-script", "gdb-script goes with ELF formats; gdb does not open raw"),
            (
                "kdump",
                "compress=lzo level=3",
                "compress lzo: lzo has no levels; they go with zstd and zlib",
            ),
        ] {
            let refused = chosen(crate::format(format).unwrap(), text).unwrap_err();
            assert_eq!(refused.to_string(), said);
        }
        let unknown = Chosen::of(DUMP_FORMATS[0], [("colour", Value::Yes)]).unwrap_err();
        assert!(matches!(unknown, ChoiceError::Unknown { .. }), "{unknown}");
    }

    #[test]
    fn texts_become_numbers_and_words() {
        let parse = |name: &str, text| {
            let choice = choices().into_iter().find(|choice| choice.name == name).unwrap();
            choice.parse(text).map_err(|error| error.to_string())
        };
        assert_eq!(parse("cr3", "0x1F"), Ok(Value::Number(0x1f)));
        assert_eq!(parse("runs", "guest"), Ok(Value::Word("guest")));
        assert_eq!(parse("runs", "nobody").unwrap_err(), "not one of machine, guest");
        assert_eq!(parse("vcpu", "4294967295"), Ok(Value::Number(u32::MAX.into())));
        assert_eq!(parse("dump-level", "32").unwrap_err(), "32 is not in 0..=31");
        assert_eq!(parse("level", "-1").unwrap_err(), "-1 is not in 0..=255");
        assert_eq!(parse("threads", "0").unwrap_err(), "number would be zero for non-zero type");
        assert_eq!(parse("build", "x").unwrap_err(), "invalid digit found in string");
        let too_long = parse("bugcheck", "100000000").unwrap_err();
        assert_eq!(too_long, "not a 32-bit hexadecimal number: 100000000");
    }
}
