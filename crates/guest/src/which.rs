//! Which process is asked for.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use vmss2core_mem::text::printable;

/// A process by its number, by that of one of its threads, or by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// A number.
    Number(u32),
    /// A name. Questions about one process refuse a name that several have.
    Name(String),
}

impl Which {
    /// Says that process `pid` was asked for by the number of one of its threads.
    pub fn thread_of_process(&self, pid: u64, name: &str) -> Option<String> {
        match self {
            Self::Number(number) => thread_of_process((*number).into(), pid, name),
            Self::Name(_) => None,
        }
    }
}

impl From<u32> for Which {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

/// Text as a user types it: digits are a number, everything else is a name.
impl FromStr for Which {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Number))
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Says that the guest has no such process.
pub(crate) fn absent(which: &Which) -> String {
    match which {
        Which::Number(number) => format!("the guest has no process or thread {number}"),
        Which::Name(name) => format!("the guest has no process called {}", printable(name)),
    }
}

/// Says that a number, by which a process was asked for, is that of one of its threads.
pub(crate) fn thread_of_process(number: u64, pid: u64, name: &str) -> Option<String> {
    (number != pid).then(|| format!("{number} ({name}) is a thread of process {pid}"))
}
