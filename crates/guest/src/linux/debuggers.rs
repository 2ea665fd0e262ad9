//! Lines of a shell that tell debuggers where a kernel lies; file names in
//! them are words of a shell already.

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
