//! The command line with subcommands: what was typed, not yet what it means.
//!
//! `--help`, completions and man pages all come from these definitions.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use vmss2core_dump::DUMP_FORMATS;

use crate::{exit, legacy};

mod bt;
mod btf;
mod core;
mod crash_args;
mod dmesg;
mod gdb;
mod guest;
mod kdump;
mod linuxoffsets;
mod modules;
mod process;
mod ps;
mod symbols;
mod windbg;

pub(crate) use bt::BtArgs;
pub(crate) use btf::BtfArgs;
pub(crate) use core::CoreArgs;
pub(crate) use crash_args::CrashArgsArgs;
pub(crate) use dmesg::DmesgArgs;
pub(crate) use gdb::GdbArgs;
pub(crate) use guest::{GuestArgs, KernelArgs, VmcoreinfoArgs};
pub(crate) use kdump::KdumpArgs;
pub(crate) use linuxoffsets::LinuxoffsetsArgs;
pub(crate) use modules::ModulesArgs;
pub(crate) use process::{ExtractArgs, ExtractWhat, MapsArgs};
pub(crate) use ps::PsArgs;
pub(crate) use symbols::SymbolsArgs;
pub(crate) use windbg::WindbgArgs;

const EXAMPLES: &str = "\
Examples:
  vmss2core info vm.vmss         what is in it, and what to type next
  vmss2core -N6 vm.vmss          vmss.core for crash and drgn
  vmss2core vm.vmss              vmss.core0, vmss.core1, ...: the virtual
                                 memory of each vCPU, for gdb and lldb
  vmss2core -M vm.vmss vm.vmem   vmss.core: physical memory, for gdb
  vmss2core -W8 vm.vmss          memory.dmp of a Windows guest, for WinDbg
  vmss2core convert vm.vmsn -o vm.elf --format elf

A checkpoint may be given by any one of its files, by several in any order, or
by its directory; what kind of file each is shows in its content, not its name.";

/// From a virtual machine checkpoint to any debugger.
#[derive(Debug, Parser)]
#[command(
    name = "vmss2core",
    version,
    max_term_width = 80,
    about = "From a virtual machine checkpoint to any debugger",
    long_about = "Turns a virtual machine checkpoint (a suspended VM or a snapshot: .vmss, .vmsn, \
                  .vmem) into files that gdb, lldb, crash, drgn and WinDbg open. Nothing needs to be \
                  installed in the guest.",
    override_usage = "vmss2core <COMMAND> ...\n       vmss2core [ORIGINAL OPTIONS] <VMSS> [<VMEM>]",
    subcommand_required = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Options that go with every command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Global {
    /// Show progress on stderr
    ///
    /// "auto" shows a bar if stderr is a terminal and the operation takes more
    /// than a second; "always" without a terminal prints a line a second.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        help = "Show progress on stderr: auto, always, never",
        help_heading = "Global options"
    )]
    pub(crate) progress: ProgressWhen,
    /// Where temporary files go that some inputs need
    ///
    /// Compressed memory and packed support bundles are unpacked into an unnamed
    /// temporary file. It goes to this directory; if none is given, to that of
    /// the output, or to the system's for commands that write no file.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        help_heading = "Global options"
    )]
    pub(crate) tmpdir: Option<PathBuf>,
}

/// When to show progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressWhen {
    /// On a terminal, if it takes more than a second
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Info(InfoArgs),
    Convert(ConvertArgs),
    Core(CoreArgs),
    Ps(PsArgs),
    Maps(MapsArgs),
    Extract(ExtractArgs),
    Bt(BtArgs),
    Gdb(GdbArgs),
    CrashArgs(CrashArgsArgs),
    Vmcoreinfo(VmcoreinfoArgs),
    Symbols(SymbolsArgs),
    Linuxoffsets(LinuxoffsetsArgs),
    Btf(BtfArgs),
    Dmesg(DmesgArgs),
    Modules(ModulesArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Say what a checkpoint holds, and what to type next
///
/// Shows the product that wrote it, its files and how they were found, the
/// memory map with its holes, where each vCPU is, what is known of the guest's
/// operating system and how it was found, and the commands worth typing next.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core info vm.vmss
  vmss2core info --json vm.vmss | jq .guest.linux.release.value
  vmss2core info --tags vm.vmss
  vmss2core info --tag 'cpu/rip[0]' vm.vmss | xxd

The JSON form carries its name and version in \"schema\"; docs/schema describes
it. Addresses are strings, because many readers hold numbers in 53 bits.")]
pub(crate) struct InfoArgs {
    /// Files of the checkpoint, in any order, or its directory
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) inputs: Vec<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
    /// List every item of the state file: offset, size and value
    #[arg(long)]
    pub(crate) tags: bool,
    /// Write the raw bytes of one item to stdout
    #[arg(
        long,
        value_name = "GROUP/NAME[I][J]",
        conflicts_with_all = ["json", "tags"],
        long_help = "Write the raw bytes of one item to stdout\n\n\
                     The item is named as --tags lists it, for example 'cpu/rip[0]'. What is \
                     compressed in the file is written compressed."
    )]
    pub(crate) tag: Option<String>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a flag that was typed or not")]
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
    pub(crate) inputs: Vec<PathBuf>,
    /// File to write; "-" for standard output (kdump, flattened)
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
    /// Kind of file to write
    #[arg(short, long, value_parser = format_parser(), default_value = "elf")]
    pub(crate) format: String,
    /// Replace OUT if it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Write OUT.gdb too: registers that a core cannot hold, as gdb variables
    #[arg(long)]
    pub(crate) gdb_script: bool,
    /// vCPU whose address space to write [default: 0]
    #[arg(long, value_name = "N", help_heading = LINEAR)]
    pub(crate) vcpu: Option<u32>,
    /// List the other vCPUs as threads too
    #[arg(long, help_heading = LINEAR)]
    pub(crate) all_threads: bool,
    /// Copy memory once for each address that maps it, as the original did
    #[arg(long, help_heading = LINEAR)]
    pub(crate) no_dedup: bool,
    /// Use the page tables at this physical address instead of the vCPU's
    #[arg(long, value_name = "HEX", value_parser = hex, help_heading = LINEAR)]
    pub(crate) cr3: Option<u64>,
    #[command(flatten)]
    pub(crate) kdump: KdumpArgs,
    #[command(flatten)]
    pub(crate) windbg: WindbgArgs,
}

const LINEAR: &str = "Options of --format elf-linear";

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core completions bash > ~/.local/share/bash-completion/completions/vmss2core
  vmss2core completions zsh > ~/.zfunc/_vmss2core
  vmss2core completions fish > ~/.config/fish/completions/vmss2core.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

/// Print the manual page, or write all pages to a directory
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core man | man -l -
  vmss2core man ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Directory for vmss2core.1 and one page for each command
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
}

fn format_parser() -> PossibleValuesParser {
    let values = DUMP_FORMATS
        .iter()
        .map(|format| clap::builder::PossibleValue::new(format.name()).help(format.about()));
    PossibleValuesParser::new(values)
}

/// An address in hexadecimal, with or without `0x`.
pub(crate) fn hex(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    // `from_str_radix` would accept a sign.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return Err(format!("not a hexadecimal number: {text}"));
    }
    u64::from_str_radix(digits, 16).map_err(|_| format!("not a 64-bit hexadecimal number: {text}"))
}

/// The definition of the command line, complete with the parts of its help.
pub(crate) fn command() -> clap::Command {
    let details = format!("{EXAMPLES}\n\n{}\n\n{}", legacy::HELP, exit::HELP);
    let command = Cli::command().after_help(EXAMPLES).after_long_help(details);
    // There -l is --level, as in util-linux.
    command.mut_subcommand("dmesg", |dmesg| dmesg.mut_arg("offsets", |arg| arg.short(None)))
}

/// Parses a command line with subcommands.
pub(crate) fn parse(argv: &[OsString]) -> Result<Cli, clap::Error> {
    use clap::FromArgMatches;

    let program = std::iter::once(OsString::from("vmss2core"));
    let matches = command().try_get_matches_from(program.chain(argv.iter().cloned()))?;
    Cli::from_arg_matches(&matches)
}
