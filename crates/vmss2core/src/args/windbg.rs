//! What `convert --format windbg` takes.

use clap::{Args, ValueEnum};
use vmss2core_dump::{MemoryRuns, WindbgOptions};

use super::hex;

const HEADING: &str = "Options of --format windbg and windbg-bitmap";

/// What a Windows dump holds and says.
#[derive(Clone, Debug, Args)]
pub(crate) struct WindbgArgs {
    /// Leave out stretches of zeroes; the dump gets a bitmap of its pages
    ///
    /// Debuggers show such memory as missing and not as zeroes. As holes of the
    /// file zeroes take no space anyway; but they count in the file's length.
    #[arg(long, help_heading = HEADING)]
    sparse: bool,
    /// Which memory to write: all that the machine has, or what the guest's
    /// Windows would write itself [default: machine]
    #[arg(long, value_name = "WHOSE", hide_possible_values = true, help_heading = HEADING)]
    runs: Option<Runs>,
    /// Bugcheck to state for a guest that has not crashed [default: 0x161]
    #[arg(long, value_name = "HEX", value_parser = code, help_heading = HEADING)]
    bugcheck: Option<u32>,
    /// Of a crashed guest: registers of its vCPUs, not those that it saved
    #[arg(long, help_heading = HEADING)]
    live_context: bool,
    /// Write the guest's memory as it is, nothing over it
    ///
    /// Otherwise the dump has its debugger data decoded, and the registers of
    /// each vCPU where debuggers look for them. The input is never changed.
    #[arg(long, help_heading = HEADING)]
    no_patch: bool,
    /// Build number to state instead of the guest's
    #[arg(long, value_name = "N", help_heading = HEADING)]
    build: Option<u32>,
}

/// Which memory to write.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Runs {
    Machine,
    Guest,
}

fn code(text: &str) -> Result<u32, String> {
    u32::try_from(hex(text)?).map_err(|_| format!("not a 32-bit hexadecimal number: {text}"))
}

impl WindbgArgs {
    /// The first option that was given, by name.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let options = [
            ("--sparse", self.sparse),
            ("--runs", self.runs.is_some()),
            ("--bugcheck", self.bugcheck.is_some()),
            ("--live-context", self.live_context),
            ("--no-patch", self.no_patch),
            ("--build", self.build.is_some()),
        ];
        options.iter().find(|(_, given)| *given).map(|(name, _)| *name)
    }

    /// What they mean.
    pub(crate) fn options(&self) -> WindbgOptions {
        WindbgOptions {
            build: self.build,
            bugcheck: self.bugcheck,
            runs: match self.runs {
                Some(Runs::Guest) => MemoryRuns::Guest,
                Some(Runs::Machine) | None => MemoryRuns::Machine,
            },
            sparse: self.sparse,
            live_context: self.live_context,
            no_patch: self.no_patch,
        }
    }
}
