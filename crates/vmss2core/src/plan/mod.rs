//! What is to be done: the command line's meaning, the same for both grammars.

use std::fmt;
use std::path::{Path, PathBuf};

use clap_complete::Shell;
use vmss2core_dump::process::ProcessOptions;
use vmss2core_dump::{DumpFormat, WriteOptions};
use vmss2core_guest::linux::{GivenFiles, LinuxOffsets};
use vmss2core_report::{ModuleList, TimeStyle};

use crate::args::{
    Cli, Command, ConvertArgs, CoreArgs, DmesgArgs, Global, GuestArgs, InfoArgs, KernelArgs,
    ModulesArgs, ProgressWhen, PsArgs, SymbolsArgs,
};
use crate::legacy::{KernelFamily, LegacyArgs, NotYet, Output};

mod bt;
mod crash_args;
mod process;
mod types;

pub(crate) use bt::{BtPlan, Stacks};
pub(crate) use crash_args::CrashArgsPlan;
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
    pub(crate) options: ProcessOptions,
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

/// Write one file under a name of the user's choice.
#[derive(Debug)]
pub(crate) struct ConvertPlan {
    pub(crate) source: Source,
    pub(crate) format: Format,
    pub(crate) output: Target,
    pub(crate) options: WriteOptions,
    pub(crate) progress: ProgressWhen,
}

/// Where a file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    File(PathBuf),
    Stdout,
}

/// Write the files that the original wrote.
#[derive(Debug)]
pub(crate) struct OriginalPlan {
    pub(crate) source: Source,
    pub(crate) cores: Cores,
    /// The kernel as the user states it.
    pub(crate) stated: StatedKernel,
    pub(crate) notes: Vec<String>,
    pub(crate) quiet: bool,
    pub(crate) progress: ProgressWhen,
}

/// Which cores to write.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cores {
    EachVcpu,
    OneVcpu(u32),
    Whole(Format),
}

/// What the user says about the guest's kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatedKernel {
    pub(crate) family: Option<KernelFamily>,
    pub(crate) offsets: Option<LinuxOffsets>,
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

    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let format = vmss2core_dump::format(name).map(Self);
        format.ok_or_else(|| format!("no output format is called {name}"))
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
            Command::Convert(args) => Self::Convert(convert(args, cli.global)?),
            Command::Core(args) => Self::Core(core(args, &cli.global)),
            Command::Maps(args) => Self::Maps(MapsPlan::new(args, &cli.global)),
            Command::Extract(args) => Self::Extract(ExtractPlan::new(args, &cli.global)),
            Command::Ps(args) => Self::Ps(PsPlan::new(args, &cli.global)),
            Command::CrashArgs(args) => Self::CrashArgs(CrashArgsPlan::new(args, &cli.global)),
            Command::Bt(args) => Self::Bt(BtPlan::new(args, &cli.global)),
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
        options: ProcessOptions { overwrite: args.force, zero_fill: args.zero_fill },
        style: if args.json { CoreStyle::Json } else { CoreStyle::Text },
        progress: global.progress,
    }
}

fn convert(args: ConvertArgs, global: Global) -> Result<ConvertPlan, String> {
    let format = Format::named(&args.format)?;
    check_output(&args, format)?;
    check_options(&args, format)?;
    let to_stdout = is_stdout(&args.output);
    let beside = || if to_stdout { std::env::temp_dir() } else { directory_of(&args.output) };
    let spill_dir = global.tmpdir.unwrap_or_else(beside);
    Ok(ConvertPlan {
        source: Source { inputs: args.inputs, spill_dir },
        format,
        output: if to_stdout { Target::Stdout } else { Target::File(args.output) },
        options: WriteOptions {
            overwrite: args.force,
            vcpu: args.vcpu.unwrap_or(0),
            all_threads: args.all_threads,
            no_dedup: args.no_dedup,
            cr3: args.cr3,
            gdb_script: args.gdb_script,
            kdump: args.kdump.options()?,
        },
        progress: global.progress,
    })
}

/// `-`; a file of that name is `./-`.
fn is_stdout(output: &Path) -> bool {
    output.as_os_str() == "-"
}

fn check_output(args: &ConvertArgs, format: Format) -> Result<(), String> {
    if is_stdout(&args.output) {
        return if format.0.is_stream() {
            Ok(())
        } else {
            Err("cannot write to standard output: the file is written with holes and not \
                 from front to back; give a file name (./- for a file called -), or use \
                 --format kdump"
                .into())
        };
    }
    if args.output.is_dir() {
        return Err(format!(
            "{} is a directory; -o needs the name of a file",
            args.output.display()
        ));
    }
    Ok(())
}

fn check_options(args: &ConvertArgs, format: Format) -> Result<(), String> {
    let name = format.0.name();
    let linear = [
        ("--vcpu", args.vcpu.is_some()),
        ("--all-threads", args.all_threads),
        ("--no-dedup", args.no_dedup),
        ("--cr3", args.cr3.is_some()),
    ];
    if let Some((option, _)) = linear.iter().find(|(_, given)| *given && name != Format::LINEAR) {
        return Err(format!("{option} goes with --format {}, not with {name}", Format::LINEAR));
    }
    if let Some(option) = args.kdump.given().filter(|_| name != Format::KDUMP) {
        return Err(format!("{option} goes with --format {}, not with {name}", Format::KDUMP));
    }
    if args.gdb_script && !format.is_elf() {
        return Err(format!("--gdb-script goes with ELF formats; gdb does not open {name}"));
    }
    Ok(())
}

/// The directory that a file is in.
fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

impl LegacyArgs {
    /// What a command line in the original grammar means.
    pub(crate) fn into_plan(self) -> Result<Plan, String> {
        let mut stated = StatedKernel::default();
        let cores = match self.output.as_ref().map(|requested| requested.what) {
            None => Cores::EachVcpu,
            Some(Output::LinearOne(vcpu)) => Cores::OneVcpu(vcpu),
            Some(Output::Physical) => Cores::Whole(Format::named(Format::PHYSICAL)?),
            Some(Output::Crash(family)) => {
                stated = StatedKernel { family, offsets: self.kernel.offsets.clone() };
                Cores::Whole(Format::named(Format::CRASH)?)
            }
            Some(Output::Process(pid)) => return self.into_process_core(pid),
            Some(Output::ProcessList) => return self.into_process_list(),
            Some(Output::NotYet(what)) => return Err(self.not_yet(what)),
        };
        self.check_command()?;
        self.check_memory_file()?;
        let notes = self.entry.map(|_| "-O is accepted and ignored: no debugger needs it".into());
        Ok(Plan::Original(OriginalPlan {
            source: Source {
                inputs: self.files,
                spill_dir: self.global.tmpdir.unwrap_or_else(|| PathBuf::from(".")),
            },
            cores,
            stated,
            notes: notes.into_iter().collect(),
            quiet: self.quiet,
            progress: self.global.progress,
        }))
    }

    /// As all files in this grammar, it goes to the current directory and replaces
    /// what is there.
    fn into_process_core(self, pid: u32) -> Result<Plan, String> {
        self.check_command()?;
        self.check_memory_file()?;
        let spill_dir = self.global.tmpdir.unwrap_or_else(|| PathBuf::from("."));
        Ok(Plan::Core(CorePlan {
            guest: GuestPlan {
                files: given(self.kernel, spill_dir.clone()),
                source: Source { inputs: self.files, spill_dir },
            },
            wanted: vec![Wanted::Pid(pid)],
            output: None,
            options: ProcessOptions { overwrite: true, zero_fill: false },
            style: CoreStyle::Original { quiet: self.quiet },
            progress: self.global.progress,
        }))
    }

    /// On stdout, as the original printed it.
    fn into_process_list(self) -> Result<Plan, String> {
        self.check_command()?;
        self.check_memory_file()?;
        let spill_dir = self.global.tmpdir.unwrap_or_else(std::env::temp_dir);
        let files = given(self.kernel, spill_dir.clone());
        let guest = GuestPlan { source: Source { inputs: self.files, spill_dir }, files };
        Ok(Plan::Ps(PsPlan { guest, threads: false, style: PsStyle::Text }))
    }

    /// A command that is misspelt looks like a file.
    fn check_command(&self) -> Result<(), String> {
        let Some(first) = self.files.first().filter(|first| !first.exists()) else {
            return Ok(());
        };
        let name = first.to_string_lossy();
        if !name.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
            return Ok(());
        }
        Err(format!("{name}: no such file, and no command is called that; see vmss2core --help"))
    }

    /// Many guides have the second file wrong: they take it for the output.
    fn check_memory_file(&self) -> Result<(), String> {
        let [_, second] = self.files.as_slice() else { return Ok(()) };
        if second.exists() {
            return Ok(());
        }
        Err(format!(
            "{}: no such file; the second file is an input, the memory of the checkpoint\n\
             to choose the name of the output: vmss2core convert IN -o OUT --format FORMAT",
            second.display()
        ))
    }

    fn not_yet(&self, what: NotYet) -> String {
        let option = self.output.as_ref().map_or("", |requested| requested.option.as_str());
        let files: Vec<String> = self
            .files
            .iter()
            .map(|file| vmss2core_report::shell_word(&file.to_string_lossy()))
            .collect();
        let files = files.join(" ");
        let (missing, instead) = match what {
            NotYet::Windows => (
                "a WinDbg dump".to_owned(),
                format!("vmss2core convert {files} -o memory.raw --format raw, for volatility"),
            ),
            NotYet::MacOs => {
                ("a macOS core".to_owned(), format!("vmss2core {files}, for lldb and gdb"))
            }
            NotYet::Solaris => ("a Solaris core".to_owned(), format!("vmss2core {files}, for gdb")),
            NotYet::Firmware => {
                ("a core of a firmware exception".to_owned(), format!("vmss2core {files}, for gdb"))
            }
        };
        format!("{option}: {missing} is not in this version yet\nwhat works: {instead}")
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
