//! Command lines that open the core of a process.

use std::path::Path;

use vmss2core_guest::linux::Process;

/// Folder for the files that `extract` rebuilds from the guest's page cache.
pub(super) const SYSROOT: &str = "sysroot";

/// Debuggers want the program's files for its symbols; the guest's page cache
/// has them.
pub(super) fn lines(process: &Process<'_>, core: &Path) -> Vec<String> {
    let core = crate::elf::quoted(core);
    let Some(executable) = process.executable() else {
        return vec![format!("gdb -c {core}"), format!("lldb --core {core}")];
    };
    let file = executable.path_when_it_existed().trim_start_matches('/');
    let file = crate::elf::quoted(&Path::new(SYSROOT).join(file));
    vec![
        format!("gdb -iex 'set sysroot {SYSROOT}' {file} {core}"),
        format!("lldb -O 'settings set target.exec-search-paths {SYSROOT}' {file} --core {core}"),
    ]
}
