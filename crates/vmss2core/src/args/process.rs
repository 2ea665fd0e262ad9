//! Arguments that say which processes are meant: the same in every command.

use clap::Args;
use vmss2core::Which;

/// The processes that a command is about.
#[derive(Clone, Debug, Default, Args)]
#[group(id = "processes", multiple = true)]
pub(crate) struct ProcessArgs {
    /// The process: its number or name, or the number of one of its threads; several with
    /// commas
    #[arg(long, value_name = "PID|TID|NAME", value_delimiter = ',')]
    pid: Vec<Which>,
    /// All processes of this name; may be given several times
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
}

impl ProcessArgs {
    /// In the order of their numbers as typed, then by name.
    pub(crate) fn wanted(self) -> Vec<Wanted> {
        let one = self.pid.into_iter().map(Wanted::One);
        one.chain(self.name.into_iter().map(Wanted::All)).collect()
    }
}

/// A process that a command is about, or several.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// One process.
    One(Which),
    /// All processes of this name.
    All(String),
}

impl Wanted {
    /// Where a name may mean several.
    pub(crate) fn into_which(self) -> Which {
        match self {
            Self::One(which) => which,
            Self::All(name) => Which::Name(name),
        }
    }
}

/// The one process that a command is about.
#[derive(Clone, Debug, Default, Args)]
#[group(id = "process", multiple = false)]
pub(crate) struct OneProcessArgs {
    /// The process: its number or name, or the number of one of its threads
    #[arg(long, value_name = "PID|TID|NAME")]
    pid: Option<Which>,
    /// The process of this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl OneProcessArgs {
    pub(crate) fn which(self) -> Option<Which> {
        self.pid.or_else(|| self.name.map(Which::Name))
    }
}
