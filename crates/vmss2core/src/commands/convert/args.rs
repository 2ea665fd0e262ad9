//! Arguments of `convert`, and the plan that they make.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, ValueHint};
use vmss2core::Guest;
use vmss2core_dump::{DUMP_FORMATS, Existing, Value};

use super::chosen::ChosenArgs;
use super::request::{Format, Request};
use crate::args::{Global, ProgressWhen, Source, Style};
use crate::commands::{Arguments, JSON_AND_STDOUT, Plan};
use crate::exit::usage;
use crate::output::existing;

/// Write a checkpoint as a file that a debugger opens
///
/// An existing file is not replaced without --force. The file gets its name
/// when it is complete: what stops before that leaves nothing behind.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core convert vm.vmss -o vm.elf
  vmss2core convert vm.vmss -o vm.kdump -f kdump       small, for crash and drgn
  vmss2core convert vm.vmss -o vm.kdump -f kdump -d 31 the kernel's memory only
  vmss2core convert vm.vmss -o - -f kdump | ssh host 'makedumpfile -R vm.kdump'
  vmss2core convert vm.vmss -o memory.dmp -f windbg    a Windows guest
  vmss2core convert vm.vmss -o core1 -f elf-linear --vcpu 1 --gdb-script
  gdb -x core1.gdb -c core1      with the registers as $cr3_1 and so on")]
pub(crate) struct ConvertArgs {
    /// Files of the checkpoint, in any order, or its directory
    #[arg(required = true, value_name = "IN", value_hint = ValueHint::AnyPath)]
    inputs: Vec<PathBuf>,
    /// File to write; "-" for standard output (kdump, flattened)
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    output: PathBuf,
    /// Kind of file to write
    #[arg(short, long, value_parser = format_parser(), default_value = AUTO)]
    format: String,
    /// Replace OUT if it exists
    #[arg(long)]
    force: bool,
    /// Print what was written as JSON (docs/schema/convert-1.json)
    #[arg(long)]
    json: bool,
    /// Choices that the formats offer.
    #[command(flatten)]
    chosen: ChosenArgs,
}

fn format_parser() -> PossibleValuesParser {
    let auto = PossibleValue::new(AUTO)
        .help("by the guest: windbg of Windows, elf of Linux, else elf-linear or elf-physical");
    let values =
        DUMP_FORMATS.iter().map(|format| PossibleValue::new(format.name()).help(format.about()));
    PossibleValuesParser::new(std::iter::once(auto).chain(values))
}

/// The format that the guest's own debuggers open.
const AUTO: &str = "auto";

impl Arguments for ConvertArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        let format = match self.format.as_str() {
            AUTO => None,
            name => Some(Format::named(name)?),
        };
        check_output(&self.output, format)?;
        let what = match format {
            Some(format) => What::Format(Request::new(format, self.chosen.0)?),
            None => What::ByGuest(self.chosen.0),
        };
        let to_stdout = is_stdout(&self.output);
        if self.json && to_stdout {
            return Err(JSON_AND_STDOUT.to_owned());
        }
        let beside = || if to_stdout { std::env::temp_dir() } else { directory_of(&self.output) };
        let spill_dir = global.tmpdir.clone().unwrap_or_else(beside);
        Ok(Box::new(ConvertPlan {
            source: Source { inputs: self.inputs, spill_dir, talk: global.talk() },
            what,
            output: if to_stdout { Target::Stdout } else { Target::File(self.output) },
            existing: existing(self.force, true),
            progress: global.progress(),
            style: Style::of(self.json),
        }))
    }
}

/// Write one file under a name of the user's choice.
#[derive(Debug)]
pub(super) struct ConvertPlan {
    pub(super) source: Source,
    pub(super) what: What,
    pub(super) output: Target,
    pub(super) existing: Existing,
    pub(super) progress: ProgressWhen,
    pub(super) style: Style,
}

/// What to write.
#[derive(Clone, Debug)]
pub(super) enum What {
    Format(Request),
    /// The format that the guest's own debuggers open, with what was chosen.
    ByGuest(Vec<(&'static str, Value)>),
}

impl What {
    /// For this guest.
    pub(super) fn of(&self, guest: &Guest) -> anyhow::Result<Request> {
        match self {
            Self::Format(request) => Ok(request.clone()),
            Self::ByGuest(chosen) => {
                let format = Format::named(vmss2core_dump::format_for(guest.facts()));
                let request =
                    format.and_then(|format| Request::new(format, chosen.iter().copied()));
                request.map_err(usage)
            }
        }
    }
}

/// Where a file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    File(PathBuf),
    Stdout,
}

/// `-`; a file of that name is `./-`.
fn is_stdout(output: &Path) -> bool {
    output.as_os_str() == "-"
}

fn check_output(output: &Path, format: Option<Format>) -> Result<(), String> {
    if is_stdout(output) {
        return if format.is_some_and(|format| format.0.stream().is_some()) {
            Ok(())
        } else {
            Err(no_stream())
        };
    }
    if output.is_dir() {
        return Err(format!("{} is a directory; -o needs the name of a file", output.display()));
    }
    Ok(())
}

fn no_stream() -> String {
    let streams = DUMP_FORMATS.iter().filter(|format| format.stream().is_some());
    let names: Vec<String> = streams.map(|one| format!("--format {}", one.name())).collect();
    format!(
        "cannot write to standard output: the file is written with holes and not from front to \
         back; give a file name (./- for a file called -), or use {}",
        names.join(" or ")
    )
}

/// The directory that a file is in.
fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_a_bare_name_is_the_current_one() {
        assert_eq!(directory_of(Path::new("x.core")), Path::new("."));
        assert_eq!(directory_of(Path::new("a/x.core")), Path::new("a"));
        assert_eq!(directory_of(Path::new("/x.core")), Path::new("/"));
    }
}
