//! gdb and lldb connected to our server.

use std::path::{Path, PathBuf};

use anyhow::Result;
use vmss2core_lab::judges::{Judge, lldb};

use super::judges;
use super::server::Server;

/// Our script of this name.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(name)
}

/// A gdb that connects and runs commands; `-x FILE` is `source FILE`.
pub fn ask_gdb(
    judge: &Judge,
    server: &Server,
    file: Option<&Path>,
    lines: &[&str],
) -> Result<String> {
    ask_gdb_at(judge, &server.socket(), file, lines)
}

/// The same at any socket.
pub fn ask_gdb_at(
    judge: &Judge,
    socket: &Path,
    file: Option<&Path>,
    lines: &[&str],
) -> Result<String> {
    let mut gdb = judge.command();
    gdb.args(["-q", "-nx", "-batch", "-iex", "set debuginfod enabled off"]);
    gdb.args(file).env("SCRIPTS", script("")).env("PYTHONDONTWRITEBYTECODE", "1");
    let connect = format!("target remote {}", socket.display());
    for line in std::iter::once(connect.as_str()).chain(lines.iter().copied()) {
        gdb.args(["-ex", line]);
    }
    judges::output(&mut gdb)
}

/// The command that runs one of our scripts.
pub fn source(name: &str) -> String {
    format!("source {}", script(name).display())
}

/// An lldb that connects and runs commands.
pub fn ask_lldb(server: &Server, file: Option<&Path>, lines: &[&str]) -> Result<String> {
    ask_lldb_at(&server.socket(), file, lines)
}

/// The same at any socket.
pub fn ask_lldb_at(socket: &Path, file: Option<&Path>, lines: &[&str]) -> Result<String> {
    let mut lldb = lldb()?.command();
    lldb.args(["--no-lldbinit", "--batch"]).args(file);
    let connect =
        format!("process connect --plugin gdb-remote unix-connect://{}", socket.display());
    for line in std::iter::once(connect.as_str()).chain(lines.iter().copied()) {
        lldb.args(["-o", line]);
    }
    judges::output(&mut lldb)
}
