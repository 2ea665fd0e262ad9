//! What a file to write is to be, the same for both grammars.

mod convert;

use std::fmt;

use vmss2core_dump::{DumpFormat, Existing};

use crate::args::{ConvertArgs, Global, Source};
use crate::commands::{Arguments, Plan, convert as command};
use crate::exit::Exit;
pub(crate) use convert::{ConvertPlan, Target};

/// What happens to a file that has the name of an output: one that the user typed, or
/// one that nobody did.
pub(crate) fn existing(overwrite: bool, is_typed: bool) -> Existing {
    match (overwrite, is_typed) {
        (false, _) => Existing::Stays,
        (true, true) => Existing::IsReplaced,
        (true, false) => Existing::IsReplacedUnlessLink,
    }
}

impl Arguments for ConvertArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        Ok(Box::new(ConvertPlan::new(self, global.clone())?))
    }
}

impl Plan for ConvertPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        command::run(self)
    }
}

/// An output format.
#[derive(Clone, Copy)]
pub(crate) struct Format(pub(crate) &'static dyn DumpFormat);

impl Format {
    /// One view of memory by virtual address.
    pub(crate) const LINEAR: &str = "elf-linear";
    pub(crate) const PHYSICAL: &str = "elf-physical";
    pub(crate) const CRASH: &str = "elf";
    pub(crate) const KDUMP: &str = "kdump";
    pub(crate) const WINDBG: &str = "windbg";

    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let format = vmss2core_dump::format(name).map(Self);
        format.ok_or_else(|| format!("no output format is called {name}"))
    }

    /// Whether it is a dump of Windows.
    fn is_windbg(self) -> bool {
        self.0.name().starts_with(Self::WINDBG)
    }

    /// Whether gdb opens it.
    fn is_elf(self) -> bool {
        self.0.name().starts_with("elf")
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}
