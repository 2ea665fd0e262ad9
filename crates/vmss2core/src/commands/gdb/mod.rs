//! `gdb`: serves the checkpoint to debuggers.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use vmss2core_gdb::process::Processes;
use vmss2core_gdb::tasks::GuestTasks;
use vmss2core_gdb::vcpu::{KernelTarget, KernelView, Vcpus};
use vmss2core_gdb::{Bind, Inferior, Server, Stop};
use vmss2core_guest::linux::{BetterSources, Kernel};
use vmss2core_guest::windows;
use vmss2core_machine::Width;
use vmss2core_machine::{Checkpoint, Provenance};

use super::Plan;
use super::source::Guest;
use crate::cancel::Cancel;
use crate::exit::Exit;
use crate::output;

mod args;
mod monitor;
mod symbols;

pub(super) use args::GdbArgs;
use args::{GdbPlan, Place, Threads};
use monitor::Answers;
use symbols::SCRIPT_MARK;

const NO_TASKS: &str = "--tasks lists the tasks of Linux, and the guest is no Linux that is known; \
                        without it the vCPUs are served";
const NO_LIST: &str = "the tasks of this guest cannot be listed: --vmlinux FILE or --btf FILE may \
                       say what is missing; without --tasks the vCPUs are served";

impl Plan for GdbPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        let mut guest = Guest::open_to_ask(&self.guest)?;
        guest.opened.checkpoint.memory = guest.opened.checkpoint.memory.cached();
        let checkpoint = &guest.opened.checkpoint;
        let facts = &*guest.facts;
        output::problems(guest.serious_problems());
        let better = BetterSources::read(&self.guest.files, checkpoint, facts)?;
        let kernel =
            facts.linux.is_some().then(|| Kernel::open(checkpoint, facts, better)).transpose()?;
        let modules = self.modules.as_ref().map(|dir| dir.canonicalize().unwrap_or(dir.clone()));
        let found = facts.windows.as_ref();
        let windows = found.map(|found| windows::Kernel::open(checkpoint, found));
        let view = KernelView::new(checkpoint, facts, kernel.as_ref())
            .with_windows(windows.as_ref())
            .with_module_files(modules);
        let width = view.width();
        let inputs = &checkpoint.about.provenance;
        let whole: Arc<dyn Inferior> = match self.threads {
            Threads::Processors => Arc::new(Vcpus::new(view)),
            Threads::Tasks => Arc::new(tasks(view, kernel.as_ref())?),
        };
        let answers = Answers {
            guest: &guest,
            kernel: kernel.as_ref(),
            windows: windows.as_ref(),
            plan: self,
            info: OnceLock::new(),
        };
        if let Some(kernel) = &kernel {
            let target = processes(self, kernel, whole)?;
            serve(self, &Server::new(&target, &answers), width, inputs, &|address| match target
                .only()
            {
                Some(only) => symbols::of_process(self, only, address),
                None => announcement(self, &answers, address),
            })?;
        } else {
            let target = without_processes(self, checkpoint, whole)?;
            serve(self, &Server::new(&target, &answers), width, inputs, &|address| {
                announcement(self, &answers, address)
            })?;
        }
        Ok(Exit::with_problems(&guest.misfit))
    }
}

/// What debuggers see of a Linux guest: all of it, or processes.
fn processes<'a>(
    plan: &GdbPlan,
    kernel: &'a Kernel,
    whole: Arc<dyn Inferior + 'a>,
) -> anyhow::Result<Processes<'a>> {
    let processes = Processes::new(kernel, whole).with_sysroot(plan.sysroot.clone());
    match plan.pid {
        Some(pid) => processes.with_only(pid).map_err(anyhow::Error::msg),
        None => Ok(processes),
    }
}

fn without_processes<'a>(
    plan: &GdbPlan,
    checkpoint: &'a Checkpoint,
    whole: Arc<dyn Inferior + 'a>,
) -> anyhow::Result<KernelTarget<'a>> {
    if let Some(pid) = plan.pid {
        bail!("no process {pid}: only processes of Linux guests can be served");
    }
    Ok(KernelTarget::new(&checkpoint.memory, whole))
}

/// All tasks of the guest.
fn tasks<'a>(view: KernelView<'a>, kernel: Option<&'a Kernel>) -> anyhow::Result<GuestTasks<'a>> {
    let kernel = kernel.context(NO_TASKS)?;
    let (tasks, problems) = GuestTasks::list(view, kernel).context(NO_LIST)?;
    output::problems(problems.iter());
    Ok(tasks)
}

fn serve(
    plan: &GdbPlan,
    server: &Server<'_>,
    width: Width,
    inputs: &Provenance,
    announcement: &dyn Fn(&str) -> Vec<String>,
) -> anyhow::Result<()> {
    let bind = match &plan.place {
        Place::Stdio => {
            server.serve(&mut io::stdin().lock(), &mut io::stdout().lock())?;
            return Ok(());
        }
        Place::Unix(path) => Bind::Unix(path.clone()),
        Place::Tcp(address, port) => {
            let port = port.unwrap_or(if width == Width::Bits64 { 8864 } else { 8832 });
            Bind::Tcp(SocketAddr::new(*address, port))
        }
    };
    let cancel = Cancel::install().context("taking over signals")?;
    let stop = Stop::bind(&bind)?;
    let address = address(&bind, &stop);
    check_address(&address)?;
    if let Some(script) = &plan.script {
        cancel.deferred(|| write_script(script, &symbols::script(&address), inputs))?;
    }
    warn(plan, &address);
    output::talk(&announcement(&address).join("\n"));
    run_until_signal(server, &stop, &cancel);
    Ok(())
}

/// Until the user has enough of it.
fn run_until_signal(server: &Server<'_>, stop: &Stop, cancel: &Cancel) {
    cancel.deferred(|| {
        thread::scope(|scope| {
            scope.spawn(|| server.run(stop));
            while cancel.signal().is_none() {
                thread::sleep(Duration::from_millis(50));
            }
            stop.stop();
        });
    });
}

/// As gdb takes it behind `target remote`.
fn address(bind: &Bind, stop: &Stop) -> String {
    match (bind, stop.address()) {
        (_, Some(address)) if address.ip().is_loopback() && address.is_ipv4() => {
            format!(":{}", address.port())
        }
        (_, Some(address)) => address.to_string(),
        (Bind::Unix(path), None) => {
            let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
            whole.display().to_string()
        }
        (Bind::Tcp(address), None) => address.to_string(),
    }
}

fn warn(plan: &GdbPlan, address: &str) {
    let Place::Tcp(ip, _) = &plan.place else { return };
    if ip.is_loopback() {
        output::talk(
            "every user of this machine can connect and read all of the guest's memory; with \
             --unix PATH only you can",
        );
    } else {
        output::talk(&format!(
            "vmss2core: warning: whoever reaches {address} can read all of the guest's memory"
        ));
    }
}

/// What to type, and what is needed for it.
fn announcement(plan: &GdbPlan, answers: &Answers<'_>, address: &str) -> Vec<String> {
    let facts = &answers.guest.facts;
    let vmlinux = plan.guest.files.vmlinux.as_deref();
    let what = match plan.threads {
        Threads::Processors => "serving",
        Threads::Tasks => "serving every task as a thread",
    };
    let mut lines = vec![format!("{what}; Ctrl-C ends it. In another terminal, one of:")];
    let indented = |line: &str| format!("  {line}");
    if let Some(script) = &plan.script {
        lines.push(format!("  gdb -x {}", script.display()));
    }
    lines.extend(symbols::lines(facts, vmlinux, address).iter().map(|line| indented(line)));
    if (facts.linux.is_some() || facts.macos.is_some()) && vmlinux.is_none() {
        lines.push("the kernel file with symbols:".to_owned());
        lines.extend(symbols::advice(facts).lines().map(indented));
    }
    lines
}

/// Replaces only a script of ours.
fn write_script(path: &Path, text: &str, inputs: &Provenance) -> anyhow::Result<()> {
    let mut start = Vec::new();
    let is_ours = path.is_file()
        && File::open(path)
            .and_then(|old| old.take(SCRIPT_MARK.len() as u64).read_to_end(&mut start))
            .is_ok()
        && start == SCRIPT_MARK.as_bytes();
    if !is_ours && path.symlink_metadata().is_ok() {
        bail!("{} exists and is no script of vmss2core: not replaced", path.display());
    }
    let existing = crate::plan::existing(is_ours, true);
    Ok(vmss2core_dump::output::write(path, existing, inputs, text.as_bytes())?)
}

/// A line break in it would begin a line of its own in what is printed, and a command
/// in a script.
fn check_address(address: &str) -> anyhow::Result<()> {
    if address.chars().any(char::is_control) {
        bail!(
            "the path of the socket has control characters in it, which debuggers would take for \
             something else: {}",
            vmss2core_answers::printable(address)
        );
    }
    Ok(())
}
