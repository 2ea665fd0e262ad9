//! What is to be done: the command line's meaning, the same for both grammars.

use std::fmt;
use std::path::PathBuf;

use clap_complete::Shell;
use vmss2core_answers::{ModuleList, TimeStyle};
use vmss2core_dump::{DumpFormat, Existing};
use vmss2core_guest::linux::GivenFiles;

use crate::args::{
    Cli, Command, CoreArgs, DmesgArgs, Global, GuestArgs, InfoArgs, KernelArgs, ModulesArgs,
    ProgressWhen, PsArgs, SymbolsArgs,
};

mod bt;
mod convert;
mod crash_args;
mod gdb;
mod original;
mod process;
mod types;

pub(crate) use bt::{BtPlan, Stacks};
pub(crate) use convert::{ConvertPlan, Target};
pub(crate) use crash_args::CrashArgsPlan;
pub(crate) use gdb::{GdbPlan, Place, Threads};
pub(crate) use original::{Cores, OriginalPlan, StatedKernel};
pub(crate) use process::{ExtractPlan, MapsPlan, MapsStyle, WantedFiles};
pub(crate) use types::{BtfPlan, Offsets, OffsetsPlan};

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Plan {
    Info(InfoPlan),
    Convert(ConvertPlan),
    Original(OriginalPlan),
    Ps(PsPlan),
    Maps(MapsPlan),
    Extract(ExtractPlan),
    Bt(BtPlan),
    Gdb(GdbPlan),
    CrashArgs(CrashArgsPlan),
    Vmcoreinfo(GuestPlan),
    Offsets(OffsetsPlan),
    Btf(BtfPlan),
    Symbols(SymbolsPlan),
    Dmesg(DmesgPlan),
    Core(CorePlan),
    Modules(ModulesPlan),
    Completions(Shell),
    Man(Option<PathBuf>),
}

/// Which checkpoint, and where its reader may put temporary files.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) inputs: Vec<PathBuf>,
    pub(crate) spill_dir: PathBuf,
}

/// What happens to a file that has the name of an output: one that the user typed, or
/// one that nobody did.
pub(crate) fn existing(overwrite: bool, is_typed: bool) -> Existing {
    match (overwrite, is_typed) {
        (false, _) => Existing::Stays,
        (true, true) => Existing::IsReplaced,
        (true, false) => Existing::IsReplacedUnlessLink,
    }
}

/// A checkpoint whose kernel is asked something.
#[derive(Debug)]
pub(crate) struct GuestPlan {
    pub(crate) source: Source,
    /// What knows its kernel better than it does.
    pub(crate) files: GivenFiles,
}

impl GuestPlan {
    fn new(args: GuestArgs, global: &Global) -> Self {
        let spill_dir = global.tmpdir.clone().unwrap_or_else(std::env::temp_dir);
        let files = given(args.kernel, spill_dir.clone());
        Self { source: Source { inputs: args.inputs, spill_dir }, files }
    }
}

fn given(kernel: KernelArgs, spill_dir: PathBuf) -> GivenFiles {
    let KernelArgs { vmlinux, btf, system_map, offsets } = kernel;
    GivenFiles { offsets, vmlinux, btf, system_map, spill_dir }
}

/// List symbols of the kernel.
#[derive(Debug)]
pub(crate) struct SymbolsPlan {
    pub(crate) guest: GuestPlan,
    /// Names, patterns and addresses; all symbols if there are none.
    pub(crate) wanted: Vec<String>,
    pub(crate) style: Style,
}

/// List the modules.
#[derive(Debug)]
pub(crate) struct ModulesPlan {
    pub(crate) guest: GuestPlan,
    pub(crate) list: ModuleList,
    pub(crate) style: Style,
}

/// Print the kernel's log.
#[derive(Debug)]
pub(crate) struct DmesgPlan {
    pub(crate) guest: GuestPlan,
    pub(crate) times: TimeStyle,
    pub(crate) levels: Vec<u8>,
    pub(crate) style: Style,
}

/// Write cores of processes.
#[derive(Debug)]
pub(crate) struct CorePlan {
    pub(crate) guest: GuestPlan,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) output: Option<PathBuf>,
    /// Existing files are replaced.
    pub(crate) overwrite: bool,
    /// Zeroes are written for what the checkpoint does not have.
    pub(crate) zero_fill: bool,
    pub(crate) style: CoreStyle,
    pub(crate) progress: ProgressWhen,
}

/// How it is said what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CoreStyle {
    Text,
    Json,
    /// With the original's lines on stdout, and nothing if it is to be quiet.
    Original {
        quiet: bool,
    },
}

/// Which process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The one of this number, or the one with this thread.
    Pid(u32),
    /// All of this name.
    Name(String),
}

/// List processes.
#[derive(Debug)]
pub(crate) struct PsPlan {
    pub(crate) guest: GuestPlan,
    pub(crate) threads: bool,
    pub(crate) style: PsStyle,
}

/// What a list of processes looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PsStyle {
    Text,
    Tree,
    Json,
}

impl PsPlan {
    fn new(args: PsArgs, global: &Global) -> Self {
        let style = match (args.json, args.tree) {
            (true, _) => PsStyle::Json,
            (false, true) => PsStyle::Tree,
            (false, false) => PsStyle::Text,
        };
        Self { guest: GuestPlan::new(args.guest, global), threads: args.threads, style }
    }
}

/// Say what a checkpoint holds.
#[derive(Debug)]
pub(crate) struct InfoPlan {
    pub(crate) source: Source,
    pub(crate) show: Show,
}

/// What `info` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    Report(Style),
    Tags(Style),
    Tag(String),
}

/// Who a report is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Text,
    Json,
}

impl Style {
    fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// An output format.
#[derive(Clone, Copy)]
pub(crate) struct Format(pub(crate) &'static dyn DumpFormat);

impl Format {
    /// One view of memory by virtual address.
    pub(crate) const LINEAR: &str = "elf-linear";
    const PHYSICAL: &str = "elf-physical";
    const CRASH: &str = "elf";
    const KDUMP: &str = "kdump";
    const WINDBG: &str = "windbg";

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

impl Plan {
    /// What a command line with subcommands means.
    pub(crate) fn from_args(cli: Cli) -> Result<Self, String> {
        Ok(match cli.command {
            Command::Info(args) => Self::Info(info(args, cli.global)),
            Command::Convert(args) => Self::Convert(ConvertPlan::new(args, cli.global)?),
            Command::Core(args) => Self::Core(core(args, &cli.global)),
            Command::Maps(args) => Self::Maps(MapsPlan::new(args, &cli.global)),
            Command::Extract(args) => Self::Extract(ExtractPlan::new(args, &cli.global)),
            Command::Ps(args) => Self::Ps(PsPlan::new(args, &cli.global)),
            Command::CrashArgs(args) => Self::CrashArgs(CrashArgsPlan::new(args, &cli.global)),
            Command::Bt(args) => Self::Bt(BtPlan::new(args, &cli.global)),
            Command::Gdb(args) => Self::Gdb(GdbPlan::new(args, &cli.global)),
            Command::Vmcoreinfo(args) => Self::Vmcoreinfo(GuestPlan::new(args.guest, &cli.global)),
            Command::Linuxoffsets(args) => Self::Offsets(OffsetsPlan::new(&args, &cli.global)),
            Command::Btf(args) => Self::Btf(BtfPlan::new(args, &cli.global)),
            Command::Symbols(args) => Self::Symbols(symbols(args, &cli.global)),
            Command::Dmesg(args) => Self::Dmesg(dmesg(args, &cli.global)),
            Command::Modules(args) => Self::Modules(modules(args, &cli.global)),
            Command::Completions(args) => Self::Completions(args.shell),
            Command::Man(args) => Self::Man(args.dir),
        })
    }
}

/// The first word names a file; of the others, those that do not are symbols.
fn symbols(args: SymbolsArgs, global: &Global) -> SymbolsPlan {
    let mut guest = args.guest;
    let mut wanted = Vec::new();
    for word in guest.inputs.split_off(1.min(guest.inputs.len())) {
        if word.exists() {
            guest.inputs.push(word);
        } else {
            wanted.push(word.to_string_lossy().into_owned());
        }
    }
    let style = Style::of(args.json);
    SymbolsPlan { guest: GuestPlan::new(guest, global), wanted, style }
}

fn modules(args: ModulesArgs, global: &Global) -> ModulesPlan {
    ModulesPlan {
        guest: GuestPlan::new(args.guest, global),
        list: if args.proc { ModuleList::Proc } else { ModuleList::Table },
        style: Style::of(args.json),
    }
}

fn dmesg(args: DmesgArgs, global: &Global) -> DmesgPlan {
    DmesgPlan {
        guest: GuestPlan::new(args.guest, global),
        times: if args.ctime { TimeStyle::Date } else { TimeStyle::SinceBoot },
        levels: args.level.map_or_else(|| (0..=7).collect(), |levels| levels.0),
        style: Style::of(args.json),
    }
}

fn info(args: InfoArgs, global: Global) -> InfoPlan {
    let style = Style::of(args.json);
    let show = match args.tag {
        Some(tag) => Show::Tag(tag),
        None if args.tags => Show::Tags(style),
        None => Show::Report(style),
    };
    let spill_dir = global.tmpdir.unwrap_or_else(std::env::temp_dir);
    InfoPlan { source: Source { inputs: args.inputs, spill_dir }, show }
}

fn core(args: CoreArgs, global: &Global) -> CorePlan {
    let pids = args.pid.into_iter().map(Wanted::Pid);
    CorePlan {
        guest: GuestPlan::new(args.guest, global),
        wanted: pids.chain(args.name.into_iter().map(Wanted::Name)).collect(),
        output: args.output,
        overwrite: args.force,
        zero_fill: args.zero_fill,
        style: if args.json { CoreStyle::Json } else { CoreStyle::Text },
        progress: global.progress,
    }
}
