//! How the program ends: exit codes, and the message that goes with them.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use anyhow::Error;
use vmss2core::Guest;
use vmss2core_answers::ErrorReport;
use vmss2core_checkpoint::{ErrorKind, OpenError};
use vmss2core_dump::DumpError;
use vmss2core_gdb::ServerError;
use vmss2core_guest::AskError;
use vmss2core_mem::{Problem, Severity};

use crate::args::Style;
use crate::{failure, output};

/// The table of exit codes for `--help` and the man page.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done
  1    failed
  2    wrong usage, or an option that this version does not have
  3    the file is not a checkpoint that this program knows
  4    done, but part of the guest is missing from the result, or its
       registers and memory do not fit each other
  5    the checkpoint is encrypted
  130  stopped with Ctrl-C (143: with SIGTERM, 129: its terminal closed)";

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    Usage,
    NotACheckpoint,
    Partial,
    NeedsKey,
    Stopped { signal: u8 },
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotACheckpoint => 3,
            Self::Partial => 4,
            Self::NeedsKey => 5,
            // As shells report a process that a signal ended.
            Self::Stopped { signal } => (signal & 0x7f).saturating_add(128),
        }
    }

    /// How a command ends that worked with this guest and came across these problems.
    pub(crate) fn of_guest(guest: &Guest, more: &[Problem]) -> Self {
        Self::with_problems(guest.misfit().into_iter().chain(guest.problems()).chain(more))
    }

    /// How a command ends that succeeded with these problems.
    pub(crate) fn with_problems<'a>(problems: impl IntoIterator<Item = &'a Problem>) -> Self {
        let mut severities = problems.into_iter().map(|problem| problem.severity);
        if severities.any(|severity| severity == Severity::Incomplete) {
            Self::Partial
        } else {
            Self::Done
        }
    }
}

/// The command line makes no sense; the text says why.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

pub(crate) fn usage(text: impl Into<String>) -> Error {
    UsageError(text.into()).into()
}

/// The user stopped the program; the text says what that left undone.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) signal: u8,
    pub(crate) text: String,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Stopped {}

/// Prints the error, unless it is the reader of our output having gone, and
/// says how the program ends. Programs get it on stdout too, where an answer would be.
pub(crate) fn report(error: &Error, style: Style) -> Exit {
    if is_broken_pipe(error) {
        return Exit::Done;
    }
    let message = advised(error);
    output::talk(&format!("vmss2core: {message}"));
    let exit = code_for(error);
    if style == Style::Json {
        let report = ErrorReport { kind: failure::kind(error), message, exit: exit.code() };
        // Who does not read it has the exit code.
        let _ = output::answer(&report, style);
    }
    exit
}

/// An error as a sentence, with what the user may type.
pub(crate) fn advised(error: &Error) -> String {
    let advice = advice(error).map_or_else(String::new, |advice| format!("; {advice}"));
    format!("{error:#}{advice}")
}

/// Advice against an error, as the user types it.
fn advice(error: &Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        let of_library = cause.downcast_ref().and_then(advice_for);
        let of_writer = || cause.downcast_ref().and_then(advice_for_writer);
        of_library.or_else(of_writer).or_else(|| advice_for_server(cause.downcast_ref()?))
    })
}

fn advice_for(error: &vmss2core::Error) -> Option<&'static str> {
    match error {
        vmss2core::Error::Write(error) => advice_for_writer(error),
        vmss2core::Error::Ask(AskError::NoProcess(_)) => Some("vmss2core ps lists them"),
        vmss2core::Error::SeveralProcesses { .. } => Some("give the number of one"),
        vmss2core::Error::NoSymbols => {
            Some("give --system-map FILE or --vmlinux FILE of this kernel")
        }
        vmss2core::Error::NoSystem => Some("vmss2core info says what was looked for"),
        vmss2core::Error::Ask(AskError::NoCpu { known, .. }) if known.is_empty() => {
            Some("bt without --cpu shows all")
        }
        _ => None,
    }
}

fn advice_for_writer(error: &DumpError) -> Option<&'static str> {
    match error {
        DumpError::Exists { .. } => Some("use --force to replace it"),
        DumpError::Write { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Some("vmss2core convert FILE -o PATH writes to another place")
        }
        DumpError::NotLinux { system: Some("Windows"), .. } => {
            Some("-W writes memory.dmp for WinDbg (convert: --format windbg)")
        }
        DumpError::NotLinux { .. } => Some("use the formats elf-physical, elf-linear or raw"),
        DumpError::NotWindows { .. } => Some("--format raw writes the memory as it is"),
        DumpError::Compress { .. } => Some("try another --compress"),
        DumpError::NothingMapped { .. } => {
            Some("use the physical view (-M), or other tables (--cr3)")
        }
        DumpError::UnknownPageTables { .. } => Some("use the physical view (-M)"),
        DumpError::NoAddressSpace { .. } => {
            Some("name page tables (--cr3), or use the physical view (-M)")
        }
        _ => None,
    }
}

fn advice_for_server(error: &ServerError) -> Option<&'static str> {
    match error {
        ServerError::NoUnixSockets => Some("use --port"),
        ServerError::Listen { place, source } if source.kind() == io::ErrorKind::AddrInUse => {
            Some(if place.parse::<SocketAddr>().is_ok() {
                "another vmss2core gdb? Give another --port, or --port 0 for any free one"
            } else {
                "remove it, or name another"
            })
        }
        _ => None,
    }
}

/// An error of the library as a sentence, with what the user of a debugger may type.
pub(crate) fn explained(error: &vmss2core::Error) -> String {
    let advice = advice_for(error).map_or_else(String::new, |advice| format!("; {advice}"));
    // The list is at hand there under another name.
    format!("{}{}", error.in_full(), advice.replace("vmss2core ps", "monitor ps"))
}

/// Prints help or the version on stdout.
pub(crate) fn clap(asked_for: &clap::Error) -> anyhow::Result<Exit> {
    asked_for.print()?;
    Ok(Exit::Done)
}

fn code_for(error: &Error) -> Exit {
    for cause in error.chain() {
        if cause.is::<UsageError>() {
            return Exit::Usage;
        }
        if let Some(stopped) = cause.downcast_ref::<Stopped>() {
            return Exit::Stopped { signal: stopped.signal };
        }
        let of_library = match cause.downcast_ref() {
            Some(vmss2core::Error::Open(error)) => Some(error),
            _ => None,
        };
        if let Some(error) = of_library.or_else(|| cause.downcast_ref::<OpenError>()) {
            return match error.kind() {
                ErrorKind::NotACheckpoint => Exit::NotACheckpoint,
                ErrorKind::NeedsKey => Exit::NeedsKey,
                _ => Exit::Failed,
            };
        }
    }
    Exit::Failed
}

/// Rust programs are not ended by SIGPIPE; writing fails instead.
fn is_broken_pipe(error: &Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
    })
}
