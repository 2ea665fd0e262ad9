//! Answers to `monitor`, by the printers of the commands.

mod of_macos;
mod of_windows;
mod offsets;

use std::fmt::Write;
use std::sync::OnceLock;

use anyhow::{Context, anyhow, bail};
use vmss2core_answers::{
    Answer, BtReport, DmesgReport, ModuleList, ModulesReport, TimeStyle, write_text,
};
use vmss2core_gdb::{Monitor, MonitorCommand, Selected};
use vmss2core_guest::linux::{Kernel, Process, Task};
use vmss2core_guest::windows;
use vmss2core_machine::paging::AddressSpace;
use vmss2core_mem::text::hex;
use vmss2core_mem::{Gva, Problem};

use super::args::GdbPlan;
use super::symbols;
use crate::commands::bt::Stacks;
use crate::commands::ps::Listed;
use crate::commands::source::Guest;
use crate::commands::{bt, info, ps};

/// Who answers.
pub(super) struct Answers<'a> {
    pub(super) guest: &'a Guest,
    pub(super) kernel: Option<&'a Kernel>,
    pub(super) windows: Option<&'a windows::Kernel>,
    pub(super) plan: &'a GdbPlan,
    /// What `info` says; it takes its time and never changes.
    pub(super) info: OnceLock<String>,
}

const COMMANDS: [MonitorCommand; 13] = [
    command("ps", "[-T]", "List the processes of the guest; -T: their threads too"),
    command("dmesg", "[-T]", "Print the kernel's log; -T: with dates"),
    command("mods", "", "List the modules of the kernel"),
    command("bt", "[PID]", "Print kernel stacks: of the vCPUs, or of a process's threads"),
    command("cr3", "[PID]", "Print the root of the page tables of this thread or a process"),
    command("vtop", "ADDR [PID]", "Translate a virtual address, here or in a process"),
    command("kaslr", "", "Say where the kernel lies, and how that is known"),
    command("vmcoreinfo", "", "Print the VMCOREINFO text"),
    command("find-vmlinux", "", "Say which kernel file belongs to this guest, and its package"),
    command("info", "", "Say what the checkpoint holds"),
    command("position", "", "Say when the guest stands still"),
    MonitorCommand { details: offsets::HELP, ..command("linuxoffsets", "LINE", offsets::ABOUT) },
    MonitorCommand {
        details: "A checkpoint is one moment, so there is nothing to go to.\n",
        ..command("stopat", "[+]N", "Go to a position of a recording, which this is not")
    },
];

const fn command(name: &'static str, usage: &'static str, about: &'static str) -> MonitorCommand {
    MonitorCommand { name, usage, about, details: "" }
}

impl Monitor for Answers<'_> {
    fn commands(&self) -> &[MonitorCommand] {
        &COMMANDS
    }

    fn run(&self, name: &str, arguments: &[&str], at: Selected<'_>) -> Result<String, String> {
        self.answer(name, arguments, at).map_err(|error| format!("{error:#}"))
    }
}

impl Answers<'_> {
    fn answer(&self, name: &str, arguments: &[&str], at: Selected<'_>) -> anyhow::Result<String> {
        if let Some(said) =
            self.windows.and_then(|kernel| of_windows::answer(kernel, name, arguments))
        {
            return said;
        }
        if let Some(said) = of_macos::answer(&self.guest.facts, name) {
            return said;
        }
        match name {
            "ps" => {
                let listed = Listed { threads: arguments.contains(&"-T"), ..Listed::default() };
                printed(&ps::report(self.kernel()?, listed)?.0)
            }
            "dmesg" => self.log(arguments),
            "mods" => {
                let kernel = self.kernel()?;
                let (modules, word_len) = (kernel.modules(), kernel.word_len());
                printed(&ModulesReport::new(modules, word_len, ModuleList::Table))
            }
            "bt" => self.stacks(arguments),
            "cr3" => self.root(arguments, at),
            "vtop" => self.translate(arguments, at),
            "kaslr" => self.place(),
            "vmcoreinfo" => {
                let info = self.kernel()?.linux().vmcoreinfo.as_ref();
                let info = info.context("no VMCOREINFO was found in the guest")?;
                Ok(info.value.text.clone())
            }
            "find-vmlinux" => Ok(symbols::advice(&self.guest.facts)),
            "info" => self.info(),
            "position" => Ok(self.position()),
            "linuxoffsets" => offsets::check(self.kernel()?, &arguments.concat()),
            _ => bail!("this is a checkpoint: the guest stands still, it cannot go anywhere"),
        }
    }

    fn info(&self) -> anyhow::Result<String> {
        if let Some(said) = self.info.get() {
            return Ok(said.clone());
        }
        let inputs = &self.plan.guest.source.inputs;
        let said = printed(&info::about(self.guest, inputs))?;
        Ok(self.info.get_or_init(|| said).clone())
    }

    fn kernel(&self) -> anyhow::Result<&Kernel> {
        let message = match self.windows {
            Some(_) => "this is a Windows guest, and the command is about Linux",
            None => "the guest is not a Linux that is known",
        };
        self.kernel.ok_or_else(|| anyhow!(message))
    }

    fn log(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let kernel = self.kernel()?;
        let log = kernel.log()?;
        let levels: Vec<u8> = (0..=7).collect();
        let report = DmesgReport::new(&log, &kernel.clock(Some(&log)), &levels, &log.problems);
        let times = if arguments.contains(&"-T") { TimeStyle::Date } else { TimeStyle::SinceBoot };
        printed(&report.with_times(times))
    }

    fn stacks(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let wanted = match arguments.first() {
            Some(pid) => Stacks::Process(number(pid)?),
            None => Stacks::Processors,
        };
        let mut problems = Vec::new();
        let report = BtReport::new(bt::stacks(self.kernel()?, wanted, &mut problems)?);
        with_problems(&report, &problems)
    }

    fn root(&self, arguments: &[&str], at: Selected<'_>) -> anyhow::Result<String> {
        self.with_space(arguments.first(), at, |space| {
            format!("{:#x}  ({})\n", space.root().0.0, space.mode())
        })
    }

    fn translate(&self, arguments: &[&str], at: Selected<'_>) -> anyhow::Result<String> {
        let address = arguments.first().context("which address?")?;
        let gva = Gva(hex(address)?);
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
    ) -> anyhow::Result<String> {
        let Some(pid) = pid else {
            let space = at.inferior.and_then(|inferior| inferior.space(at.tid));
            return Ok(tell(&space.context("no thread with page tables is selected")?));
        };
        let (kernel, pid) = (self.kernel()?, number(pid)?);
        let tasks = kernel.tasks()?.tasks;
        let of = |task: &&Task| task.tid == pid && pid != 0;
        let task = tasks.iter().find(of);
        let task = task.with_context(|| format!("the guest has no process {pid}; see ps"))?;
        Ok(tell(Process::of(kernel, task)?.space()))
    }

    fn place(&self) -> anyhow::Result<String> {
        let linux = self.kernel()?.linux();
        let mut text = String::new();
        // Writing to a String cannot fail.
        if let Some(image) = &linux.text {
            let _ = writeln!(text, "_text      {}  ({})", image.value.start, image.how);
        }
        if let Some(offset) = &linux.kaslr_offset {
            let _ = writeln!(text, "offset     {:#x}  ({})", offset.value, offset.how);
        }
        if let Some(base) = &linux.phys_base {
            let _ = writeln!(text, "phys_base  {:#x}  ({})", base.value, base.how);
        }
        Ok(text)
    }

    fn position(&self) -> String {
        let machine = &self.guest.opened.checkpoint.about.machine;
        let mut text = String::from("a checkpoint: the guest stands still");
        if let Some(time) = machine.suspended_unix.and_then(vmss2core_answers::utc_time) {
            // Writing to a String cannot fail.
            let _ = write!(text, ", suspended {time}");
        }
        let uptime = self.kernel.and_then(|kernel| kernel.clock(None).uptime_ns);
        if let Some(uptime) = uptime {
            let _ = write!(text, ", {} s after its boot", uptime.value / 1_000_000_000);
        }
        text.push('\n');
        text
    }
}

fn number(text: &str) -> anyhow::Result<u32> {
    text.parse().with_context(|| format!("{text} is not the number of a process"))
}

/// An answer as text.
fn printed(answer: &impl Answer) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    write_text(answer, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// An answer as text, and after it what is missing.
fn with_problems(answer: &impl Answer, problems: &[Problem]) -> anyhow::Result<String> {
    let mut text = printed(answer)?;
    for problem in problems {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{problem}");
    }
    Ok(text)
}
