//! Lines of a shell that tell debuggers where a kernel lies; file names in
//! them are words of a shell already.

use super::debug_symbols;
use crate::LinuxFacts;

/// crash finds in VMCOREINFO where the kernel lies, and must be told otherwise.
/// A 32-bit kernel it opens only where that was linked, taking the base of one that was
/// moved for another; and newer ones only to read memory and the log, as crash 9 needs
/// symbols that these lack from 4.17 on.
pub fn crash(linux: &LinuxFacts, vmlinux: &str, core: &str) -> Option<String> {
    if !linux.is_64_bit {
        let line = format!("crash --minimal {vmlinux} {core}");
        return linux.is_at_default_address().then_some(line);
    }
    if linux.vmcoreinfo.is_some() {
        return Some(format!("crash {vmlinux} {core}"));
    }
    let (slide, base) = (linux.slide(), linux.phys_base.as_ref()?.value);
    Some(format!("crash --kaslr={slide:#x} -m phys_base={base:#x} {vmlinux} {core}"))
}

/// crash before 8.0.6 opens cores of newer kernels, and shows wrong stacks of them. Debian
/// 12 has 8.0.2.
pub const CRASH_REMARK: &str = "8.0.6 or newer: older ones misread newer kernels";

/// Fetches the symbols of a kernel by its build id, on any machine, and prints where they
/// are then; None if its id or a server is not known.
pub fn fetch_symbols(linux: &LinuxFacts) -> Option<String> {
    let id = linux.vmcoreinfo.as_ref()?.value.get("BUILD-ID")?;
    let is_id = !id.is_empty() && id.chars().all(|c| c.is_ascii_hexdigit());
    let banner = linux.banner.as_ref().map_or("", |banner| &banner.value);
    let release = linux.release.as_ref().map_or("", |release| &release.value);
    let server = debug_symbols(banner, release).debuginfod?;
    is_id.then(|| format!("DEBUGINFOD_URLS={server} debuginfod-find debuginfo {id}"))
}

/// drgn takes everything from VMCOREINFO.
pub fn drgn(linux: &LinuxFacts, vmlinux: &str, core: &str) -> Option<String> {
    linux.vmcoreinfo.as_ref().map(|_| format!("drgn -c {core} -s {vmlinux}"))
}

/// gdb's command that loads the symbols of a kernel that lies so far from where it was
/// linked, which gdb cannot find out by itself.
pub fn symbol_file(slide: u64, vmlinux: &str) -> String {
    match slide {
        0 => format!("symbol-file {vmlinux}"),
        slide => format!("symbol-file -o {slide:#x} {vmlinux}"),
    }
}

/// gdb's command that says where the files of a process are.
pub fn sysroot(dir: &str) -> String {
    format!("set sysroot {dir}")
}

/// The line for lldb, before it takes anything else.
pub fn lldb_platform(dir: &str) -> String {
    format!("platform select --sysroot {dir} remote-linux")
}
