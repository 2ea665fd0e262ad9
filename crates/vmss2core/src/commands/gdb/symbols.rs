//! Which kernel file a debugger should load, and what to type in it.

use std::path::Path;

use vmss2core_answers::printable;
use vmss2core_debug::process::Attached;
use vmss2core_gdb::Inferior;
use vmss2core_guest::Facts;
use vmss2core_guest::linux::{debug_symbols, debuggers};
use vmss2core_mem::text::shell_word;

use super::args::GdbPlan;

/// Path of the kernel file for command lines.
fn kernel_file(facts: &Facts, given: Option<&std::path::Path>) -> Option<String> {
    if let Some(given) = given {
        return Some(given.display().to_string());
    }
    let linux = facts.linux()?;
    let (banner, release) = (linux.banner.as_ref()?, linux.release.as_ref()?);
    Some(debug_symbols(&banner.value, &release.value).vmlinux)
}

/// Lines to type, for each debugger; `address` as gdb takes it.
pub(super) fn lines(facts: &Facts, given: Option<&std::path::Path>, address: &str) -> Vec<String> {
    let file = kernel_file(facts, given).map(|file| shell_word(&file));
    let lldb_file = || facts.macos().is_some().then(|| "mach_kernel".to_owned());
    let for_lldb = file.clone().or_else(lldb_file).map(|file| format!(" {file}"));
    let with = |before: &str| file.as_ref().map(|file| format!("{before}{file}"));
    let lldb = lldb_command(address);
    let mut lines = vec![format!(
        "gdb{} -ex 'target remote {address}'  # the kernel",
        with(" ").unwrap_or_default()
    )];
    if facts.linux().is_some() {
        let processes = format!("gdb -ex 'target extended-remote {address}'");
        lines.push(format!("{processes}  # processes: info os processes, attach PID"));
    }
    lines.push(format!("lldb{} -o '{lldb}'  # the kernel", for_lldb.unwrap_or_default()));
    lines
}

/// Folder for the files that lldb wants, if the user has none.
const SYSROOT: &str = "sysroot";

/// Lines to type for the one process that is served. lldb reads files only here, so
/// they have to be here.
pub(super) fn of_process(plan: &GdbPlan, process: &Attached, address: &str) -> Vec<String> {
    let (pid, name) = (process.pid(), printable(&process.process().task().comm));
    let mut lines = vec![
        format!("serving process {pid} ({name}); Ctrl-C ends it. In another terminal, one of:"),
        format!("  gdb -ex 'target remote {address}'"),
    ];
    let sysroot = plan.sysroot.as_deref().unwrap_or(Path::new(SYSROOT));
    // lldb takes no file that is not there.
    let is_there = |path: &String| {
        let given = plan.sysroot.as_ref();
        given.is_none_or(|dir| dir.join(path.trim_start_matches('/')).exists())
    };
    let executable = process.executable().filter(is_there);
    let file = executable.map(|path| {
        let path = sysroot.join(path.trim_start_matches('/'));
        format!(" {}", shell_word(&printable(&path.display().to_string())))
    });
    let platform = debuggers::lldb_platform(&sysroot.to_string_lossy());
    lines.push(format!(
        "  lldb -O {}{} -o '{}'",
        shell_word(&platform),
        file.unwrap_or_default(),
        lldb_command(address)
    ));
    if plan.sysroot.is_none() {
        let inputs = plan.guest.source.inputs.iter().map(|input| input.display().to_string());
        let inputs: Vec<String> = inputs.map(|input| shell_word(&input)).collect();
        let inputs = inputs.join(" ");
        lines.push("lldb wants the program's files here:".to_owned());
        lines.push(format!("  vmss2core extract --pid {pid} --maps -o {SYSROOT} {inputs}"));
    }
    lines
}

fn lldb_command(address: &str) -> String {
    if address.starts_with('/') {
        format!("process connect unix-connect://{address}")
    } else {
        format!("gdb-remote {}", address.trim_start_matches(':'))
    }
}

/// First line of a script of ours; only such a file is replaced.
pub(super) const SCRIPT_MARK: &str = "# vmss2core: gdb -x THIS-FILE VMLINUX";

/// A script that makes gdb connect.
pub(super) fn script(address: &str) -> String {
    format!(
        "{SCRIPT_MARK}\n\
         # Reading the symbols of a kernel takes a minute once, then a second.\n\
         set index-cache enabled on\n\
         set pagination off\n\
         set print thread-events off\n\
         # For processes it is: target extended-remote {address}, then attach PID\n\
         target remote {address}\n"
    )
}
