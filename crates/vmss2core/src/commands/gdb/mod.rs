//! `gdb`: serves the checkpoint to debuggers.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use vmss2core_gdb::description::Width;
use vmss2core_gdb::vcpu::{VcpuTarget, Vcpus};
use vmss2core_gdb::{Bind, Server, Stop};
use vmss2core_guest::linux::{BetterSources, Kernel};

use super::source::Guest;
use crate::cancel::Cancel;
use crate::exit::Exit;
use crate::output;
use crate::plan::{GdbPlan, Place};

mod monitor;

use monitor::Answers;

pub(super) fn run(plan: &GdbPlan) -> anyhow::Result<Exit> {
    let guest = Guest::open_with_memory(&plan.guest.source)?;
    let checkpoint = &guest.opened.checkpoint;
    let facts = &*guest.facts;
    output::problems(guest.serious_problems());
    let better = BetterSources::read(&plan.guest.files, checkpoint, facts)?;
    let kernel =
        facts.linux.is_some().then(|| Kernel::open(checkpoint, facts, better)).transpose()?;
    let vcpus = Vcpus::new(checkpoint, facts, kernel.as_ref());
    let width = vcpus.width();
    let target = VcpuTarget::new(vcpus);
    let answers = Answers { guest: &guest, kernel: kernel.as_ref(), plan };
    if let Some(script) = &plan.script {
        anyhow::bail!("--write-gdbinit {}: not yet", script.display());
    }
    serve(plan, &Server::new(&target, &answers), width)
}

fn serve(plan: &GdbPlan, server: &Server<'_>, width: Width) -> anyhow::Result<Exit> {
    let bind = match &plan.place {
        Place::Stdio => {
            server.serve(&mut io::stdin().lock(), &mut io::stdout().lock())?;
            return Ok(Exit::Done);
        }
        Place::Unix(path) => Bind::Unix(path.clone()),
        Place::Tcp(address, port) => {
            let port = port.unwrap_or(if width == Width::Bits64 { 8864 } else { 8832 });
            Bind::Tcp(SocketAddr::new(*address, port))
        }
    };
    listen(server, &bind)
}

/// Until the user has enough of it.
fn listen(server: &Server<'_>, bind: &Bind) -> anyhow::Result<Exit> {
    let cancel = Cancel::install().context("taking over signals")?;
    let stop = Stop::bind(bind)?;
    announce(bind, &stop);
    cancel.deferred(|| {
        thread::scope(|scope| {
            scope.spawn(|| server.run(&stop));
            while cancel.signal().is_none() {
                thread::sleep(Duration::from_millis(50));
            }
            stop.stop();
        });
    });
    Ok(Exit::Done)
}

fn announce(bind: &Bind, stop: &Stop) {
    let address = match (bind, stop.address()) {
        (_, Some(address)) if !address.ip().is_loopback() => {
            output::talk(&format!(
                "vmss2core: warning: whoever reaches {address} can read all of the guest's memory"
            ));
            address.to_string()
        }
        (_, Some(address)) => format!(":{}", address.port()),
        (Bind::Unix(path), None) => path.display().to_string(),
        (Bind::Tcp(address), None) => address.to_string(),
    };
    output::talk(&format!("in gdb:\n  target remote {address}"));
}
