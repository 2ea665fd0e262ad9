//! Arguments of `extract`, and the plan that they make.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use vmss2core::Which;

use crate::args::{Global, GuestArgs, GuestPlan, OneProcessArgs, Style};
use crate::commands::{Arguments, Plan};

/// Rebuild files of a process from the guest's page cache
///
/// Debuggers want the executable and the libraries for their symbols; of most the
/// guest has every page in memory. With --maps they go to a directory that gdb
/// takes as sysroot. What the guest does not have in memory is a hole in the file,
/// and is listed on stderr; the exit code is 4 then.
#[derive(Debug, Args)]
#[command(mut_group("process", |group| group.required(true)), after_help = "\
Examples:
  vmss2core extract vm.vmss --pid 1234 --maps -o sysroot
  gdb -iex 'set sysroot sysroot' sysroot/usr/sbin/nginx core.1234
  vmss2core extract vm.vmss --pid 1234 --exe -o nginx
  vmss2core extract vm.vmss --pid 1234 --file /usr/lib/locale/locale-archive

Files get the mode 0600, directories 0700. Whatever the guest calls its files,
nothing is written outside of the output directory.")]
pub(crate) struct ExtractArgs {
    #[command(flatten)]
    guest: GuestArgs,
    #[command(flatten)]
    process: OneProcessArgs,
    #[command(flatten)]
    what: ExtractWhat,
    /// File to write, or directory (with --maps always one) [default: the
    /// file's own name, or sysroot]
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    output: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
    /// Print what was written as JSON (docs/schema/extract-1.json)
    #[arg(long)]
    json: bool,
}

/// Which files.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ExtractWhat {
    /// The executable
    #[arg(long)]
    exe: bool,
    /// The executable and all libraries, below a directory
    #[arg(long)]
    maps: bool,
    /// A mapped file, by its path in the guest
    #[arg(long, value_name = "PATH")]
    file: Option<String>,
}

impl Arguments for ExtractArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        let files = match self.what {
            ExtractWhat { file: Some(path), .. } => WantedFiles::Path(path),
            ExtractWhat { maps: true, .. } => WantedFiles::Programs,
            ExtractWhat { .. } => WantedFiles::Executable,
        };
        Ok(Box::new(ExtractPlan {
            guest: self.guest.plan(global),
            pid: self.process.which().ok_or("--pid or --name is missing")?,
            files,
            output: self.output,
            overwrite: self.force,
            style: Style::of(self.json),
        }))
    }
}

/// Rebuild files of a process.
#[derive(Debug)]
pub(super) struct ExtractPlan {
    pub(super) guest: GuestPlan,
    pub(super) pid: Which,
    pub(super) files: WantedFiles,
    pub(super) output: Option<PathBuf>,
    pub(super) overwrite: bool,
    pub(super) style: Style,
}

/// Which files of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WantedFiles {
    /// The executable.
    Executable,
    /// The executable and all libraries.
    Programs,
    /// The one of this path.
    Path(String),
}
