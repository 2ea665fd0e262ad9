//! What real debuggers send to a server.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use crate::judges;

/// The packets of a debugger, from its first to its last, without frames.
pub type Session = Vec<Vec<u8>>;

/// What is asked of vCPUs or of a process that is served.
const GDB: [&str; 12] = [
    "info threads",
    "thread apply all info registers",
    "thread apply all bt 6",
    "x/16i $pc",
    "x/32xg $sp",
    "info auxv",
    "info sharedlibrary",
    "info proc mappings",
    "info os processes",
    "monitor ps",
    "monitor bt 1",
    "monitor info",
];

/// What is asked of a process that is attached to.
const GDB_ATTACH: [&str; 6] =
    ["info os", "attach 1", "info threads", "bt", "info sharedlibrary", "detach"];

const LLDB: [&str; 9] = [
    "thread list",
    "thread backtrace all",
    "register read --all",
    "memory read $sp",
    "disassemble --pc --count 8",
    "image list",
    "memory region --all",
    "process plugin packet monitor ps",
    "platform process list",
];

/// Lets gdb and lldb ask a server this and that.
pub fn sessions(server: &Path) -> Result<Vec<Session>> {
    let gdb = |target: &str, commands: &[&str]| {
        let (gdb, words) = (judges::gdb()?, ["-nx", "-nh", "-batch", "-ex", "set confirm off"]);
        record(server, |socket| {
            let mut command = gdb.command();
            command.args(words).args(["-ex", &format!("target {target} {}", socket.display())]);
            command.args(commands.iter().flat_map(|line| ["-ex", line]));
            command
        })
    };
    let lldb = judges::lldb()?;
    let of_lldb = record(server, |socket| {
        let target = "process connect --plugin gdb-remote unix-connect";
        let mut command = lldb.command();
        command.args([
            "--no-lldbinit",
            "--batch",
            "-o",
            &format!("{target}://{}", socket.display()),
        ]);
        command.args(LLDB.iter().flat_map(|line| ["-o", line]));
        command
    });
    Ok(vec![gdb("remote", &GDB)?, gdb("extended-remote", &GDB_ATTACH)?, of_lldb?])
}

/// What a debugger sends to a server; it may fail at what it tries.
fn record(server: &Path, debugger: impl FnOnce(&Path) -> std::process::Command) -> Result<Session> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("relay");
    let listener = UnixListener::bind(&socket)?;
    let mut command = debugger(&socket);
    command.env("HOME", dir.path()).env("XDG_CACHE_HOME", OsStr::new(dir.path()));
    let relay = thread::spawn({
        let server = server.to_owned();
        move || -> std::io::Result<Vec<u8>> {
            Ok(relay(&listener.accept()?.0, &UnixStream::connect(server)?))
        }
    });
    let said = command.output().context("running a debugger")?;
    // It waits for a client that may never have come.
    drop(UnixStream::connect(&socket));
    let sent = relay.join().map_err(|_| anyhow!("the relay panicked"))??;
    let packets = packets(&sent);
    let said = [said.stdout, said.stderr].concat();
    ensure!(
        packets.len() > 10,
        "the debugger has hardly asked: {}",
        String::from_utf8_lossy(&said)
    );
    Ok(packets)
}

/// Hands on what two sides say until both have hung up; returns what the client said.
fn relay(client: &UnixStream, server: &UnixStream) -> Vec<u8> {
    thread::scope(|scope| {
        let back = scope.spawn(move || hand_on(server, client));
        let sent = hand_on(client, server);
        let _ = back.join();
        sent
    })
}

fn hand_on(mut from: &UnixStream, mut to: &UnixStream) -> Vec<u8> {
    let (mut all, mut bytes) = (Vec::new(), vec![0; 1 << 16]);
    while let Ok(got) = from.read(&mut bytes) {
        let part = bytes.get(..got).unwrap_or_default();
        if part.is_empty() || to.write_all(part).is_err() {
            break;
        }
        all.extend_from_slice(part);
    }
    let _ = to.shutdown(Shutdown::Both);
    all
}

/// Payloads of what goes over the wire; each ends with `#` and a checksum.
fn packets(sent: &[u8]) -> Session {
    let end = sent.iter().rposition(|byte| *byte == b'#').unwrap_or(0);
    let parts = sent.get(..end).unwrap_or_default().split(|byte| *byte == b'#');
    let payload = |part: &[u8]| {
        let start = part.iter().position(|byte| *byte == b'$')?;
        Some(part.get(start.saturating_add(1)..)?.to_vec())
    };
    parts.filter_map(payload).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_without_frames() {
        let sent = b"+$qSupported:xmlRegisters=i386#00+$?#3f+++$m0,1#f";
        assert_eq!(packets(sent), [b"qSupported:xmlRegisters=i386".as_slice(), b"?", b"m0,1"]);
        assert!(packets(b"+++$half").is_empty());
    }
}
