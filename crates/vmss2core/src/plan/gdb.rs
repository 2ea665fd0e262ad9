//! `gdb`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::GuestPlan;
use crate::args::{GdbArgs, Global};

/// Serve a checkpoint to debuggers.
#[derive(Debug)]
pub(crate) struct GdbPlan {
    pub(crate) guest: GuestPlan,
    pub(crate) place: Place,
    pub(crate) threads: Threads,
    /// Where files of the kernel's modules are.
    pub(crate) modules: Option<PathBuf>,
    /// The one process that is served.
    pub(crate) pid: Option<u32>,
    /// Where files of the guest are.
    pub(crate) sysroot: Option<PathBuf>,
    /// Script for gdb to write.
    pub(crate) script: Option<PathBuf>,
}

/// What a debugger sees as threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    Processors,
    Tasks,
}

/// Where debuggers come to.
#[derive(Debug)]
pub(crate) enum Place {
    /// The port goes by the guest if none is given.
    Tcp(IpAddr, Option<u16>),
    Unix(PathBuf),
    Stdio,
}

impl GdbPlan {
    pub(super) fn new(args: GdbArgs, global: &Global) -> Self {
        let place = match (args.unix, args.stdio) {
            (Some(path), _) => Place::Unix(path),
            (None, true) => Place::Stdio,
            (None, false) => {
                Place::Tcp(args.listen.unwrap_or(Ipv4Addr::LOCALHOST.into()), args.port)
            }
        };
        Self {
            guest: GuestPlan::new(args.guest, global),
            place,
            threads: if args.tasks { Threads::Tasks } else { Threads::Processors },
            modules: args.modules,
            pid: args.pid,
            sysroot: args.sysroot,
            script: args.write_gdbinit,
        }
    }
}
