//! The original tool's command line: `vmss2core [options] <vmss> [<vmem>]`.
//!
//! Source: VMware technical note EN-000395 (2010) for `-q -M -l -N -N4 -N6 -P -W
//! -X`, and later usage for the rest. The value of an option is glued to its
//! letter (`-W2600`, `-P1234`); only `-l` and `-O` take a word of their own, and
//! `-U` takes either. Options and files come in any order. What the original did with a wrong
//! command line is not documented; this parser refuses it and says why.

mod cores;
mod outputs;
mod plan;
mod unknown;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{CommandFactory, ValueEnum};
use vmss2core_guest::windows::{self, ScanDepth};
use vmss2core_mem::Gva;
use vmss2core_mem::text::hex;

use crate::args::{Cli, Global, KernelArgs, ProgressWhen};
use unknown::unknown;

/// Text of `--help` about this grammar.
pub(crate) const HELP: &str = "\
Original options:
  (none)     vmss.core0, vmss.core1, ...: the virtual memory of each vCPU
  -U<N>      the same for vCPU N only
  -M         vmss.core: physical memory, for gdb
  -N         vmss.core: for crash and drgn, any Linux
  -N4, -N6   the same; warns if the kernel is not a 2.4, or 2.6 and later
  -P         the processes of a Linux guest, listed on standard output
  -P<pid>    core.<pid>: a process of a Linux guest, for gdb and lldb
  -W, -W8    memory.dmp: for WinDbg, any Windows
  -WSCAN     the same; searches all memory if the debugger data is not found
  -W<N>      the same; says that the build is N
  -WDDB<X>, -W<X>, -W8DDB<X>
             the same; the debugger data block is at address X
  -l <STR>   offsets of Linux structures, 0xHEX,0xHEX,...: rarely needed, they
             are found in the guest
  -O <X>     entry point: accepted; no debugger needs it
  -q         print no progress and no advice
  -X*, -S*, -F*
             macOS, Solaris and firmware cores: not yet

Those files go to the current directory and replace what is there. <VMEM> is an
input, needed only where it cannot be found; `convert -o` chooses an output.";

/// Text that is printed when nothing was asked.
pub(crate) fn usage() -> String {
    let commands = Cli::command();
    let commands = commands.get_subcommands().map(|command| {
        format!("  {:<13}{}\n", command.get_name(), command.get_about().unwrap_or_default())
    });
    let commands: String = commands.collect();
    format!(
        "usage: vmss2core [OPTIONS] <VMSS> [<VMEM>]\n       \
         vmss2core <COMMAND> ...\n\n{HELP}\n\nCommands:\n{commands}\n\
         vmss2core --help says more."
    )
}

/// A command line in the original grammar.
#[derive(Debug, Default)]
pub(crate) struct LegacyArgs {
    /// Output; `None` is the linear view of each vCPU.
    pub(crate) output: Option<Requested>,
    /// `-l`, and options of ours that say more of the kernel.
    pub(crate) kernel: KernelArgs,
    /// `-O`.
    pub(crate) entry: Option<u64>,
    /// The files: state, and perhaps memory.
    pub(crate) files: Vec<PathBuf>,
    /// Options of ours that go with every command.
    pub(crate) global: Global,
}

/// Output that an option asks for, and how that option was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requested {
    pub(crate) option: String,
    pub(crate) what: Output,
}

/// Output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// `-U N`: the linear view of one vCPU.
    LinearOne(u32),
    /// `-M`: the physical view.
    Physical,
    /// `-N`, `-N4`, `-N6`: for crash.
    Crash(Option<KernelFamily>),
    /// `-P<pid>`: the core of a process.
    Process(u32),
    /// `-P`: nothing; processes are listed.
    ProcessList,
    /// `-W` in all its forms: a dump of Windows.
    Windows(WindowsDump),
    /// Something that the original wrote and this version does not.
    NotYet(NotYet),
}

/// Meaning of `-W` and the value glued to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WindowsDump {
    pub(crate) kind: WindowsKind,
    /// `-W<build>`.
    pub(crate) build: Option<u32>,
    /// `-WDDB<hex>`: address of the debugger data block.
    pub(crate) kdbg: Option<u64>,
}

impl WindowsDump {
    /// Options of the search for Windows.
    pub(crate) fn options(self) -> windows::Options {
        let scan = match self.kind {
            WindowsKind::Scan => ScanDepth::AllMemory,
            WindowsKind::Any | WindowsKind::Kernel => ScanDepth::Kernel,
        };
        windows::Options { build: self.build, kdbg: self.kdbg.map(Gva), scan }
    }
}

/// Families that the original had separate code for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WindowsKind {
    /// Which Windows it is we see ourselves.
    #[default]
    Any,
    /// `-WSCAN`: the debugger data block may lie anywhere.
    Scan,
    /// `-WK`: the kernel's memory only.
    Kernel,
}

/// The kernel family that `-N4` or `-N6` states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KernelFamily {
    /// 2.4.
    Two4,
    /// 2.6, and what came after it.
    Two6,
}

/// Outputs that this version does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotYet {
    MacOs,
    Solaris,
    Firmware,
}

/// Whether a command line is in the original grammar: its first argument is
/// neither a subcommand nor an option of ours. Global options may stand before
/// either.
pub(crate) fn is_original(argv: &[OsString]) -> bool {
    let mut rest = argv;
    while let Some(skip) = global_option_len(rest) {
        rest = rest.get(skip..).unwrap_or_default();
    }
    let Some(first) = rest.first().and_then(|first| first.to_str()) else { return true };
    let is_flag = first.starts_with("--") || matches!(first, "-h" | "-V");
    let is_command = Cli::command().get_subcommands().any(|command| command.get_name() == first);
    // clap adds `help` itself.
    !is_flag && !is_command && first != "help"
}

/// How many arguments a global option at the start takes up.
fn global_option_len(argv: &[OsString]) -> Option<usize> {
    match argv.first()?.to_str()? {
        "--progress" | "--tmpdir" => Some(argv.len().min(2)),
        "-q" | "--quiet" | "-v" | "--verbose" => Some(1),
        glued if glued.starts_with("--progress=") || glued.starts_with("--tmpdir=") => Some(1),
        _ => None,
    }
}

/// Parses the original grammar.
pub(crate) fn parse(argv: &[OsString]) -> Result<LegacyArgs, String> {
    let mut parsed = LegacyArgs::default();
    let mut rest = argv.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            parsed.files.extend(rest.by_ref().map(PathBuf::from));
        } else if !arg.as_encoded_bytes().starts_with(b"-") {
            parsed.files.push(PathBuf::from(arg));
        } else {
            let option = arg.to_str().ok_or_else(|| unknown(&arg.to_string_lossy()))?;
            parsed.option(option, &mut rest)?;
        }
    }
    match parsed.files.len() {
        0 => Err("no checkpoint given: vmss2core [OPTIONS] <VMSS> [<VMEM>]; vmss2core help says \
                  more"
            .to_owned()),
        1 | 2 => Ok(parsed),
        n => Err(format!("{n} files given; there are at most two, the checkpoint and its memory")),
    }
}

/// Whether this is an option of the original that chooses an output.
pub(crate) fn is_option(option: &str) -> bool {
    output(option).is_some()
}

/// Options of ours that go with the original's.
const LONG_OPTIONS: [&str; 5] = ["--progress", "--tmpdir", "--vmlinux", "--btf", "--system-map"];

type Rest<'a> = std::slice::Iter<'a, OsString>;

impl LegacyArgs {
    fn option(&mut self, option: &str, rest: &mut Rest<'_>) -> Result<(), String> {
        match option {
            "-q" | "--quiet" => self.global.quiet = true,
            "-v" | "--verbose" => self.global.verbose = true,
            "-l" => {
                let text = word("-l", rest)?;
                let parsed = text.parse().map_err(|error| format!("-l {text}: {error}"))?;
                self.kernel.offsets = Some(parsed);
            }
            "-O" => self.entry = Some(number("-O", rest)?),
            "-U" => {
                let vcpu = word("-U", rest)?;
                self.one_vcpu(vcpu)?;
            }
            glued if glued.starts_with("-U") => self.one_vcpu(glued.trim_start_matches("-U"))?,
            long if long.starts_with("--") => self.long_option(long, rest)?,
            short => {
                let what = output(short).ok_or_else(|| unknown(short))?;
                self.request(short.to_owned(), what)?;
            }
        }
        Ok(())
    }

    fn one_vcpu(&mut self, vcpu: &str) -> Result<(), String> {
        let number = vcpu.parse().map_err(|_| format!("-U {vcpu}: not a vCPU number"))?;
        self.request(format!("-U {vcpu}"), Output::LinearOne(number))
    }

    /// What the original did with two such options is not known; one would win.
    fn request(&mut self, option: String, what: Output) -> Result<(), String> {
        if let Some(earlier) = self.output.as_ref().filter(|earlier| earlier.what != what) {
            return Err(format!(
                "{} and {option} ask for different files; give one",
                earlier.option
            ));
        }
        self.output = Some(Requested { option, what });
        Ok(())
    }

    fn long_option(&mut self, option: &str, rest: &mut Rest<'_>) -> Result<(), String> {
        let (name, glued) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        if !LONG_OPTIONS.contains(&name) {
            return Err(unknown(option));
        }
        let value = match glued {
            Some(value) => value.into(),
            None => rest.next().ok_or_else(|| format!("{name} needs a value"))?.clone(),
        };
        match name {
            "--tmpdir" => self.global.tmpdir = Some(value.into()),
            "--vmlinux" => self.kernel.vmlinux = Some(value.into()),
            "--btf" => self.kernel.btf = Some(value.into()),
            "--system-map" => self.kernel.system_map = Some(value.into()),
            _ => self.global.progress = progress(&value)?,
        }
        Ok(())
    }
}

fn progress(value: &OsStr) -> Result<ProgressWhen, String> {
    let value = value.to_string_lossy();
    ProgressWhen::from_str(&value, false)
        .map_err(|_| format!("--progress {value}: not one of auto, always, never"))
}

/// The word after an option.
fn word<'a>(option: &str, rest: &mut Rest<'a>) -> Result<&'a str, String> {
    rest.next().and_then(|word| word.to_str()).ok_or_else(|| format!("{option} needs a value"))
}

fn number(option: &str, rest: &mut Rest<'_>) -> Result<u64, String> {
    hex(word(option, rest)?).map_err(|error| format!("{option}: {error}"))
}

/// Meaning of an option that has its value glued to its letter.
fn output(option: &str) -> Option<Output> {
    let not_yet = |valid: bool, what| valid.then_some(Output::NotYet(what));
    let (letter, value) = option.strip_prefix('-')?.split_at_checked(1)?;
    match (letter, value) {
        ("M", "") => Some(Output::Physical),
        ("N", "") => Some(Output::Crash(None)),
        ("N", "4") => Some(Output::Crash(Some(KernelFamily::Two4))),
        ("N", "6") => Some(Output::Crash(Some(KernelFamily::Two6))),
        ("P", "") => Some(Output::ProcessList),
        ("P", pid) => Some(Output::Process(pid.parse().ok()?)),
        ("W", value) => windows(value).map(Output::Windows),
        ("X", value) => not_yet(is_mac_value(value), NotYet::MacOs),
        ("S", value) => not_yet(is_solaris_value(value), NotYet::Solaris),
        ("F", value) => not_yet(value.is_empty() || hex(value).is_ok(), NotYet::Firmware),
        _ => None,
    }
}

/// After `-W`: nothing, a build number, an address in hexadecimal (the technical
/// note writes it both with and without DDB), `SCAN`, `K`, or `8` with or without
/// DDB and an address; in any case.
fn windows(value: &str) -> Option<WindowsDump> {
    let upper = value.to_ascii_uppercase();
    let dump = WindowsDump::default();
    if let Some(address) = upper.strip_prefix("8DDB").or_else(|| upper.strip_prefix("DDB")) {
        return Some(WindowsDump { kdbg: Some(hex(address).ok()?), ..dump });
    }
    match upper.as_str() {
        // 8 is a mode of the original for Windows 8 and later, and no build.
        "" | "8" => Some(dump),
        "SCAN" => Some(WindowsDump { kind: WindowsKind::Scan, ..dump }),
        "K" => Some(WindowsDump { kind: WindowsKind::Kernel, ..dump }),
        number => Some(match build(number) {
            Some(build) => WindowsDump { build: Some(build), ..dump },
            None => WindowsDump { kdbg: Some(hex(number).ok()?), ..dump },
        }),
    }
}

/// A build number; what is larger, or not decimal, is an address.
fn build(text: &str) -> Option<u32> {
    let is_decimal = text.chars().all(|c| c.is_ascii_digit());
    text.parse::<u16>().ok().filter(|_| is_decimal).map(u32::from)
}

/// After `-X`: `32` or `64`, and perhaps `-` and a kernel version.
fn is_mac_value(value: &str) -> bool {
    let version = value.strip_prefix("32").or_else(|| value.strip_prefix("64"));
    version.is_some_and(|version| version.is_empty() || version.starts_with('-'))
}

/// After `-S`: nothing, `32`, a version, or a request for symbols.
fn is_solaris_value(value: &str) -> bool {
    matches!(value, "" | "32SYM")
        || value.starts_with("64SYM")
        || value.chars().all(|c| c.is_ascii_digit() || c == '.')
}

#[cfg(test)]
mod tests {
    use vmss2core_guest::linux::KernelVersion;

    use super::*;

    fn parsed(line: &str) -> Result<LegacyArgs, String> {
        let argv: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        parse(&argv)
    }

    fn requested(line: &str) -> Option<Output> {
        parsed(&format!("{line} x.vmss")).unwrap().output.map(|requested| requested.what)
    }

    #[test]
    fn every_documented_option_is_understood() {
        let windows = |kind, build, kdbg| Some(Output::Windows(WindowsDump { kind, build, kdbg }));
        let any = |build, kdbg| windows(WindowsKind::Any, build, kdbg);
        let mac = Some(Output::NotYet(NotYet::MacOs));
        for (line, want) in [
            ("", None),
            ("-q", None),
            ("-M", Some(Output::Physical)),
            ("-N", Some(Output::Crash(None))),
            ("-N4", Some(Output::Crash(Some(KernelFamily::Two4)))),
            ("-N6", Some(Output::Crash(Some(KernelFamily::Two6)))),
            ("-U 3", Some(Output::LinearOne(3))),
            ("-U3", Some(Output::LinearOne(3))),
            ("-P", Some(Output::ProcessList)),
            ("-P1234", Some(Output::Process(1234))),
            ("-W", any(None, None)),
            ("-W2600", any(Some(2600), None)),
            ("-W65535", any(Some(65535), None)),
            ("-W65536", any(None, Some(0x6_5536))),
            ("-W12ac34de", any(None, Some(0x12ac_34de))),
            ("-W0x12AC34DE", any(None, Some(0x12ac_34de))),
            ("-WDDB12ac34de", any(None, Some(0x12ac_34de))),
            ("-WDDb0x12ac34de", any(None, Some(0x12ac_34de))),
            ("-WSCAN", windows(WindowsKind::Scan, None, None)),
            ("-Wscan", windows(WindowsKind::Scan, None, None)),
            ("-WK", windows(WindowsKind::Kernel, None, None)),
            ("-Wk", windows(WindowsKind::Kernel, None, None)),
            ("-W8", any(None, None)),
            ("-W8DDBfffff80012345678", any(None, Some(0xffff_f800_1234_5678))),
            ("-W8ddbFFFFF80012345678", any(None, Some(0xffff_f800_1234_5678))),
            ("-X32", mac),
            ("-X64", mac),
            ("-X64-10.4.0", mac),
            ("-S", Some(Output::NotYet(NotYet::Solaris))),
            ("-S64SYM_x", Some(Output::NotYet(NotYet::Solaris))),
            ("-F", Some(Output::NotYet(NotYet::Firmware))),
        ] {
            assert_eq!(requested(line), want, "{line}");
        }
    }

    #[test]
    fn unknown_options_are_refused() {
        for line in [
            "-Z",
            "-N5",
            "-N66",
            "-n6",
            "-Mx",
            "-Wfoo",
            "-WDDB",
            "-WDDBxyz",
            "-W8DDB",
            "-W+5",
            "-W12345678901234567",
            "-X",
            "-X16",
            "-Pabc",
            "-P-1",
            "-",
            "-é",
            "--frobnicate",
            "-q6",
        ] {
            let error = parsed(&format!("{line} x.vmss")).unwrap_err();
            assert!(error.starts_with("unknown option"), "{line}: {error}");
            assert!(error.lines().count() == 1, "{line}: {error}");
        }
    }

    #[test]
    fn what_an_unknown_option_may_mean_is_said() {
        for (line, want) in [
            ("-n6", "did you mean -N6?"),
            ("-m", "did you mean -M?"),
            ("-w8", "did you mean -W8?"),
            ("-p12", "did you mean -P12?"),
            ("-N5", "there are -N, -N4 and -N6"),
            ("-X16", "there are -X32 and -X64"),
            ("-N6 -o", "it belongs to commands such as vmss2core convert"),
            ("-N6 --json", "it belongs to commands such as vmss2core info"),
            ("--tree", "it belongs to vmss2core ps"),
        ] {
            let error = parsed(&format!("{line} x.vmss")).unwrap_err();
            assert!(error.contains(want), "{line}: {error}");
        }
    }

    #[test]
    fn options_and_files_come_in_any_order() {
        for line in ["-q -M a b", "a -M b -q", "a b -q -M", "-M -q -- a b", "-M a -q -M b"] {
            let args = parsed(line).unwrap();
            assert!(args.global.quiet, "{line}");
            assert_eq!(args.output.unwrap().what, Output::Physical, "{line}");
            assert_eq!(args.files, [PathBuf::from("a"), PathBuf::from("b")], "{line}");
        }
    }

    #[test]
    fn a_file_may_start_with_a_hyphen_behind_two() {
        assert_eq!(parsed("-- -M").unwrap().files, [PathBuf::from("-M")]);
    }

    #[test]
    fn the_documented_offsets_parse_and_name_their_kernel() {
        let line = "0x20614,0x80,0,0x68,0x194,0xa4,0x1b0,0x24,0x18,0x28,0x2000,0xc4,0xec,0x10";
        let args = parsed(&format!("-l {line} -N x.vmss")).unwrap();
        let version = |args: LegacyArgs| args.kernel.offsets.unwrap().version();
        assert_eq!(version(args), Some(KernelVersion(2, 6, 20)));
        let short = parsed("-N -l 0x20412 x.vmss").unwrap();
        assert_eq!(version(short), Some(KernelVersion(2, 4, 18)));
    }

    #[test]
    fn offsets_that_are_none_are_refused() {
        let many = ["0x1"; 15].join(",");
        for text in ["xyz", "0x1,,0x2", "0x", "-1", "0x10000000000000000", "1,0x2,+3", &many] {
            let error = parsed(&format!("-l {text} -N x.vmss")).unwrap_err();
            assert!(error.starts_with("-l "), "{text}: {error}");
        }
    }

    #[test]
    fn missing_words_and_files_are_named() {
        for (line, want) in [
            ("x.vmss -l", "-l needs a value"),
            ("x.vmss -U", "-U needs a value"),
            ("x.vmss -U one", "-U one: not a vCPU number"),
            ("x.vmss -O zz", "-O: not a hexadecimal number: zz"),
            ("x.vmss --tmpdir", "--tmpdir needs a value"),
            ("x.vmss --progress=often", "--progress often: not one of auto, always, never"),
            ("a b c", "3 files given; there are at most two, the checkpoint and its memory"),
            ("-M -N6 a", "-M and -N6 ask for different files; give one"),
        ] {
            assert_eq!(parsed(line).unwrap_err(), want);
        }
        assert!(parsed("-q").unwrap_err().starts_with("no checkpoint given"));
    }

    #[test]
    fn the_grammar_is_chosen_by_the_first_argument() {
        let original = |line: &str| {
            let argv: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            is_original(&argv)
        };
        for line in [
            "",
            "x.vmss",
            "-M info",
            "-q",
            "./info",
            "-W8 x",
            "--progress never -M x",
            "--tmpdir=/t x",
            "--tmpdir",
            "dir/convert",
        ] {
            assert!(original(line), "{line}");
        }
        for line in [
            "info x",
            "convert",
            "--help",
            "-h",
            "-V",
            "--version",
            "--progress never info x",
            "--progress=never info x",
            "--unknown",
            "man",
            "help",
            "-q info x",
            "-v info x",
            "completions bash",
        ] {
            assert!(!original(line), "{line}");
        }
    }
}
