//! Answers to `monitor`.

mod of_macos;
mod offsets;
mod qemu;

use std::fmt::Write;
use std::sync::OnceLock;

use vmss2core_answers::{Forms, Listed, Look, ModuleList, TimeStyle, printable};
use vmss2core_gdb::{MonitorCommand, Selected};
use vmss2core_guest::linux::Kernel as Linux;
use vmss2core_guest::model::StacksOf;
use vmss2core_guest::{Told, Which};
use vmss2core_machine::paging::AddressSpace;
use vmss2core_mem::text::hex;
use vmss2core_mem::{Gva, Problem};

use super::kernel_file_advice;
use crate::ask::Answered;
use crate::{Error, Guest};

/// Who answers.
pub(super) struct Monitor {
    guest: Guest,
    explain: fn(&Error) -> String,
    /// Those that this guest has an answer to.
    commands: Vec<MonitorCommand>,
    /// The answer to `info`; it takes its time and never changes.
    info: OnceLock<String>,
}

/// An answer, or why there is none, as a sentence.
type Said = Result<String, String>;

/// A command that may be about a process.
const fn of_process(
    name: &'static str,
    usage: &'static str,
    about: &'static str,
) -> MonitorCommand {
    let details =
        "A process is given by its number, by that of one of its threads, or by its name.\n";
    MonitorCommand { details, ..command(name, usage, about) }
}

const COMMANDS: [MonitorCommand; 15] = [
    command("ps", "[-T]", "List the processes of the guest; -T: their threads too"),
    command("dmesg", "[-T]", "Print the kernel's log; -T: with dates"),
    command("mods", "", "List the modules of the kernel"),
    of_process("bt", "[PROCESS]", "Print kernel stacks: of the vCPUs, or of a process's threads"),
    of_process("cr3", "[PROCESS]", "Print the root of the page tables of this thread or a process"),
    of_process("vtop", "ADDR [PROCESS]", "Translate a virtual address, here or in a process"),
    command("kaslr", "", "Say where the kernel lies, and how that is known"),
    command("vmcoreinfo", "", "Print the VMCOREINFO text"),
    command("find-vmlinux", "", "Say which kernel file belongs to this guest, and its package"),
    MonitorCommand {
        details: "info mem and info registers say what QEMU's monitor says.\n",
        ..command("info", "[mem|registers]", "Say what the checkpoint holds")
    },
    command("position", "", "Say at which time the guest stands still"),
    MonitorCommand { details: offsets::HELP, ..command("linuxoffsets", "LINE", offsets::ABOUT) },
    // As of QEMU, for scripts that ask it.
    MonitorCommand { is_hidden: true, ..command("gva2gpa", "ADDR", "Translate an address") },
    MonitorCommand { is_hidden: true, ..command("xp", "[/FORMAT] ADDR", "Print physical memory") },
    MonitorCommand {
        details: "A checkpoint is one moment, so there is nothing to go to.\n",
        is_hidden: true,
        ..command("stopat", "[+]N", "Go to a position of a recording")
    },
];

const fn command(name: &'static str, usage: &'static str, about: &'static str) -> MonitorCommand {
    MonitorCommand { name, usage, about, details: "", is_hidden: false }
}

impl vmss2core_gdb::Monitor for Monitor {
    fn commands(&self) -> &[MonitorCommand] {
        &self.commands
    }

    fn run(&self, name: &str, arguments: &[&str], at: Selected<'_>) -> Said {
        if let Some(said) = of_macos::answer(&self.guest, name) {
            return said;
        }
        match name {
            "ps" => self.processes(arguments),
            "dmesg" => self.log(arguments),
            "mods" => self.modules(),
            "bt" => self.stacks(arguments),
            "cr3" => self.root(arguments, at),
            "vtop" => self.translate(arguments, at),
            "kaslr" => self.place(),
            "vmcoreinfo" => {
                let info = self.linux()?.linux().vmcoreinfo.as_ref();
                let info = info.ok_or("no VMCOREINFO was found in the guest")?;
                Ok(info.value.text.clone())
            }
            "find-vmlinux" => Ok(kernel_file_advice(self.guest.facts())),
            "info" => match arguments {
                ["mem"] => qemu::mappings(at),
                ["registers"] => qemu::registers(at),
                _ => self.info(),
            },
            "gva2gpa" => qemu::translate(at, arguments.first()),
            "xp" => qemu::physical(&self.guest.checkpoint().memory, arguments),
            "position" => Ok(self.position()),
            "linuxoffsets" => offsets::check(self.linux()?, &arguments.concat()),
            _ => Err("this is a checkpoint: the guest stands still, it cannot go anywhere".into()),
        }
    }
}

impl Monitor {
    pub(super) fn new(guest: Guest, explain: fn(&Error) -> String) -> Self {
        let is_linux = guest.facts().linux().is_some();
        let other = guest.facts().system().is_some() && !is_linux;
        let mut commands = COMMANDS;
        for command in &mut commands {
            command.is_hidden |= other && of_linux(&guest, command.name);
        }
        Self { guest, explain, commands: commands.into(), info: OnceLock::new() }
    }

    fn explain(&self, error: impl Into<Error>) -> String {
        (self.explain)(&error.into())
    }

    /// The kernel, for questions that only a Linux has an answer to.
    fn linux(&self) -> Result<&Linux, String> {
        if self.guest.facts().windows().is_some() {
            return Err("this is a Windows guest, and the command is about Linux".to_owned());
        }
        if self.guest.facts().linux().is_none() {
            return Err("the guest is not a Linux that is known".to_owned());
        }
        self.guest.linux().map_err(|error| self.explain(error))
    }

    /// Fails if no system was recognised.
    fn check_known(&self) -> Result<(), String> {
        if self.guest.facts().boot.is_some() { Ok(()) } else { self.linux().map(drop) }
    }

    fn info(&self) -> Said {
        if let Some(said) = self.info.get() {
            return Ok(said.clone());
        }
        let said = printed(&self.guest.info())?;
        Ok(self.info.get_or_init(|| said).clone())
    }

    fn processes(&self, arguments: &[&str]) -> Said {
        self.check_known()?;
        let listed = Listed { threads: arguments.contains(&"-T"), ..Listed::default() };
        let said = self.guest.ps(listed).map_err(|error| self.explain(error))?;
        with_problems(&said)
    }

    fn modules(&self) -> Said {
        self.check_known()?;
        let said = self.guest.modules(ModuleList::Table).map_err(|error| self.explain(error))?;
        with_problems(&said)
    }

    fn stacks(&self, arguments: &[&str]) -> Said {
        self.check_known()?;
        let wanted = match arguments.first() {
            Some(pid) => StacksOf::Process(which(pid)),
            None => StacksOf::Processors,
        };
        let said = self.guest.bt(&wanted).map_err(|error| self.explain(error))?;
        with_problems(&said)
    }

    fn log(&self, arguments: &[&str]) -> Said {
        self.linux()?;
        let levels: Vec<u8> = (0..=7).collect();
        let said = self.guest.dmesg(&levels).map_err(|error| self.explain(error))?;
        let times = if arguments.contains(&"-T") { TimeStyle::Date } else { TimeStyle::SinceBoot };
        printed(&said.answer.with_times(times))
    }

    fn root(&self, arguments: &[&str], at: Selected<'_>) -> Said {
        self.with_space(arguments.first(), at, |space| {
            format!("{:#x}  ({})\n", space.root().0.0, space.mode())
        })
    }

    fn translate(&self, arguments: &[&str], at: Selected<'_>) -> Said {
        let address = arguments.first().ok_or("which address?")?;
        let gva = Gva(hex(address).map_err(|error| error.to_string())?);
        self.with_space(arguments.get(1), at, |space| match space.translate(gva) {
            Ok(found) => {
                let allowed = found.permissions;
                let mark = |is: bool, mark| if is { mark } else { "-" };
                format!(
                    "{gva} -> {}  page of {:#x} bytes, r{}{}{}\n",
                    found.gpa,
                    found.page_len,
                    mark(allowed.write, "w"),
                    mark(allowed.execute, "x"),
                    mark(allowed.user, "u")
                )
            }
            Err(error) => format!("{error}\n"),
        })
    }

    /// Page tables of a process, or of the selected thread.
    fn with_space(
        &self,
        pid: Option<&&str>,
        at: Selected<'_>,
        tell: impl FnOnce(&AddressSpace) -> String,
    ) -> Said {
        let Some(pid) = pid else {
            let space = at.inferior.and_then(|inferior| inferior.space(at.tid));
            return Ok(tell(&space.ok_or("no thread with page tables is selected")?));
        };
        let asked = self.guest.process_space(which(pid));
        let (space, problems) = asked.map_err(|error| self.explain(error))?;
        Ok(followed_by(tell(&space), &problems))
    }

    fn place(&self) -> Said {
        self.check_known()?;
        let boot = self.guest.facts().boot.as_ref();
        let mut text = String::new();
        for Told { name, fact } in boot.iter().flat_map(|boot| boot.value.location()) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<10} {}  ({})", fact.value, fact.how);
        }
        if text.is_empty() { Err("the kernel's image was not found".to_owned()) } else { Ok(text) }
    }

    fn position(&self) -> String {
        let machine = &self.guest.checkpoint().about.machine;
        let mut text = String::from("a checkpoint: the guest stands still");
        if let Some(time) = machine.suspended_unix.and_then(vmss2core_answers::utc_time) {
            // Writing to a String cannot fail.
            let _ = write!(text, ", suspended {time}");
        }
        let uptime = self.linux().ok().and_then(|kernel| kernel.clock(None).uptime_ns);
        if let Some(uptime) = uptime {
            let _ = write!(text, ", {} s after its boot", uptime.value / 1_000_000_000);
        }
        text.push('\n');
        text
    }
}

/// Whether a command says nothing about a guest that is another system.
fn of_linux(guest: &Guest, name: &str) -> bool {
    let is_macos = guest.facts().macos().is_some();
    match name {
        "dmesg" | "vmcoreinfo" | "linuxoffsets" => true,
        "ps" | "bt" => is_macos,
        "find-vmlinux" => !is_macos,
        _ => false,
    }
}

fn which(text: &str) -> Which {
    let Ok(which) = text.parse();
    which
}

/// An answer as text.
fn printed(answer: &impl Forms) -> Said {
    let mut bytes = Vec::new();
    // How wide the debugger's terminal is, only that knows.
    let look = Look { columns: None, colour: false };
    answer.write_text_as(look, &mut bytes).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// An answer as text, and after it what is missing.
fn with_problems(said: &Answered<impl Forms>) -> Said {
    Ok(followed_by(printed(&said.answer)?, &said.problems))
}

fn followed_by(mut text: String, problems: &[Problem]) -> String {
    for problem in problems {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", printable(&problem.to_string()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_guest_move_no_cursor() {
        let note = Problem::note("97 (m\x1b[31m\nabc) is a thread of process 92");
        let said = followed_by("a\n".to_owned(), &[note]);
        assert_eq!(said, "a\nnote: 97 (m\\u{1b}[31m\\nabc) is a thread of process 92\n");
    }
}
