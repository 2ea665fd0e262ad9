//! Arguments of `gdb`, and the plan that they make.

use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::path::PathBuf;

use clap::{Args, ValueHint};
use vmss2core::{Threads, Which};

use crate::args::{Global, GuestArgs, GuestPlan, OneProcessArgs};
use crate::commands::{Arguments, Plan};

/// Serve the checkpoint to gdb and lldb
///
/// The virtual processors are threads; memory is what each of them sees. KASLR
/// and per-CPU variables are taken care of: a kernel file with symbols is all that
/// the debugger needs, --modules adds those of modules. With --tasks the threads are
/// the tasks of a Linux guest. Of Windows, "info sharedlibrary" lists the kernel and
/// its drivers. Of macOS, lldb finds the kernel and its extensions by itself.
///
/// "target extended-remote" instead of "target remote" is for processes of a Linux
/// guest: "info os processes" lists them, "attach PID" shows one, several at once
/// with "add-inferior". Programs and libraries are read from the guest's memory.
/// Nothing can run or be changed. "monitor help" in the debugger lists what else can
/// be asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core gdb vm.vmss                          then, in another terminal:
  gdb vmlinux -ex 'target remote :8864'
  gdb vmlinux -ex 'target remote | vmss2core gdb --stdio vm.vmss'
  gdb -ex 'target extended-remote :8864' -ex 'attach 1234' -ex 'thread apply all bt'
  vmss2core gdb --pid 1234 vm.vmss               one process, for lldb too
  vmss2core gdb --tasks vm.vmss                  then 'info threads' lists all tasks
  vmss2core gdb --unix vm.sock --write-gdbinit vm.gdb vm.vmss
  gdb -x vm.gdb vmlinux")]
pub(crate) struct GdbArgs {
    #[command(flatten)]
    guest: GuestArgs,
    /// Make every task of a Linux guest a thread, with its kernel stack
    ///
    /// Threads have the numbers and names of the tasks; the idle ones, which all
    /// have number 0, get numbers from 10000000 on. The first is the one that panicked,
    /// else one that runs.
    #[arg(long, conflicts_with = "process")]
    tasks: bool,
    /// TCP port on this machine's own address, which all of its users can read the
    /// guest by [default: 8864, 8832 for 32-bit guests]
    #[arg(long, value_name = "N", conflicts_with_all = ["unix", "stdio"])]
    port: Option<u16>,
    /// Listen on another address: whoever reaches it can read all of the guest
    #[arg(long, value_name = "ADDR[:PORT]", conflicts_with_all = ["unix", "stdio"])]
    listen: Option<String>,
    /// Listen on a Unix socket, which only you can open
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, conflicts_with = "stdio")]
    unix: Option<PathBuf>,
    /// Talk to one debugger on standard input and output
    #[arg(long)]
    stdio: bool,
    /// Directory of the kernel's modules: their symbols are then told to gdb too
    ///
    /// Files NAME.ko below it, as /lib/modules/RELEASE has them, not compressed;
    /// those of another build than the guest's are left out. gdb reads their symbols
    /// at the command "sharedlibrary".
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    modules: Option<PathBuf>,
    /// Only this process is served, to lldb too: its threads with their user-mode
    /// registers, its memory.
    #[command(flatten)]
    process: OneProcessArgs,
    /// Directory with the guest's files, by their paths in the guest
    ///
    /// Programs and libraries are read by gdb from there; what is not there comes from
    /// the guest's page cache, which has what was used of each. Symbolic links do not
    /// lead out of it.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    sysroot: Option<PathBuf>,
    /// Write a script for gdb that connects
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "stdio")]
    write_gdbinit: Option<PathBuf>,
}

impl Arguments for GdbArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        let place = match (self.unix, self.stdio) {
            (Some(path), _) => ListenAt::Unix(path),
            (None, true) if io::stdin().is_terminal() => return Err(STDIO.to_owned()),
            (None, true) => ListenAt::Stdio,
            (None, false) => match &self.listen {
                None => ListenAt::Tcp(Ipv4Addr::LOCALHOST.into(), self.port),
                Some(place) => listen_at(place, self.port)?,
            },
        };
        Ok(Box::new(GdbPlan {
            guest: self.guest.plan(global),
            place,
            threads: if self.tasks { Threads::Tasks } else { Threads::Processors },
            modules: self.modules,
            pid: self.process.which(),
            sysroot: self.sysroot,
            script: self.write_gdbinit,
        }))
    }
}

const STDIO: &str = "--stdio talks to a debugger, which starts it: gdb -ex 'target remote | \
                     vmss2core gdb --stdio vm.vmss'";

/// An address, or a name that has one, with or without a port: `10.0.0.1`, `::1`,
/// `[::1]:9998`, `localhost:9998`.
fn listen_at(place: &str, port: Option<u16>) -> Result<ListenAt, String> {
    let plain = place.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(place);
    if let Ok(address) = plain.parse() {
        return Ok(ListenAt::Tcp(address, port));
    }
    let (host, own_port) = match place.rsplit_once(':') {
        Some((host, port)) => {
            (host, Some(port.parse().map_err(|_| format!("--listen {place}: no port: {port}"))?))
        }
        None => (place, None),
    };
    if own_port.is_some() && port.is_some() && own_port != port {
        return Err(format!("--listen {place} and --port name two ports; give one"));
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut found =
        (host, 0).to_socket_addrs().map_err(|why| format!("--listen {place}: {why}"))?;
    let address = found.next().ok_or_else(|| format!("--listen {place}: it has no address"))?;
    Ok(ListenAt::Tcp(address.ip(), own_port.or(port)))
}

/// Serve a checkpoint to debuggers.
#[derive(Debug)]
pub(super) struct GdbPlan {
    pub(super) guest: GuestPlan,
    pub(super) place: ListenAt,
    pub(super) threads: Threads,
    /// Where files of the kernel's modules are.
    pub(super) modules: Option<PathBuf>,
    /// The one process that is served.
    pub(super) pid: Option<Which>,
    /// Where files of the guest are.
    pub(super) sysroot: Option<PathBuf>,
    /// Script for gdb to write.
    pub(super) script: Option<PathBuf>,
}

/// Where debuggers come to.
#[derive(Debug)]
pub(super) enum ListenAt {
    /// The port goes by the guest if none is given.
    Tcp(IpAddr, Option<u16>),
    Unix(PathBuf),
    Stdio,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_listen_at_are_typed_as_elsewhere() {
        let at = |place: &str, port| match listen_at(place, port) {
            Ok(ListenAt::Tcp(address, port)) => format!("{address} {port:?}"),
            Ok(other) => format!("{other:?}"),
            Err(why) => why,
        };
        assert_eq!(at("10.0.0.1", None), "10.0.0.1 None");
        assert_eq!(at("::1", Some(5)), "::1 Some(5)");
        assert_eq!(at("[::1]", None), "::1 None");
        assert_eq!(at("[::1]:9998", None), "::1 Some(9998)");
        assert_eq!(at("127.0.0.1:9997", None), "127.0.0.1 Some(9997)");
        assert!(at("localhost:9997", None).ends_with("Some(9997)"));
        assert_eq!(at("127.0.0.1:x", None), "--listen 127.0.0.1:x: no port: x");
        let two = "--listen 127.0.0.1:1 and --port name two ports; give one";
        assert_eq!(at("127.0.0.1:1", Some(2)), two);
    }
}
