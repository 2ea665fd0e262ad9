//! Which file has the symbols of the guest's kernel.

use std::fmt::Write;

use vmss2core_answers::printable;
use vmss2core_guest::Facts;
use vmss2core_guest::linux::{debug_symbols, debuggers};
use vmss2core_guest::macos::MacosFacts;

/// The kernel file of this guest by its build id, and the package that has it.
pub fn kernel_file_advice(facts: &Facts) -> String {
    if let Some(macos) = facts.macos() {
        return of_macos(macos);
    }
    let Some(linux) = facts.linux() else {
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
            if let Some(fetch) = debuggers::fetch_symbols(linux) {
                let _ = writeln!(text, "fetch it   {fetch}");
            }
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

/// Which file lldb should have: it takes none with another UUID.
fn of_macos(macos: &MacosFacts) -> String {
    let mut text = String::new();
    let uuid = macos.image.as_ref().and_then(|image| image.value.uuid);
    let build = macos.build.as_ref().map(|build| printable(&build.value));
    // Writing to a String cannot fail.
    if let Some(uuid) = uuid {
        let _ = writeln!(text, "UUID       {uuid}");
    }
    text.push_str("file       /System/Library/Kernels/kernel of the guest's disk");
    if let Some(build) = build {
        let _ = write!(text, ", or of the Kernel Debug Kit for build {build}");
    }
    text.push_str(
        "\nkexts      their files, named as \"modules\" lists them, below a folder that lldb is told:\n           \
         settings set target.exec-search-paths DIR\n",
    );
    text
}
