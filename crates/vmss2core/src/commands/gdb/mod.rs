//! `gdb`: serves the checkpoint to debuggers.

mod args;
mod symbols;

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use vmss2core::{Error, Guest, ServeOptions, Service, Threads, kernel_file_advice};
use vmss2core_gdb::{Bind, Listening, Server, ServerError};
use vmss2core_machine::{Privilege, Provenance, Width};

use super::{Plan, open};
use crate::cancel::Cancel;
use crate::exit::{self, Exit};
use crate::output;
pub(super) use args::GdbArgs;
use args::{GdbPlan, ListenAt};
use symbols::SCRIPT_MARK;

const NO_TASKS: &str = "--tasks is for Linux guests, and no Linux kernel was found in this one; \
                        without it the vCPUs are served";
const NO_LIST: &str = "the tasks of this guest cannot be listed: --vmlinux FILE or --btf FILE may \
                       say what is missing; without --tasks the vCPUs are served";

impl Plan for GdbPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        let guest = open::to_serve(&self.guest)?;
        output::serious_problems(guest.problems());
        let options = ServeOptions {
            threads: self.threads,
            modules: self.modules.clone(),
            pid: self.pid.clone(),
            sysroot: self.sysroot.clone(),
            explain: exit::explained,
        };
        let service = guest.serve(&options).map_err(with_options)?;
        output::problems(&service.problems);
        serve(self, &guest, &service)?;
        Ok(Exit::with_problems(guest.misfit()))
    }
}

/// Says which options an error is about.
fn with_options(error: Error) -> anyhow::Error {
    match error {
        Error::NoTasks => anyhow!(NO_TASKS),
        Error::TaskList(source) => anyhow::Error::new(source).context(NO_LIST),
        error => error.into(),
    }
}

fn serve(plan: &GdbPlan, guest: &Guest, service: &Service) -> anyhow::Result<()> {
    let bind = match &plan.place {
        ListenAt::Stdio => {
            service.server.serve(&mut io::stdin().lock(), &mut io::stdout())?;
            return Ok(());
        }
        ListenAt::Unix(path) => Bind::Unix(path.clone()),
        ListenAt::Tcp(address, port) => {
            let port = port.unwrap_or(if service.width == Width::Bits64 { 8864 } else { 8832 });
            Bind::Tcp(SocketAddr::new(*address, port))
        }
    };
    let cancel = Cancel::install().context("taking over signals")?;
    let stop = bind_to(&bind, matches!(plan.place, ListenAt::Tcp(_, None)))?;
    let address = address(&bind, &stop);
    check_address(&address)?;
    if let Some(script) = &plan.script {
        let inputs = &guest.checkpoint().about.provenance;
        cancel.deferred(|| write_script(script, &symbols::script(&address), inputs))?;
    }
    warn(plan, &address);
    let lines = match service.only() {
        Some(only) => symbols::of_process(plan, only, &address),
        None => announcement(plan, guest, &address),
    };
    output::talk(&lines.join("\n"));
    run_until_signal(&service.server, &stop, &cancel);
    Ok(())
}

/// Others may serve already: if no port was asked for, one of the next ones will do.
fn bind_to(bind: &Bind, any_port: bool) -> Result<Listening, ServerError> {
    const MORE: u16 = 16;
    let first = Listening::bind(bind);
    let Bind::Tcp(address) = bind else { return first };
    let is_taken = |error: &ServerError| matches!(error, ServerError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse);
    if !any_port || !first.as_ref().is_err_and(is_taken) {
        return first;
    }
    let ports = (1..=MORE).filter_map(|more| address.port().checked_add(more));
    let mut others = ports.map(|port| Listening::bind(&Bind::Tcp((address.ip(), port).into())));
    others.find_map(Result::ok).map_or(first, Ok)
}

/// Until the user has enough of it.
fn run_until_signal(server: &Server, stop: &Listening, cancel: &Cancel) {
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

/// As gdb takes it after `target remote`.
fn address(bind: &Bind, stop: &Listening) -> String {
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
    let ListenAt::Tcp(ip, _) = &plan.place else { return };
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

/// Lines to type, and what is needed for them.
fn announcement(plan: &GdbPlan, guest: &Guest, address: &str) -> Vec<String> {
    let facts = guest.facts();
    let vmlinux = plan.guest.files.vmlinux.as_deref();
    let what = match plan.threads {
        Threads::Processors => "each vCPU as a thread",
        Threads::Tasks => "every task as a thread",
    };
    let mut lines = vec![format!(
        "serving the checkpoint on {address}, {what}; Ctrl-C ends it. In another terminal, one of:"
    )];
    let indented = |line: &str| format!("  {line}");
    if let Some(script) = &plan.script {
        lines.push(format!("  gdb -x {}", script.display()));
    }
    lines.extend(symbols::lines(facts, vmlinux, address).iter().map(|line| indented(line)));
    lines.extend(in_a_program(plan, guest));
    if (facts.linux().is_some() || facts.macos().is_some()) && vmlinux.is_none() {
        lines.push("the kernel file with symbols:".to_owned());
        lines.extend(kernel_file_advice(facts).lines().map(indented));
    }
    lines
}

/// Says that the thread which debuggers begin with has no symbols of the kernel to show.
fn in_a_program(plan: &GdbPlan, guest: &Guest) -> Option<String> {
    let first = guest.checkpoint().vcpus.first()?;
    let is_served = plan.threads == Threads::Processors && guest.facts().linux().is_some();
    let is_user = first.registers.privilege() == Some(Privilege::User);
    if !is_served || !is_user {
        return None;
    }
    let tasks = guest.now().ok()?.tasks()?.ok()?.tasks;
    let task = tasks.iter().find(|task| task.on_vcpu == Some(first.index))?;
    let (pid, name) = (task.pid, vmss2core_answers::printable(&task.name));
    Some(format!(
        "vCPU {} was in a program, {name} ({pid}): its own frames are there after attach {pid}",
        first.index
    ))
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
    let existing = output::existing(is_ours, true);
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
