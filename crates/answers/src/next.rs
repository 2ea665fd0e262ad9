//! Suggestions: steps that are worth taking next with this very guest.

use std::path::PathBuf;

use serde::Serialize;
use vmss2core_guest::linux::{DebugSymbols, debug_symbols, debuggers};
use vmss2core_guest::{Facts, LinuxFacts};
use vmss2core_machine::Checkpoint;
use vmss2core_mem::text::shell_path;

/// Something that this project does with a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Answers a question: `ps`, `modules`, `bt`.
    Ask(&'static str),
    /// Serves the guest to debuggers.
    Serve,
    /// Saves an item of the state file as a file.
    Save {
        /// Its name.
        item: &'static str,
        /// The file.
        path: &'static str,
    },
    /// Writes a file.
    Write {
        /// Name of the output format.
        format: &'static str,
        /// The file.
        path: &'static str,
        /// A choice of the format by its name, and what is chosen.
        chosen: Option<(&'static str, &'static str)>,
    },
}

/// How a program's users have it do something with a guest. Gets what is known of its
/// Linux, and the inputs as a shell takes them.
pub type CommandLine = fn(&Action, Option<&LinuxFacts>, inputs: &str) -> String;

/// Says only what is done, where nobody types commands.
pub fn plain_line(action: &Action, _: Option<&LinuxFacts>, _: &str) -> String {
    match action {
        Action::Ask(question) => (*question).to_owned(),
        Action::Serve => "serve".to_owned(),
        Action::Save { item, path } => format!("save {item}: {path}"),
        Action::Write { format, path, .. } => format!("write {format}: {path}"),
    }
}

/// Something worth doing, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its purpose.
    pub purpose: String,
    /// The commands, ready for a shell.
    pub commands: Vec<String>,
}

impl Step {
    fn new(purpose: impl Into<String>, commands: impl IntoIterator<Item = String>) -> Self {
        Self { purpose: purpose.into(), commands: commands.into_iter().collect() }
    }
}

/// Finds the steps for a guest.
pub(crate) struct Steps<'a> {
    pub(crate) linux: Option<&'a LinuxFacts>,
    /// The inputs as they follow a command.
    inputs: String,
    line: CommandLine,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(
        linux: Option<&'a LinuxFacts>,
        inputs: &[PathBuf],
        line: CommandLine,
    ) -> Self {
        let words: Vec<String> = inputs.iter().map(|path| shell_path(path)).collect();
        Self { linux, inputs: words.join(" "), line }
    }

    /// The steps for this guest.
    pub(crate) fn all(&self, checkpoint: &Checkpoint, facts: &Facts) -> Vec<Step> {
        if checkpoint.memory.segments().is_empty() {
            return Vec::new();
        }
        if facts.windows().is_some() {
            return self.windows(facts);
        }
        if facts.macos().is_some_and(|macos| macos.is_64_bit) {
            return self.macos(facts);
        }
        match self.linux {
            Some(linux) => self.linux(linux, facts),
            None => self.unknown_guest(facts),
        }
    }

    /// The step that shows the picture of the screen.
    pub(crate) fn screenshot(&self, item: &'static str) -> Step {
        let save = self.line(Action::Save { item, path: "screen.png" });
        Step::new("what was on its screen", [save])
    }

    fn line(&self, action: Action) -> String {
        (self.line)(&action, self.linux, &self.inputs)
    }

    fn ask(&self, question: &'static str) -> String {
        self.line(Action::Ask(question))
    }

    fn write(&self, format: &'static str, path: &'static str) -> String {
        self.line(Action::Write { format, path, chosen: None })
    }

    fn linux(&self, linux: &LinuxFacts, facts: &Facts) -> Vec<Step> {
        let questions = ["bt", "ps", "dmesg"].map(|question| self.ask(question));
        let mut steps = vec![
            Step::new("what it was doing, from the guest's memory alone", questions),
            Step::new("in gdb and lldb, with nothing converted", [self.line(Action::Serve)]),
        ];
        steps.extend(self.vmcore(linux, None));
        if has_address_space(facts) {
            steps.push(self.gdb(linux, &symbols(linux).vmlinux));
        }
        let kernels = Action::Write {
            format: "kdump",
            path: "kernel.kdump",
            chosen: Some(("dump-level", "31")),
        };
        steps.push(Step::new(
            "a small file for crash and drgn: all memory, or the kernel's only",
            [self.write("kdump", "vmss.kdump"), self.line(kernels)],
        ));
        steps.push(self.flat());
        steps
    }

    /// The steps that open a Linux kernel in debuggers; `own` is the file with its
    /// symbols, if the user has one.
    pub(crate) fn debuggers(&self, linux: &LinuxFacts, own: Option<&str>) -> Vec<Step> {
        let mut steps = self.vmcore(linux, own);
        let vmlinux = own.map_or_else(|| symbols(linux).vmlinux, str::to_owned);
        steps.push(self.gdb(linux, &vmlinux));
        steps
    }

    fn vmcore(&self, linux: &LinuxFacts, own: Option<&str>) -> Vec<Step> {
        let symbols = match own {
            Some(vmlinux) => {
                DebugSymbols { vmlinux: vmlinux.to_owned(), ..DebugSymbols::default() }
            }
            None => symbols(linux),
        };
        let vmlinux = &symbols.vmlinux;
        let mut steps = Vec::new();
        let fetch = own.is_none().then(|| debuggers::fetch_symbols(linux)).flatten();
        let of_package = if fetch.is_some() { "or" } else { "symbols of this kernel:" };
        steps.extend(fetch.map(|line| {
            Step::new("symbols of this kernel, by its build id; prints where they are", [line])
        }));
        if let (Some(name), Some(install)) = (symbols.distribution, &symbols.install) {
            let purpose = format!("{of_package} its package, on a {name} machine like the guest");
            steps.push(Step::new(purpose, [install.clone()]));
        }
        steps.push(Step::new(
            "crash or drgn: tasks, backtraces, log",
            [self.write("elf", "vmss.core")]
                .into_iter()
                .chain(debuggers::crash(linux, vmlinux, "vmss.core").as_deref().map(with_remark))
                .chain(debuggers::drgn(linux, vmlinux, "vmss.core")),
        ));
        steps
    }

    fn gdb(&self, linux: &LinuxFacts, vmlinux: &str) -> Step {
        let load = debuggers::symbol_file(linux.slide(), vmlinux);
        let purpose = match linux.kaslr_offset {
            Some(_) => "gdb: one vCPU's virtual address space",
            None => "gdb: one vCPU's virtual address space; symbols may need an offset",
        };
        let core = self.write("elf-linear", "vmss.core0");
        Step::new(purpose, [core, format!("gdb -ex '{load}' -ex 'core-file vmss.core0'")])
    }

    fn windows(&self, facts: &Facts) -> Vec<Step> {
        let stacks = has_address_space(facts).then(|| self.ask("bt"));
        let questions = [self.ask("ps"), self.ask("modules")];
        vec![
            Step::new("what runs, what is loaded, and where", questions.into_iter().chain(stacks)),
            Step::new("in gdb and lldb, with nothing converted", [self.line(Action::Serve)]),
            Step::new("WinDbg: memory.dmp", [self.write("windbg", "memory.dmp")]),
            self.flat(),
        ]
    }

    fn macos(&self, facts: &Facts) -> Vec<Step> {
        let served = [self.line(Action::Serve), "lldb mach_kernel -o 'gdb-remote 8864'".to_owned()];
        let mut steps = vec![
            Step::new("kernel extensions, and where they are", [self.ask("modules")]),
            Step::new("lldb, which finds the kernel and its extensions by itself", served),
        ];
        steps.extend(self.unknown_guest(facts));
        steps
    }

    fn unknown_guest(&self, facts: &Facts) -> Vec<Step> {
        let physical = [self.write("elf-physical", "vmss.core"), "gdb -c vmss.core".to_owned()];
        let mut steps = vec![Step::new("gdb: physical memory and registers", physical)];
        if has_address_space(facts) {
            let linear = [self.write("elf-linear", "vmss.core0"), "gdb -c vmss.core0".to_owned()];
            steps.push(Step::new("gdb: one vCPU's virtual address space", linear));
        }
        steps.push(self.flat());
        steps
    }

    fn flat(&self) -> Step {
        Step::new("volatility and others that read flat memory", [self.write("raw", "memory.raw")])
    }
}

/// A line for crash, with which crash it is for.
fn with_remark(line: &str) -> String {
    format!("{line}  # {}", debuggers::CRASH_REMARK)
}

/// Whether a vCPU has virtual addresses that can be told.
fn has_address_space(facts: &Facts) -> bool {
    facts.vcpus.iter().any(|vcpu| vcpu.mode().is_some())
}

fn symbols(linux: &LinuxFacts) -> DebugSymbols {
    let banner = linux.banner.as_ref().map_or("", |banner| &banner.value);
    let release = linux.release.as_ref().map_or("", |release| &release.value);
    debug_symbols(banner, release)
}
