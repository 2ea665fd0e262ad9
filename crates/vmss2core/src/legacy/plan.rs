//! A command line in the original grammar: what it means.

use std::path::PathBuf;

use vmss2core::answers::Only;
use vmss2core::{Listed, Which};
use vmss2core_guest::linux::LinuxOffsets;
use vmss2core_guest::windows;
use vmss2core_mem::text::shell_path;

use super::{KernelFamily, LegacyArgs, NotYet, Output, WindowsKind, outputs};
use crate::args::{GuestPlan, ProgressWhen, Source, Style, Wanted, no_command};
use crate::commands::convert::Request;
use crate::commands::{CorePlan, CoreStyle, Plan, PsPlan};

/// Write the files that the original wrote.
#[derive(Debug)]
pub(crate) struct OriginalPlan {
    pub(crate) source: Source,
    pub(crate) cores: Cores,
    /// The kernel as the user states it.
    pub(crate) stated: StatedKernel,
    /// Options of the user about a Windows guest.
    pub(crate) windows: windows::Options,
    pub(crate) notes: Vec<String>,
    pub(crate) quiet: bool,
    pub(crate) progress: ProgressWhen,
}

/// Which cores to write.
#[derive(Clone, Debug)]
pub(crate) enum Cores {
    EachVcpu,
    OneVcpu(u32),
    Whole(Request),
    /// A dump of Windows, and the build that it is to state.
    Windows(Request, Option<u32>),
}

/// Statements of the user about the guest's kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatedKernel {
    pub(crate) family: Option<KernelFamily>,
    pub(crate) offsets: Option<LinuxOffsets>,
}

impl LegacyArgs {
    /// Meaning of a command line in the original grammar.
    pub(crate) fn into_plan(self) -> Result<Box<dyn Plan>, String> {
        let mut stated = StatedKernel::default();
        let mut windows = windows::Options::default();
        let cores = match self.output.as_ref().map(|requested| requested.what) {
            None => Cores::EachVcpu,
            Some(Output::LinearOne(vcpu)) => Cores::OneVcpu(vcpu),
            Some(Output::Physical) => Cores::Whole(outputs::physical()?),
            Some(Output::Crash(family)) => {
                stated = StatedKernel { family, offsets: self.kernel.offsets.clone() };
                Cores::Whole(outputs::crash()?)
            }
            Some(Output::Windows(wanted)) => {
                windows = wanted.options();
                Cores::Windows(outputs::windows(wanted.build)?, wanted.build)
            }
            Some(Output::Process(pid)) => return self.into_process_core(pid),
            Some(Output::ProcessList) => return self.into_process_list(),
            Some(Output::NotYet(what)) => return Err(self.not_yet(what)),
        };
        self.check_command()?;
        self.check_memory_file()?;
        let notes = self.notes();
        Ok(Box::new(OriginalPlan {
            source: Source {
                inputs: self.files,
                talk: self.global.talk(),
                spill_dir: self.global.tmpdir.unwrap_or_else(|| PathBuf::from(".")),
            },
            cores,
            stated,
            windows,
            notes,
            quiet: self.global.quiet,
            progress: self.global.progress,
        }))
    }

    /// Parts of the command line without effect.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.entry.is_some() {
            notes.push("-O is accepted and ignored: no debugger needs it".to_owned());
        }
        let Some(Output::Windows(wanted)) = self.output.as_ref().map(|requested| requested.what)
        else {
            return notes;
        };
        if wanted.kind == WindowsKind::Kernel {
            let note = "-WK: all memory is written, not the kernel's alone";
            notes.push(note.to_owned());
        }
        notes
    }

    /// As all files in this grammar, it goes to the current directory and replaces
    /// what is there.
    fn into_process_core(self, pid: u32) -> Result<Box<dyn Plan>, String> {
        self.check_command()?;
        self.check_memory_file()?;
        let talk = self.global.talk();
        let spill_dir = self.global.tmpdir.unwrap_or_else(|| PathBuf::from("."));
        Ok(Box::new(CorePlan {
            guest: GuestPlan::new(self.files, self.kernel, spill_dir, talk),
            wanted: vec![Wanted::One(Which::Number(pid))],
            output: None,
            overwrite: true,
            zero_fill: false,
            style: CoreStyle::Original { quiet: self.global.quiet },
            progress: self.global.progress,
        }))
    }

    /// On stdout, as the original printed it.
    fn into_process_list(self) -> Result<Box<dyn Plan>, String> {
        self.check_command()?;
        self.check_memory_file()?;
        let (spill_dir, talk) = (self.global.spill_dir(), self.global.talk());
        let guest = GuestPlan::new(self.files, self.kernel, spill_dir, talk);
        let (listed, only) = (Listed::default(), Only::default());
        Ok(Box::new(PsPlan { guest, listed, only, style: Style::Text }))
    }

    /// A command that is misspelt looks like a file, and so does the value of an option
    /// that stands apart from it.
    fn check_command(&self) -> Result<(), String> {
        let Some(first) = self.files.first().filter(|first| !first.exists()) else {
            return Ok(());
        };
        let name = first.to_string_lossy();
        if let Some(glued) = self.glued(&name) {
            return Err(format!(
                "{name}: no such file; the number is glued to its option: {glued}"
            ));
        }
        if !name.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
            return Ok(());
        }
        Err(format!("{name}: no such file, and {}", no_command(&name)))
    }

    /// The option whose value this is likely to be, with its value.
    fn glued(&self, word: &str) -> Option<String> {
        let is_number = !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
        let option = self.output.as_ref()?.option.as_str();
        (is_number && matches!(option, "-P" | "-W" | "-N")).then(|| format!("{option}{word}"))
    }

    /// The format that the options choose, by its name.
    fn format(&self) -> &'static str {
        match self.output.as_ref().map(|requested| requested.what) {
            Some(Output::Crash(_)) => "elf",
            Some(Output::Physical) => "elf-physical",
            Some(Output::Windows(_)) => "windbg",
            _ => "elf-linear",
        }
    }

    /// Many guides have the second file wrong: they take it for the output.
    fn check_memory_file(&self) -> Result<(), String> {
        let [first, second] = self.files.as_slice() else { return Ok(()) };
        if second.exists() {
            return Ok(());
        }
        let (from, to) = (shell_path(first), shell_path(second));
        Err(format!(
            "{}: no such file; the second file is an input, the memory of the checkpoint\n\
             to choose the name of the output: vmss2core convert {from} -o {to} --format {}",
            second.display(),
            self.format(),
        ))
    }

    fn not_yet(&self, what: NotYet) -> String {
        let option = self.output.as_ref().map_or("", |requested| requested.option.as_str());
        let files: Vec<String> = self.files.iter().map(|file| shell_path(file)).collect();
        let files = files.join(" ");
        let (missing, instead) = match what {
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
