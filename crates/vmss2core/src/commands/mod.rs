//! Commands of the program, one file (or folder) for each.
//!
//! To add a command: a file `NAME.rs` here with what is typed ([`Arguments`]), what
//! that means and does ([`Plan`]), its `mod` and its line in the list below. Help,
//! manual pages and completions come from the list.

mod bt;
mod btf;
mod completions;
pub(crate) mod convert;
mod core;
mod crash_args;
mod dmesg;
mod extract;
mod gdb;
mod info;
mod linuxoffsets;
mod man;
mod maps;
mod meant;
mod modules;
pub(crate) mod open;
mod processes;
mod ps;
mod schema;
mod symbols;
mod vmcoreinfo;

pub(crate) use self::core::{CorePlan, CoreStyle};
pub(crate) use meant::meant;
pub(crate) use ps::PsPlan;

use clap::Subcommand;

use crate::args::Global;
use crate::exit::Exit;

/// What is said to who wants a file and JSON in one place.
const JSON_AND_STDOUT: &str =
    "--json prints to standard output, which is where the file is to go: give -o a file";

/// Something to do: a command line's meaning, the same for both grammars.
pub(crate) trait Plan {
    /// Does it.
    fn run(&self) -> anyhow::Result<Exit>;
}

/// Arguments of a command. Its doc comment is the command's help.
pub(crate) trait Arguments: clap::Args {
    /// Its meaning; an error is one of usage.
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String>;
}

/// Makes the list of commands, from which clap has their names and arguments.
macro_rules! commands {
    ($($name:ident($arguments:ty),)*) => {
        /// A command, as it was typed.
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command {
            $($name($arguments),)*
        }

        impl Command {
            /// Its meaning.
            pub(crate) fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
                match self {
                    $(Self::$name(arguments) => arguments.plan(global),)*
                }
            }
        }
    };
}

// In the order of help.
commands! {
    Info(info::InfoArgs),
    Convert(convert::ConvertArgs),
    Core(core::CoreArgs),
    Ps(ps::PsArgs),
    Maps(maps::MapsArgs),
    Extract(extract::ExtractArgs),
    Bt(bt::BtArgs),
    Gdb(gdb::GdbArgs),
    CrashArgs(crash_args::CrashArgsArgs),
    Vmcoreinfo(vmcoreinfo::VmcoreinfoArgs),
    Symbols(symbols::SymbolsArgs),
    Linuxoffsets(linuxoffsets::LinuxoffsetsArgs),
    Btf(btf::BtfArgs),
    Dmesg(dmesg::DmesgArgs),
    Modules(modules::ModulesArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}
