//! Command lines that open the core of a process.

use std::path::Path;

use vmss2core_guest::linux::{Process, debuggers};
use vmss2core_mem::Gva;
use vmss2core_mem::text::shell_path;

/// Folder for the files that `extract` rebuilds from the guest's page cache.
pub(super) const SYSROOT: &str = "sysroot";

/// `AT_EXECFN`: the name that the program was started by.
const AT_EXECFN: u64 = 31;
const MAX_NAME_BYTES: usize = 512;

/// Debuggers want the program's files for its symbols; the guest's page cache
/// has them.
pub(super) fn lines(process: &Process, core: &Path) -> Vec<String> {
    let core = shell_path(core);
    let executable = process.executable().map(|file| file.path_when_it_existed().to_owned());
    let Some(executable) = executable.or_else(|| started_by(process)) else {
        return vec![format!("gdb -c {core}"), format!("lldb --core {core}")];
    };
    let file = Path::new(SYSROOT).join(executable.trim_start_matches('/'));
    let file = shell_path(&file);
    // A 64-bit gdb loads its own library for threads, which takes a 32-bit
    // program's list of threads for a 64-bit one's and follows it forever.
    let threads = if process.is_32_bit() { " -iex 'set libthread-db-search-path /'" } else { "" };
    vec![
        format!("gdb -iex '{}'{threads} {file} {core}", debuggers::sysroot(SYSROOT)),
        format!("lldb -O '{}' {file} --core {core}", debuggers::lldb_platform(SYSROOT)),
    ]
}

fn started_by(process: &Process) -> Option<String> {
    let (_, at) = process.auxv().into_iter().find(|(kind, _)| *kind == AT_EXECFN)?;
    let mut name = Vec::new();
    let mut byte = [0];
    while name.len() < MAX_NAME_BYTES {
        process.read(Gva(at.checked_add(name.len() as u64)?), &mut byte).ok()?;
        match byte {
            [0] => return String::from_utf8(name).ok().filter(|name| name.starts_with('/')),
            [other] => name.push(other),
        }
    }
    None
}
