//! Which kernel file a debugger should load, and what to type in it.

use std::fmt::Write;

use vmss2core_guest::Facts;
use vmss2core_report::{debug_symbols, printable, shell_word};

/// The kernel file of this guest by its build id, and the package that has it.
pub(super) fn advice(facts: &Facts) -> String {
    let Some(linux) = &facts.linux else {
        return "the guest is not a Linux that is known: there is no vmlinux for it\n".to_owned();
    };
    let mut text = String::new();
    let build_id = linux.vmcoreinfo.as_ref().and_then(|info| info.value.get("BUILD-ID"));
    // Writing to a String cannot fail.
    if let Some(release) = &linux.release {
        let _ = writeln!(text, "release    {}", printable(&release.value));
    }
    match build_id {
        Some(id) => {
            let id = printable(id);
            let _ = writeln!(text, "build id   {id}");
            let _ = writeln!(text, "by it      debuginfod-find debuginfo {id}");
        }
        None => text.push_str("build id   not in the VMCOREINFO of this kernel\n"),
    }
    if let (Some(banner), Some(release)) = (&linux.banner, &linux.release) {
        let symbols = debug_symbols(&banner.value, &release.value);
        if let Some(install) = symbols.install {
            let _ = writeln!(text, "package    {install}");
        }
        let _ = writeln!(text, "file       {}", symbols.vmlinux);
    }
    text
}

/// Path of the kernel file for command lines.
fn kernel_file(facts: &Facts, given: Option<&std::path::Path>) -> Option<String> {
    if let Some(given) = given {
        return Some(given.display().to_string());
    }
    let linux = facts.linux.as_ref()?;
    let (banner, release) = (linux.banner.as_ref()?, linux.release.as_ref()?);
    Some(debug_symbols(&banner.value, &release.value).vmlinux)
}

/// What to type, for each debugger; `address` as gdb takes it.
pub(super) fn lines(facts: &Facts, given: Option<&std::path::Path>, address: &str) -> Vec<String> {
    let file = kernel_file(facts, given).map(|file| shell_word(&file));
    let with = |before: &str| file.as_ref().map(|file| format!("{before}{file}"));
    let lldb = if address.starts_with('/') {
        format!("process connect unix-connect://{address}")
    } else {
        format!("gdb-remote {}", address.trim_start_matches(':'))
    };
    vec![
        format!("gdb{} -ex 'target remote {address}'", with(" ").unwrap_or_default()),
        format!("lldb{} -o '{lldb}'", with(" ").unwrap_or_default()),
    ]
}

/// What a script of ours begins with; only such a file is replaced.
pub(super) const SCRIPT_MARK: &str = "# vmss2core: gdb -x THIS-FILE VMLINUX";

/// A script that makes gdb connect.
pub(super) fn script(address: &str) -> String {
    format!(
        "{SCRIPT_MARK}\n\
         # Reading the symbols of a kernel takes a minute once, then a second.\n\
         set index-cache enabled on\n\
         set pagination off\n\
         set print thread-events off\n\
         target remote {address}\n"
    )
}
